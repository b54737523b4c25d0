package activities

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/secret"
)

var token = secret.String(strings.Repeat("ab", 32))

func order() Order {
	return Order{PayoutID: "p1", AmountDetails: payout.AmountDetails{Amount: 10000, Currency: "eur"},
		Destination: payout.Destination{TokenizedCard: &payout.TokenizedCard{Token: token}}, RecipientName: "Ivanov Ivan"}
}

func onePayout(session pike.SessionStatus, status pike.PayoutStatus) pike.Session {
	return pike.Session{ID: "ps_1", Status: session, Payouts: []pike.Payout{{ID: "po_1", Status: status,
		AmountDetails: pike.AmountDetails{Amount: 10000, Currency: "EUR"}, Metadata: json.RawMessage(`"p1"`),
		Destination: pike.Destination{CardToken: token}}}}
}

// TestPhaseOf covers every pair of session and payout status (api.md §4).
func TestPhaseOf(t *testing.T) {
	statuses := []pike.PayoutStatus{"", pike.PayoutInProgress, pike.PayoutPending, pike.PayoutSucceeded, pike.PayoutFailed, "new"}
	want := map[pike.SessionStatus][]Phase{ // in the order of statuses; "" is a session without payouts
		pike.SessionCreated:    {PhaseNotStarted, PhaseInProgress, PhaseInProgress, PhaseInProgress, PhaseInProgress, PhaseInProgress},
		pike.SessionInProgress: {PhaseInProgress, PhaseInProgress, PhaseInProgress, PhaseInProgress, PhaseInProgress, PhaseInProgress},
		pike.SessionAccepted:   {PhaseInProgress, PhaseInProgress, PhaseInProgress, PhasePaid, PhaseInProgress, PhaseInProgress},
		pike.SessionCancelled:  {PhaseNotPaid, PhaseInProgress, PhaseInProgress, PhaseInProgress, PhaseNotPaid, PhaseInProgress},
		pike.SessionError:      {PhaseUnresolved, PhaseUnresolved, PhaseUnresolved, PhaseUnresolved, PhaseUnresolved, PhaseUnresolved},
		"new":                  {PhaseInProgress, PhaseInProgress, PhaseInProgress, PhaseInProgress, PhaseInProgress, PhaseInProgress},
	}
	for sessionStatus, phases := range want {
		for i, payoutStatus := range statuses {
			session := onePayout(sessionStatus, payoutStatus)
			if payoutStatus == "" {
				session.Payouts = nil
			}
			require.Equal(t, phases[i], phaseOf(session), "%s/%s", sessionStatus, payoutStatus)
		}
	}
	ready := onePayout(pike.SessionInProgress, pike.PayoutPending)
	ready.NextAction = pike.NextActionConfirm
	require.Equal(t, PhaseReady, phaseOf(ready))
	ready.Payouts[0].Status = pike.PayoutInProgress
	require.Equal(t, PhaseInProgress, phaseOf(ready), "next_action alone is not enough")
	capture := onePayout(pike.SessionInProgress, pike.PayoutPending)
	capture.NextAction = "capture"
	require.Equal(t, PhaseInProgress, phaseOf(capture))
}

func TestOnePaidOfTwoPayoutsIsPaidWithAMismatch(t *testing.T) {
	session := onePayout(pike.SessionAccepted, pike.PayoutFailed)
	session.Payouts = append(session.Payouts, onePayout(pike.SessionAccepted, pike.PayoutSucceeded).Payouts...)
	result, err := assess(session, "ps_1", order(), false)
	require.NoError(t, err)
	require.Equal(t, PhasePaid, result.Phase)
	require.Contains(t, result.Mismatch, "2 payouts")
}

func TestMismatch(t *testing.T) {
	changes := map[string]func(*pike.Payout){
		"amount is 100.01 EUR, ordered 100.00 EUR": func(p *pike.Payout) { p.AmountDetails.Amount++ },
		"amount is 100.00 USD, ordered 100.00 EUR": func(p *pike.Payout) { p.AmountDetails.Currency = "usd" },
		"metadata is not the payout id":            func(p *pike.Payout) { p.Metadata = json.RawMessage(`{"id":"p1"}`) },
		"destination differs":                      func(p *pike.Payout) { p.Destination = pike.Destination{RecurrentToken: token} },
		"recipient differs":                        func(p *pike.Payout) { p.RecipientName = "Petrov" },
		"":                                         func(p *pike.Payout) { p.Destination, p.RecipientName = pike.Destination{}, "Ivanov Ivan" },
	}
	for want, change := range changes {
		session := onePayout(pike.SessionInProgress, pike.PayoutPending)
		change(&session.Payouts[0])
		require.Equal(t, want, mismatch(session, order()))
	}
}

// TestAMismatchOfThousandsFitsIntoAHistory: hazard T12.
func TestAMismatchOfThousandsFitsIntoAHistory(t *testing.T) {
	session := onePayout(pike.SessionInProgress, pike.PayoutPending)
	for range 20_000 {
		session.Payouts = append(session.Payouts, pike.Payout{AmountDetails: pike.AmountDetails{Currency: strings.Repeat("x", 1000)}})
	}
	text := mismatch(session, order())
	require.Contains(t, text, "the session holds 20001 payouts")
	require.Less(t, len(text), 1<<10)
}

func TestAnswerForAnotherSessionIsNoAnswer(t *testing.T) {
	_, err := assess(onePayout(pike.SessionAccepted, pike.PayoutSucceeded), "ps_2", order(), false)
	require.ErrorIs(t, err, errOtherSession)
}

// runsStub is the answer to every question about runs.
type runsStub struct {
	session  string
	resetAt  time.Time
	record   Record
	repeated bool
	err      error
}

func (r runsStub) EarlierSession(context.Context, string, string) (string, error) {
	return r.session, r.err
}
func (r runsStub) ResetAt(context.Context, string, string) (time.Time, error) {
	return r.resetAt, r.err
}
func (r runsStub) Record(context.Context, string) (Record, error) { return r.record, r.err }
func (r runsStub) Repeated(context.Context, string, string, string, time.Time) (bool, error) {
	return r.repeated, r.err
}

// TestNothingIsSentInAResetRunBeforeSomebodyHasWaited covers hazard A11 for start and confirm.
func TestNothingIsSentInAResetRunBeforeSomebodyHasWaited(t *testing.T) {
	resetAt := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	ready := onePayout(pike.SessionInProgress, pike.PayoutPending)
	ready.NextAction = pike.NextActionConfirm
	empty := pike.Session{ID: "ps_1", Status: pike.SessionCreated}
	tests := []struct {
		name         string
		original     string
		settledSince time.Time
		err          error
		sends        int
	}{
		{"the first run", currentRun, time.Time{}, nil, 1},
		{"a reset run", "another", time.Time{}, nil, 0},
		{"a reset run whose history has waited before the reset", "another", resetAt.Add(-time.Second), nil, 0},
		{"a reset run that has waited", "another", resetAt.Add(time.Second), nil, 1},
		{"a reset run that cannot find out", "another", resetAt.Add(time.Second), errors.New("no history"), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			runs := runsStub{resetAt: resetAt, err: tt.err}
			confirming := &pikeStub{session: ready}
			_, err := executeActivity[SendResult](New(Config{Pike: confirming, Runs: runs}).ConfirmSession,
				SessionInput{Run: Run{OriginalRunID: tt.original}, SessionID: "ps_1", Order: order(), SettledSince: tt.settledSince})
			require.Equal(t, tt.sends, confirming.sends)
			require.Equal(t, tt.sends == 0, err != nil)

			starting := &pikeStub{session: empty}
			_, err = executeActivity[Session](New(Config{Pike: starting, Runs: runs}).StartPayout,
				StartInput{Run: Run{OriginalRunID: tt.original}, SessionID: "ps_1", Request: orderRequest(), SettledSince: tt.settledSince})
			require.Equal(t, tt.sends, starting.sends)
			require.Equal(t, tt.sends == 0, err != nil)
		})
	}
}

// TestNothingIsSentInARepeatedActivity covers hazard A12: an operator may have had the attempts counted from 1 again.
func TestNothingIsSentInARepeatedActivity(t *testing.T) {
	ready := onePayout(pike.SessionInProgress, pike.PayoutPending)
	ready.NextAction = pike.NextActionConfirm
	for name, runs := range map[string]runsStub{"repeated": {repeated: true}, "cannot find out": {err: errors.New("Temporal is away")}} {
		t.Run(name, func(t *testing.T) {
			confirming := &pikeStub{session: ready}
			_, confirm := executeActivity[SendResult](New(Config{Pike: confirming, Runs: runs}).ConfirmSession,
				SessionInput{Run: Run{currentRun}, SessionID: "ps_1", Order: order(), SettledSince: time.Now()})
			starting := &pikeStub{session: pike.Session{ID: "ps_1", Status: pike.SessionCreated}}
			_, start := executeActivity[Session](New(Config{Pike: starting, Runs: runs}).StartPayout,
				StartInput{Run: Run{currentRun}, SessionID: "ps_1", Request: orderRequest(), SettledSince: time.Now()})
			for _, err := range []error{confirm, start} {
				require.Equal(t, Unknown, FailureOf(err).Outcome)
			}
			require.Zero(t, confirming.sends+starting.sends)
		})
	}
	t.Run("what it sees may be its own work", func(t *testing.T) {
		stub := &pikeStub{session: onePayout(pike.SessionInProgress, pike.PayoutPending)}
		result := execute(t, New(Config{Pike: stub, Runs: runsStub{repeated: true}}).ConfirmSession)
		require.False(t, result.Sent)
		require.True(t, result.Session.Reset, "never a payout that was paid without our confirm")
	})
}

// TestARepeatedAttemptSendsNothing: an operator may raise the attempts of an activity that runs (hazard A12).
func TestARepeatedAttemptSendsNothing(t *testing.T) {
	ready := onePayout(pike.SessionInProgress, pike.PayoutPending)
	ready.NextAction = pike.NextActionConfirm
	lost := &pike.Error{Outcome: pike.Unknown}
	confirming := &pikeStub{session: ready, err: lost}
	starting := &pikeStub{session: pike.Session{ID: "ps_1", Status: pike.SessionCreated}, err: lost}
	run := Run{currentRun}
	attemptThrice(t, New(Config{Pike: confirming, Runs: runsStub{}}).ConfirmSession, SessionInput{Run: run, SessionID: "ps_1", Order: order()})
	attemptThrice(t, New(Config{Pike: starting, Runs: runsStub{}}).StartPayout, StartInput{Run: run, SessionID: "ps_1", Request: orderRequest()})
	require.Equal(t, 1, confirming.sends)
	require.Equal(t, 1, starting.sends)
}

func attemptThrice(t *testing.T, call, in any) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.RegisterActivity(call)
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		options := workflow.ActivityOptions{StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 3}}
		return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), call, in).Get(ctx, nil)
	})
	require.Equal(t, Unknown, FailureOf(env.GetWorkflowError()).Outcome)
}

// TestAResetRunNeverStartsWhatIsStarted: status shows the payout, whatever the history says.
func TestAResetRunNeverStartsWhatIsStarted(t *testing.T) {
	stub := &pikeStub{session: onePayout(pike.SessionInProgress, pike.PayoutInProgress)}
	session, err := executeActivity[Session](New(Config{Pike: stub, Runs: runsStub{}}).StartPayout,
		StartInput{Run: Run{OriginalRunID: "another"}, SessionID: "ps_1", Request: orderRequest(), SettledSince: time.Now()})
	require.NoError(t, err)
	require.Zero(t, stub.sends)
	require.Equal(t, PhaseInProgress, session.Phase)
	require.True(t, session.Reset)
}

func TestCreateSessionAdoptsTheSessionOfAnotherRun(t *testing.T) {
	tests := []struct {
		name   string
		in     CreateInput
		runs   runsStub
		want   Session
		create int
	}{
		{"started by package starter", CreateInput{Run: Run{currentRun}}, runsStub{session: "ps_9"}, Session{ID: "ps_1", Phase: PhaseNotStarted}, 1},
		{"reset", CreateInput{Run: Run{"another"}}, runsStub{session: "ps_9"}, Session{ID: "ps_9", Phase: PhaseUnread}, 0},
		{"started again", CreateInput{Run: Run{currentRun}, Unguarded: true}, runsStub{session: "ps_9"}, Session{ID: "ps_9", Phase: PhaseUnread}, 0},
		{"nothing to adopt", CreateInput{Run: Run{currentRun}, Unguarded: true}, runsStub{}, Session{ID: "ps_1", Phase: PhaseNotStarted}, 1},
		{"adopt only", CreateInput{Run: Run{currentRun}, AdoptOnly: true}, runsStub{}, Session{}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stub := &pikeStub{session: pike.Session{ID: "ps_1"}}
			got, err := executeActivity[Session](New(Config{Pike: stub, Runs: tt.runs}).CreateSession, tt.in)
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
			require.Equal(t, tt.create, stub.sends)
		})
	}
	_, err := executeActivity[Session](New(Config{Pike: &pikeStub{}, Runs: runsStub{err: errors.New("visibility is down")}}).CreateSession, CreateInput{Run: Run{"another"}})
	require.Error(t, err, "what cannot be known is not risked")
}

func TestFailureOf(t *testing.T) {
	code := func(outcome pike.Outcome, code pike.Code) error {
		return applicationError(&pike.Error{Method: "session/confirm", Outcome: outcome, Code: code})
	}
	scheduleToStart := temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
	tests := []struct {
		name    string
		err     error
		outcome Outcome
		config  bool
		code    string
	}{
		{"refused", code(pike.Refused, pike.CodeInvalidRequest), Refused, false, "invalid_request"},
		{"config", code(pike.Refused, pike.CodeAuthentication), Refused, true, "authentication_error"},
		{"not sent", code(pike.NotSent, ""), NotSent, false, ""},
		{"unknown", code(pike.Unknown, "new_code"), Unknown, false, "new_code"},
		{"wrong state", code(pike.Unknown, pike.CodeSessionWrongState), Unknown, false, "session_wrong_state"},
		{"no worker took it", scheduleToStart, NotSent, false, ""},
		{"worker lost", temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, nil), Unknown, false, ""},
		{"heartbeat", temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_HEARTBEAT, nil), Unknown, false, ""},
		{"cancelled", temporal.NewCanceledError(), Unknown, false, ""},
		{"panic", errors.New("panic"), Unknown, false, ""},
		{"other application error", temporal.NewApplicationError("x", "Other"), Unknown, false, ""},
		{"status read before a send", beforeSend(&pike.Error{Outcome: pike.Unknown}), NotSent, false, ""},
		{"config at the status read before a send", beforeSend(&pike.Error{Outcome: pike.Refused, Code: pike.CodeAuthorization}), Refused, true, "authorization_error"},
		{"held", heldError(nil), Unknown, false, ""},
		{"held, though the status read was not sent", heldError(&pike.Error{Outcome: pike.NotSent}), Unknown, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			failure := FailureOf(tt.err)
			require.Equal(t, tt.outcome, failure.Outcome)
			require.Equal(t, tt.config, failure.Config)
			if tt.code == "" {
				require.Nil(t, failure.Error)
			} else {
				require.Equal(t, tt.code, failure.Error.Code)
			}
		})
	}
}

// pikeStub answers every call with one session and counts the sends.
type pikeStub struct {
	Pike
	session   pike.Session
	err       error // of everything but session/status
	statusErr error
	sends     int
	keys      []string
}

func (p *pikeStub) SessionStatus(context.Context, string) (pike.Session, error) {
	return p.session, p.statusErr
}

func (p *pikeStub) ConfirmSession(_ context.Context, _, key string) (pike.Session, error) {
	p.sends++
	p.keys = append(p.keys, key)
	return p.session, p.err
}

func (p *pikeStub) CreateSession(ctx context.Context, _ pike.CreateSessionRequest, key string) (pike.Session, error) {
	return p.ConfirmSession(ctx, "", key)
}

func (p *pikeStub) StartPayout(ctx context.Context, _ pike.StartPayoutRequest, key string) (pike.Session, error) {
	return p.ConfirmSession(ctx, "", key)
}

func (p *pikeStub) CancelSession(ctx context.Context, session, key string) (pike.Session, error) {
	return p.ConfirmSession(ctx, session, key)
}

func TestConfirmIsSentOnlyIfStatusAsksForItAndTheOrderAgrees(t *testing.T) {
	ready := onePayout(pike.SessionInProgress, pike.PayoutPending)
	ready.NextAction = pike.NextActionConfirm
	other := ready
	other.Payouts = []pike.Payout{ready.Payouts[0]}
	other.Payouts[0].AmountDetails.Amount = 1
	tests := map[string]struct {
		session pike.Session
		sends   int
	}{
		"ready":     {ready, 1},
		"mismatch":  {other, 0},
		"not ready": {onePayout(pike.SessionInProgress, pike.PayoutInProgress), 0},
		"confirmed": {onePayout(pike.SessionInProgress, pike.PayoutPending), 0},
		"paid":      {onePayout(pike.SessionAccepted, pike.PayoutSucceeded), 0},
		"cancelled": {onePayout(pike.SessionCancelled, pike.PayoutFailed), 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			stub := &pikeStub{session: tt.session}
			result := execute(t, New(Config{Pike: stub, Runs: runsStub{}}).ConfirmSession)
			require.Equal(t, tt.sends, stub.sends)
			require.Equal(t, tt.sends == 1, result.Sent)
			if tt.sends == 1 {
				require.Equal(t, []string{"p1/confirm"}, stub.keys)
			}
		})
	}
}

func TestCancelIsNotSentToAnEndedSession(t *testing.T) {
	for session, sends := range map[*pike.Session]int{
		new(onePayout(pike.SessionAccepted, pike.PayoutSucceeded)):    0,
		new(onePayout(pike.SessionCancelled, pike.PayoutFailed)):      0,
		new(onePayout(pike.SessionError, pike.PayoutFailed)):          0,
		new(onePayout(pike.SessionInProgress, pike.PayoutInProgress)): 1,
	} {
		stub := &pikeStub{session: *session}
		result := execute(t, New(Config{Pike: stub, Runs: runsStub{}}).CancelSession)
		require.Equal(t, sends, stub.sends)
		require.Equal(t, sends == 1, result.Sent)
	}
}

// TestACancelThatComesTooEarlyIsNoFailure: Pike takes one only while it waits for confirm (api.md §3.5).
func TestACancelThatComesTooEarlyIsNoFailure(t *testing.T) {
	stub := &pikeStub{session: onePayout(pike.SessionInProgress, pike.PayoutInProgress),
		err: &pike.Error{Method: "session/cancel", Outcome: pike.Unknown, Code: pike.CodeSessionWrongState}}
	result := execute(t, New(Config{Pike: stub}).CancelSession)
	require.False(t, result.Sent)
	require.Equal(t, PhaseInProgress, result.Session.Phase)
}

func TestAnObservingWorkerSendsNothing(t *testing.T) {
	ready := onePayout(pike.SessionInProgress, pike.PayoutPending)
	ready.NextAction = pike.NextActionConfirm
	stub := &pikeStub{session: ready}
	a := New(Config{Pike: stub, Runs: runsStub{}, ObserveOnly: true})
	in := SessionInput{Run: Run{currentRun}, SessionID: "ps_1", Order: order()}
	_, confirm := executeActivity[SendResult](a.ConfirmSession, in)
	_, cancel := executeActivity[SendResult](a.CancelSession, in)
	start := StartInput{Run: Run{currentRun}, SessionID: "ps_1", Request: orderRequest()}
	forgotten, err := executeActivity[Session](a.StartPayout, start) // by a restored database: the session was started
	require.NoError(t, err)
	require.Equal(t, PhaseReady, forgotten.Phase)
	stub.session = pike.Session{ID: "ps_1", Status: pike.SessionCreated}
	_, fresh := executeActivity[Session](a.StartPayout, start)
	for _, err := range []error{confirm, cancel, fresh} {
		require.Error(t, err)
		failure := FailureOf(err)
		require.True(t, failure.Held)
		require.Equal(t, NotSent, failure.Outcome)
	}
	require.Zero(t, stub.sends)
	_, err = executeActivity[Session](a.SessionStatus, in)
	require.NoError(t, err)
}

// currentRun is the run id of the test environment.
const currentRun = "default-test-run-id"

func orderRequest() payout.Request {
	return payout.Request{PayoutID: "p1", AmountDetails: order().AmountDetails, Destination: order().Destination,
		Recipient: payout.Recipient{FullName: order().RecipientName}}
}

func execute(t *testing.T, call func(context.Context, SessionInput) (SendResult, error)) SendResult {
	t.Helper()
	result, err := executeActivity[SendResult](call, SessionInput{Run: Run{OriginalRunID: currentRun}, SessionID: "ps_1", Order: order()})
	require.NoError(t, err)
	return result
}

func executeActivity[R any](call, in any) (R, error) {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity(call)
	var result R
	value, err := env.ExecuteActivity(call, in)
	if err == nil {
		err = value.Get(&result)
	}
	return result, err
}
