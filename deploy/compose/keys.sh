#!/bin/sh
# Makes the two key pairs of the compose stack on its first start: the partner's,
# which signs calls to Pike, and the one with which the simulator signs webhooks.
set -eu
payouts=${PAYOUTS:-/payouts}
keys=${KEYS:-/keys}
for name in partner pike; do
    if [ -f "$keys/$name-public.pem" ]; then # written after the private one
        echo "keys: $name is there"
        continue
    fi
    rm -f "$keys/$name-private.pem"
    "$payouts" keygen --out "$keys" --name "$name"
done
