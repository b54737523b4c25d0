package workflows

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/activities"
	"pikepayouts/payout"
)

var updateDetails = flag.Bool("update-details", false, "write testdata/details anew")

const minute = time.Minute

// scene is a payout at a moment that people look at.
type scene struct {
	m   *machine
	now time.Time
}

// talking is what Pike says of a session in a phase.
func talking(phase activities.Phase) activities.Session {
	words := map[activities.Phase][2]string{
		activities.PhaseNotStarted: {"created", ""},
		activities.PhaseInProgress: {"in_progress", "pending"},
		activities.PhaseReady:      {"in_progress", "pending"},
		activities.PhasePaid:       {"accepted", "succeeded"},
		activities.PhaseNotPaid:    {"cancelled", "failed"},
		activities.PhaseUnresolved: {"error", "failed"},
	}[phase]
	s := activities.Session{ID: "ps_1", Phase: phase, SessionStatus: words[0], PayoutStatus: words[1]}
	if s.PayoutStatus != "" {
		s.PikePayoutID = "po_1"
	}
	return s
}

// at lets Pike's status say the phase.
func (s *scene) at(after time.Duration, phase activities.Phase) *scene {
	return s.session(after, talking(phase))
}

func (s *scene) session(after time.Duration, session activities.Session) *scene {
	s.now = s.now.Add(after)
	s.m.calling(readStatus, s.now)
	s.m.polled(session, s.now)
	s.m.next(s.now)
	return s
}

func (s *scene) do(after time.Duration, happens func(m *machine, now time.Time)) *scene {
	s.now = s.now.Add(after)
	happens(s.m, s.now)
	s.m.next(s.now)
	return s
}

func newScene(policy payout.Policy) *scene {
	request := payout.Request{PayoutID: "inv-1042", AmountDetails: payout.AmountDetails{Amount: 10000, Currency: "eur"}, Policy: policy}
	return &scene{m: newMachine(request, epoch), now: epoch}
}

func started(policy payout.Policy) *scene {
	s := newScene(policy)
	return s.do(time.Second, func(m *machine, now time.Time) { m.created(talking(activities.PhaseNotStarted), now) }).
		do(time.Second, func(m *machine, now time.Time) {
			m.calling(startPayout, now)
			m.started(talking(activities.PhaseInProgress), now)
		})
}

func readyToDecide() *scene {
	return started(payout.Policy{Decision: payout.DecisionManual}).
		do(minute, func(m *machine, now time.Time) {
			m.hint(payout.Event{Type: payout.SignalReadyToConfirm, SessionID: "ps_1", SessionStatus: "in_progress", PayoutStatus: "pending"}, now)
		}).at(time.Second, activities.PhaseReady)
}

func decided(decision string) *scene {
	return readyToDecide().do(minute, func(m *machine, now time.Time) {
		m.decideBy(payout.DecideRequest{Decision: decision, By: "ann@example.com", Reason: "checked against the invoice"}, now)
	})
}

func confirmedScene() *scene {
	return decided(payout.DecisionConfirm).do(time.Second, func(m *machine, now time.Time) {
		m.calling(confirmSession, now)
		m.confirmed(activities.SendResult{Session: talking(activities.PhaseInProgress), Sent: true}, now)
	})
}

func failing(call action, failure activities.Failure) func(*machine, time.Time) {
	return func(m *machine, now time.Time) {
		m.calling(call, now)
		m.callFailed(call, failure, now)
	}
}

// scenes has one for each state and each reason for attention, and what else reads in its own way.
func scenes() map[string]*scene {
	mismatch := talking(activities.PhaseReady)
	mismatch.Mismatch = "amount is 1.00 EUR, ordered 100.00 EUR"
	mismatchPaid := talking(activities.PhasePaid)
	mismatchPaid.Mismatch = mismatch.Mismatch
	declined := talking(activities.PhaseNotPaid)
	declined.Error = &payout.Error{Code: "insufficient_funds", Description: "the bank declined"}
	paid := talking(activities.PhasePaid)
	paid.TransactionInfo = []byte(`{"rrn":"123456789012","auth_code":"A1B2C3"}`)
	unknown := activities.Failure{Outcome: activities.Unknown, Text: "Pike confirm: no answer"}
	return map[string]*scene{
		"creating":          newScene(payout.Policy{}),
		"starting":          newScene(payout.Policy{}).do(time.Second, func(m *machine, now time.Time) { m.created(talking(activities.PhaseNotStarted), now) }),
		"awaiting_ready":    started(payout.Policy{}),
		"awaiting_decision": readyToDecide(),
		"one_of_two_confirmed": readyToDecide().do(0, func(m *machine, _ time.Time) { m.Policy.Approvals = 2 }).
			do(minute, func(m *machine, now time.Time) {
				m.decideBy(payout.DecideRequest{Decision: payout.DecisionConfirm, By: "ann@example.com"}, now)
			}),
		"confirming":      decided(payout.DecisionConfirm),
		"awaiting_result": confirmedScene(),
		"cancelling":      decided(payout.DecisionCancel),
		"succeeded": confirmedScene().do(time.Second, func(m *machine, now time.Time) {
			m.hint(payout.Event{Type: payout.SignalPaymentFinished, SessionID: "ps_1", SessionStatus: "accepted", PayoutStatus: "succeeded"}, now)
		}).session(time.Second, paid),
		"failed":    confirmedScene().session(minute, declined),
		"cancelled": decided(payout.DecisionCancel).at(minute, activities.PhaseNotPaid),
		"held": started(payout.Policy{}).do(minute, failing(confirmSession,
			activities.Failure{Outcome: activities.NotSent, Held: true, Text: "held: the worker observes only (PAYOUTS_OBSERVE_ONLY)"})),

		"result_overdue":      confirmedScene().do(20*minute, func(*machine, time.Time) {}),
		"unresolved_error":    confirmedScene().at(minute, activities.PhaseUnresolved),
		"error_before_decide": readyToDecide().at(minute, activities.PhaseUnresolved),
		"mismatch":            confirmedScene().session(minute, mismatchPaid),
		"mismatch_cancelled":  readyToDecide().session(minute, mismatch),
		"paid_without_confirm": started(payout.Policy{Decision: payout.DecisionManual}).
			session(minute, paid),
		"confirm_unknown": decided(payout.DecisionConfirm).do(time.Second, failing(confirmSession, unknown)),
		"confirm_unknown_after_settle_delay": decided(payout.DecisionConfirm).do(time.Second, failing(confirmSession, unknown)).
			at(settleDelay, activities.PhaseReady),
		"pike_unreachable": confirmedScene().do(minute, failing(readStatus, unknown)).do(6*minute, failing(readStatus, unknown)),
		"config_refused": started(payout.Policy{}).do(minute, failing(readStatus,
			activities.Failure{Outcome: activities.Refused, Config: true, Text: "Pike status: authentication_error"})),
		"closed_by_a_person": confirmedScene().at(minute, activities.PhaseUnresolved).do(time.Hour, func(m *machine, now time.Time) {
			_ = m.close(payout.ResolveRequest{Action: payout.ResolveCloseNotPaid, By: "ann@example.com", Reason: "Pike support settled it", Evidence: "ticket 4711"}, now)
		}),
	}
}

func (s *scene) status() payout.Status {
	status := s.m.Status
	status.Actions = s.m.actions(s.now)
	return status
}

// lateScenes are late events in the moments that read in their own way.
func lateScenes() map[string]payout.LateEventStatus {
	event := payout.LateEvent{Reason: payout.LateNoOpenPayout, PayoutID: "inv-1042", Event: payout.Event{
		ID: strings.Repeat("ab", 32), Type: payout.SignalPaymentFinished, SessionID: "ps_1", SessionStatus: "accepted", PayoutStatus: "succeeded",
		PikePayoutID: "po_1", ReceivedAt: epoch,
	}}
	found := func(comparison activities.Comparison) *lateEvent {
		e := newLateEvent(event, epoch)
		e.checked(activities.LateEventFinding{
			PayoutID: "inv-1042", Recorded: payout.StateFailed, Session: talking(activities.PhasePaid), Comparison: comparison, Text: "Pike says paid, recorded is failed",
		}, epoch.Add(minute))
		return e
	}
	resolved := found(activities.ComparisonDisagrees)
	_ = resolved.close(payout.ResolveRequest{Action: payout.ResolveClosePaid, By: "ann@example.com", Reason: "booked by hand", Evidence: "ticket 4711"}, epoch.Add(time.Hour))
	return map[string]payout.LateEventStatus{
		"late_event_new":      newLateEvent(event, epoch).status(),
		"late_event":          found(activities.ComparisonDisagrees).status(),
		"late_event_agrees":   found(activities.ComparisonAgrees).status(),
		"late_event_resolved": resolved.status(),
	}
}

// TestDetails compares the table of the Web UI with those in testdata/details. `go test ./workflows -run TestDetails -update-details` writes them anew.
func TestDetails(t *testing.T) {
	tables, states, reasons := map[string]string{}, map[payout.State]bool{}, map[payout.AttentionReason]bool{}
	for name, s := range scenes() {
		status := s.status()
		tables[name] = markdown(status.Facts(clock))
		states[status.State] = true
		if status.Attention != nil {
			reasons[status.Attention.Reason] = true
		}
	}
	for name, status := range lateScenes() {
		tables[name] = markdown(status.Facts(clock))
		if status.Attention != nil {
			reasons[status.Attention.Reason] = true
		}
	}
	require.Len(t, states, len(payout.States()), "a state that no scene shows")
	require.Len(t, reasons, len(payout.AttentionReasons()), "a reason that no scene shows")
	for name, got := range tables {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", "details", name+".md")
			if *updateDetails {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644)) //nolint:gosec // test data, meant to be read
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
			require.Less(t, len(got), 3<<10, "it is made before every decision")
		})
	}
}

// TestNothingBreaksOutOfTheTable: what others said is text, however long it is and whatever it holds.
func TestNothingBreaksOutOfTheTable(t *testing.T) {
	s := confirmedScene().at(minute, activities.PhaseUnresolved)
	hostile := "a|b\nc `d` <img src=x> [e](http://f) " + strings.Repeat("ü", 4<<10)
	s.m.Status.Error = &payout.Error{Code: hostile, Description: hostile}
	s.m.Status.Attention.Detail = hostile
	s.m.Status.Decision.Reason = hostile
	s.m.Status.TransactionInfo = []byte(hostile)
	s.m.hint(payout.Event{Type: hostile, SessionStatus: hostile, PayoutStatus: hostile}.Bounded(), s.now)
	got := markdown(s.status().Facts(clock))
	require.Less(t, len(got), 6<<10)
	table, _, _ := strings.Cut(got, "\n---\n")
	for _, line := range strings.Split(strings.TrimSpace(table), "\n") {
		if !strings.HasSuffix(line, "` |") { // a command, of our own words
			require.NotRegexp(t, "[^\\\\][`<\\[]", line, "Markdown that is not ours")
		}
		require.Equal(t, 3, strings.Count(strings.ReplaceAll(line, `\|`, ""), "|"), line)
	}
}

// TestWhatIsOfferedIsAcceptedAndNothingElse asks the code that decides on each action, in each scene.
func TestWhatIsOfferedIsAcceptedAndNothingElse(t *testing.T) {
	offered := map[payout.Action]bool{}
	for name := range scenes() {
		for _, action := range payout.Actions() {
			t.Run(name+"/"+string(action), func(t *testing.T) {
				s := scenes()[name] // an action changes it
				want := slices.Contains(s.m.actions(s.now), action)
				err := s.try(action)
				require.Equal(t, want, err == nil, "%v", err)
				offered[action] = offered[action] || want
			})
		}
	}
	require.Len(t, offered, len(payout.Actions()))
	for action, once := range offered {
		require.True(t, once, "no scene offers %s", action)
	}
}

// try does what the workflow does when the action is asked for, where Pike's fresh status, if it comes, says what the last one said.
func (s *scene) try(action payout.Action) error {
	p := &payoutRun{machine: s.m}
	switch action {
	case payout.ActionConfirm, payout.ActionCancel:
		return p.validateDecide(nil, payout.DecideRequest{Decision: string(action), By: "bob@example.com"})
	case payout.ActionCancelWorkflow:
		before := s.m.Status.Decision
		if err := s.m.cancelRequested(s.now); err != nil {
			return err
		}
		if s.m.Status.Decision == before || before != nil && before.Value == payout.DecisionCancel {
			return errors.New("it changes nothing")
		}
		return nil
	}
	request := payout.ResolveRequest{Action: string(action), By: "bob@example.com", Reason: "r", Evidence: "e"}
	if err := p.validateResolve(nil, request); err != nil || action == payout.ActionRecheck {
		return err
	}
	return s.m.close(request, s.now)
}

// TestACancellationThatWasRefusedIsNotOfferedAgain: Temporal delivers one to a run.
func TestACancellationThatWasRefusedIsNotOfferedAgain(t *testing.T) {
	s := decided(payout.DecisionConfirm)
	require.Error(t, s.m.cancelRequested(s.now))
	s.at(minute, activities.PhaseUnresolved) // held before anything was confirmed
	require.Equal(t, payout.StateAwaitingResult, s.m.Status.State)
	require.NotContains(t, s.m.actions(s.now), payout.ActionCancelWorkflow)
}

// TestWhatIsOfferedOfALateEventIsAccepted, and nothing else.
func TestWhatIsOfferedOfALateEventIsAccepted(t *testing.T) {
	for _, phase := range []activities.Phase{activities.PhasePaid, activities.PhaseNotPaid, activities.PhaseUnresolved} {
		for _, returned := range []bool{false, true} {
			for _, action := range []payout.Action{payout.ActionRecheck, payout.ActionClosePaid, payout.ActionCloseNotPaid} {
				e := newLateEvent(payout.LateEvent{Reason: payout.LateRefunded}, epoch)
				require.Empty(t, e.status().Actions, "nothing is raised yet")
				session := talking(phase)
				session.Returned = returned
				e.checked(activities.LateEventFinding{Session: session, Comparison: activities.ComparisonDisagrees}, epoch)
				want := slices.Contains(e.status().Actions, action)
				if action == payout.ActionRecheck {
					require.True(t, want)
					continue
				}
				err := e.close(payout.ResolveRequest{Action: string(action)}, epoch)
				require.Equal(t, want, err == nil, "%s, returned %t, %s: %v", phase, returned, action, err)
				if err == nil {
					require.Empty(t, e.status().Actions, "it is closed")
				}
			}
		}
	}
}
