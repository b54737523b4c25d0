#!/bin/sh
# A payout with nothing but the Temporal CLI (and jq): start, decide, watch, result.
#
#   sh examples/cli/payout.sh <payout id> <amount in minor units> <currency> [confirm|cancel]
#
# Temporal is found by the standard TEMPORAL_* variables. TEMPORAL_CODEC_ENDPOINT is the codec
# server where payouts are encrypted, TEMPORAL_CODEC_AUTH what it wants to see.
# Exit codes: 0 succeeded, 1 could not do it, 2 bad usage, 3 not paid, 4 same id with another order.
set -eu

usage() {
	echo "usage: $0 <payout id> <amount in minor units> <currency> [confirm|cancel]; CARD_TOKEN and FULL_NAME say who is paid" >&2
	exit 2
}

[ $# -eq 3 ] || [ $# -eq 4 ] || usage
payout_id=$1 amount=$2 currency=$3 decision=${4:-}
case $amount in '' | *[!0-9]*) usage ;; esac
case $decision in '' | confirm | cancel) ;; *) usage ;; esac

workflow_id=payout/$payout_id
decider=${USER:-ann}

# temporal_workflow runs a command on this payout. The endpoint names the payout: all that the codec
# server encrypts is then bound to it, also what does not say itself which payout it is of.
temporal_workflow() {
	temporal workflow "$@" --workflow-id "$workflow_id" \
		${TEMPORAL_CODEC_ENDPOINT:+--codec-endpoint "$TEMPORAL_CODEC_ENDPOINT/$workflow_id"}
}

# order is the request. jq puts every value in quotes that it needs, and reads secrets from its environment:
# arguments of a command can be seen by everybody on the machine.
order() {
	PAYOUT_ID=$payout_id CURRENCY=$currency jq -cn --argjson amount "$amount" --arg decision "$decision" '{
		payout_id: env.PAYOUT_ID,
		amount_details: {amount: $amount, currency: env.CURRENCY},
		destination: {tokenized_card: {token: env.CARD_TOKEN}},
		recipient: {full_name: env.FULL_NAME}
	} + if $decision == "" then {} else {policy: {decision: "manual"}} end'
}

# start can be repeated with the same order: the id is the idempotency key, and an earlier run is left alone.
# No timeouts: they would end a payout without running its code.
start() {
	order | temporal_workflow start --type PayoutWorkflow --task-queue "${PAYOUTS_TASK_QUEUE:-payouts}" \
		--id-reuse-policy RejectDuplicate --id-conflict-policy Fail \
		--memo "order_sha256=\"$digest\"" --input-file /dev/stdin
}

# same_order compares with the order of the run that has the id now.
same_order() {
	[ "$(temporal_workflow describe -o json | jq -r '.workflowExecutionInfo.memo.fields.order_sha256')" = "$digest" ]
}

# decide by an update, with an id of its own: the same decision again is the same decision.
# It is refused once the payout is decided or has ended.
decide() {
	temporal_workflow update execute --name decide --update-id "decide:$decision:$decider" \
		--input "{\"decision\":\"$decision\",\"by\":\"$decider\"}" >/dev/null
}

# watch prints every change of state, until it is killed: it is for people, the truth is the result.
watch() {
	seen=
	while sleep 1; do
		state=$(temporal_workflow query --type status -o json 2>/dev/null | jq -r '.queryResult[0].state')
		[ "$state" = "$seen" ] || echo "${state:-no answer}"
		seen=$state
	done
}

# result waits for the end, and comes without a worker too. Its own exit code says
# whether the workflow completed, which it does however the payout ends.
result() {
	temporal_workflow result -o json || true
}

digest=$(order | sha256sum | cut -d' ' -f1)
start
same_order || {
	echo "payout $payout_id was started with another order" >&2
	exit 4
}
if [ -n "$decision" ]; then
	decide || echo "what came of the payout is to be seen below" >&2
fi
watch &
watcher=$!
trap 'kill "$watcher" 2>/dev/null || true' EXIT
result=$(result)
kill "$watcher"
echo "$result" | jq '.result // .closeEvent'
case $(echo "$result" | jq -r '.result.state') in
succeeded) ;;
failed | cancelled) exit 3 ;;
*) exit 1 ;; # the request was refused, or somebody terminated the run
esac
