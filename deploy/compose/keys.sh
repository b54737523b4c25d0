#!/bin/sh
# Makes the keys of the compose stack on its first start: the partner's pair, which
# signs calls to Pike, the one with which the simulator signs webhooks, and the
# keyset that encrypts what Temporal keeps.
set -eu
payouts=${PAYOUTS:-/payouts}
keys=${KEYS:-/keys}
keyset=${KEYSET:-/keyset/keyset.json}
for name in partner pike; do
    if [ -f "$keys/$name-public.pem" ]; then # written after the private one
        echo "keys: $name is there"
        continue
    fi
    rm -f "$keys/$name-private.pem"
    "$payouts" keygen --out "$keys" --name "$name"
done
if [ -f "$keyset" ]; then
    echo "keys: the keyset is there"
else
    "$payouts" keygen --keyset "$keyset"
fi
