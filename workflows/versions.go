package workflows

import "go.temporal.io/sdk/workflow"

// change names one change of a released workflow that the histories of open
// payouts do not replay: other activities, timers or upserts, or the same in
// another order (design §4.10, hazard T5). There is none yet: nothing is released.
//
// To make one:
//
//   - Add a constant of this type here, with a comment that says since which
//     release and what was before. An id is never used again.
//   - Ask changed where the workflow turns off, and keep the old way beside the
//     new one. The state machine sees no context: give it the answer as a field.
//     Never ask in a query or a validator of an update: it writes to the history.
//   - `make histories` records anew only while nothing is released. From then on
//     it must add the histories of the new way, and those of the old way stay:
//     they are what open payouts look like.
//   - payout.Request.Validate runs at every replay: a rule that is stricter than
//     that of a release would stop its open payouts, so it is a change too.
//   - Fields of machine may be added at any time, with a zero value that means
//     the old way: a payout that continues as new takes them from the release
//     that it comes from.
//
// The old way goes when no run that took it can be open, be reset or be asked
// for its status any more: the namespace's retention after the last of them has
// ended. Temporal counts them: TemporalChangeVersion = "<id>-1" is in the search
// attributes of the runs that took the new way. The guard goes with it; the
// marker that it left in histories disturbs no replay.
type change string

// changed says whether this run takes the new way. It does unless it was past
// this point, for the first time, before the change was deployed; a run sticks
// to its answer. Every change goes through here, so that they can be found.
func changed(ctx workflow.Context, c change) bool {
	return workflow.GetVersion(ctx, string(c), workflow.DefaultVersion, 1) != workflow.DefaultVersion
}
