package starter_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/mocks"
	"golang.org/x/sync/errgroup"

	"pikepayouts/payout"
	"pikepayouts/starter"
)

var number atomic.Int64

// order is a request with an id of its own.
func order(change ...func(*payout.Request)) payout.Request {
	r := payout.Request{
		PayoutID:      fmt.Sprintf("test-%d", number.Add(1)),
		AmountDetails: payout.AmountDetails{Amount: 10000, Currency: "EUR"},
		Destination:   payout.Destination{TokenizedCard: &payout.TokenizedCard{Token: "759c9852dde2211d7531b3d905c1d513fbfb914bee87fb567d99c7b2f2c2ad44"}},
		Recipient:     payout.Recipient{FullName: "Ivanov Ivan"},
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

func manual(r *payout.Request) { r.Policy.Decision = payout.DecisionManual }

func amount(minor int64) func(*payout.Request) {
	return func(r *payout.Request) { r.AmountDetails.Amount = minor }
}

// ctxOf is long enough for a real answer, and short enough for a test that waits for none.
func ctxOf(t *testing.T, timeout time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}

func started(t *testing.T, s *starter.Starter, r payout.Request) starter.Started {
	t.Helper()
	run, err := s.Start(ctxOf(t, time.Minute), r)
	require.NoError(t, err)
	require.False(t, run.Existing)
	return run
}

func TestOnePayoutForOneID(t *testing.T) {
	s, r := starter.New(server, starter.Options{}), order()
	runs := make([]starter.Started, 100)
	var group errgroup.Group
	for i := range runs {
		group.Go(func() (err error) {
			runs[i], err = s.Start(t.Context(), r)
			return err
		})
	}
	require.NoError(t, group.Wait())
	first := 0
	for _, run := range runs {
		require.Equal(t, payout.WorkflowID(r.PayoutID), run.WorkflowID)
		require.Equal(t, runs[0].RunID, run.RunID)
		if !run.Existing {
			first++
		}
	}
	require.Equal(t, 1, first)
}

func TestSameIDAgain(t *testing.T) {
	s := starter.New(server, starter.Options{})
	ended, running, refused := order(), order(manual), order(amount(failingAmount))
	for _, r := range []payout.Request{ended, running, refused} {
		first := started(t, s, r)
		if r.Policy.Decision != payout.DecisionManual {
			_, _ = s.Wait(ctxOf(t, time.Minute), r.PayoutID)
		}
		again, err := s.Start(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, starter.Started{WorkflowID: first.WorkflowID, RunID: first.RunID, Existing: true}, again)
		other := r
		other.AmountDetails.Amount++
		_, err = s.Start(t.Context(), other)
		require.ErrorIs(t, err, starter.ErrConflict)
		require.ErrorContains(t, err, r.PayoutID)
	}
}

// TestWhatARunIsStartedWith looks at what operators and later starts rely on.
func TestWhatARunIsStartedWith(t *testing.T) {
	s, r := starter.New(server, starter.Options{}), order(manual)
	run := started(t, s, r)
	description, err := server.DescribeWorkflowExecution(t.Context(), run.WorkflowID, run.RunID)
	require.NoError(t, err)
	info := description.GetWorkflowExecutionInfo()
	require.Equal(t, payout.WorkflowType, info.GetType().GetName())
	require.Equal(t, payout.DefaultTaskQueue, info.GetTaskQueue())
	require.Zero(t, description.GetExecutionConfig().GetWorkflowExecutionTimeout().AsDuration(), "a timeout could end a payout with money under way")
	require.Zero(t, description.GetExecutionConfig().GetWorkflowRunTimeout().AsDuration())
	fields := info.GetSearchAttributes().GetIndexedFields()
	require.JSONEq(t, `"eur"`, string(fields[payout.SearchAttributeCurrency].GetData()))
	require.JSONEq(t, `10000`, string(fields[payout.SearchAttributeAmount].GetData()))
	require.JSONEq(t, `"`+r.Fingerprint()+`"`, string(info.GetMemo().GetFields()[payout.MemoRequestFingerprint].GetData()))
	summary := string(description.GetExecutionConfig().GetUserMetadata().GetSummary().GetData())
	require.JSONEq(t, `"100.00 EUR to tokenized_card"`, summary)
	first, err := server.GetWorkflowHistory(t.Context(), run.WorkflowID, run.RunID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT).Next()
	require.NoError(t, err)
	require.Nil(t, first.GetWorkflowExecutionStartedEventAttributes().GetRetryPolicy())
}

// TestStartedWithoutMemo also covers a client with a codec, which covers the memo. A plain Temporal client
// leaves no fingerprint, so the input itself is compared.
func TestStartedWithoutMemo(t *testing.T) {
	tests := map[string]converter.DataConverter{
		"plain":      converter.GetDefaultDataConverter(),
		"with codec": converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), converter.NewZlibCodec(converter.ZlibCodecOptions{AlwaysEncode: true})),
	}
	for name, dataConverter := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := dial(func(o *client.Options) { o.DataConverter = dataConverter })
			require.NoError(t, err)
			defer c.Close()
			s := starter.New(c, starter.Options{DataConverter: dataConverter, TaskQueue: "nobody"})
			r := order()
			start := func(id string, input any) {
				options := client.StartWorkflowOptions{ID: payout.WorkflowID(id), TaskQueue: "nobody"}
				_, err := c.ExecuteWorkflow(t.Context(), options, payout.WorkflowType, input)
				require.NoError(t, err)
			}
			encoded, err := json.Marshal(r)
			require.NoError(t, err)
			start(r.PayoutID, json.RawMessage(encoded))
			again, err := s.Start(t.Context(), r)
			require.NoError(t, err)
			require.True(t, again.Existing)
			other := r
			other.AmountDetails.Amount++
			_, err = s.Start(t.Context(), other)
			require.ErrorIs(t, err, starter.ErrConflict)

			withMemo := order()
			started(t, s, withMemo)
			again, err = s.Start(t.Context(), withMemo)
			require.NoError(t, err)
			require.True(t, again.Existing)

			garbage := order()
			start(garbage.PayoutID, "no request")
			_, err = s.Start(t.Context(), garbage)
			require.ErrorIs(t, err, starter.ErrConflict)
		})
	}
}

func TestBadRequestIsNotSent(t *testing.T) {
	s := starter.New(&mocks.Client{}, starter.Options{}) // a call of it would panic
	_, err := s.Start(t.Context(), payout.Request{PayoutID: "a/b"})
	var field *payout.FieldError
	require.ErrorAs(t, err, &field)
	require.ErrorContains(t, err, "payout_id: ")
	require.ErrorContains(t, err, "amount_details.amount: ")
	for _, call := range []func() error{
		func() error { _, err := s.Get(t.Context(), "a/b"); return err },
		func() error { _, err := s.Wait(t.Context(), ""); return err },
		func() error { _, err := s.Confirm(t.Context(), strings.Repeat("x", 65), "ann", ""); return err },
	} {
		require.ErrorAs(t, call(), &field)
		require.Equal(t, "payout_id", field.Field)
	}
}

// TestACardNumberIsNotSent, neither with a payout nor with what people say of it (hazard S8).
func TestACardNumberIsNotSent(t *testing.T) {
	s := starter.New(&mocks.Client{}, starter.Options{}) // a call of it would panic
	const card = "4111 1111 1111 1111"
	resolve := payout.ResolveRequest{Action: payout.ResolveClosePaid, By: "ann", Reason: "settled", Evidence: card}
	lateEvent := payout.LateEventIDPrefix + "ps_1/" + strings.Repeat("0", 64)
	for field, call := range map[string]func() error{
		"payout_id": func() error {
			_, err := s.Start(t.Context(), order(func(r *payout.Request) { r.PayoutID = "4111-1111-1111-1111" }))
			return err
		},
		"recipient.full_name": func() error {
			_, err := s.Start(t.Context(), order(func(r *payout.Request) { r.Recipient.FullName = card }))
			return err
		},
		"reason":   func() error { _, err := s.Confirm(t.Context(), "p1", "ann", card); return err },
		"by":       func() error { _, err := s.Cancel(t.Context(), "p1", card, ""); return err },
		"evidence": func() error { _, err := s.Resolve(t.Context(), "p1", resolve); return err },
		"Evidence": func() error { _, err := s.ResolveLateEvent(t.Context(), lateEvent, resolve); return err },
	} {
		err := call()
		var wrong *payout.FieldError
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, strings.ToLower(field), wrong.Field)
		require.ErrorContains(t, err, "looks like a card number")
		require.NotContains(t, err.Error(), "1111")
	}
}

func TestGetAndWait(t *testing.T) {
	s, r := starter.New(server, starter.Options{}), order(manual)
	started(t, s, r)
	status, err := s.Get(t.Context(), r.PayoutID)
	require.NoError(t, err)
	require.Equal(t, payout.StateAwaitingDecision, status.State)
	_, err = s.Wait(ctxOf(t, 100*time.Millisecond), r.PayoutID)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, starter.ErrNoResult)
	cancelled, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err = s.Wait(cancelled, r.PayoutID)
	require.ErrorIs(t, err, context.Canceled)

	_, err = s.Confirm(t.Context(), r.PayoutID, "ann", "checked")
	require.NoError(t, err)
	status, err = s.Wait(ctxOf(t, time.Minute), r.PayoutID)
	require.NoError(t, err)
	require.Equal(t, payout.StateSucceeded, status.State)
	again, err := s.Get(t.Context(), r.PayoutID)
	require.NoError(t, err)
	require.Equal(t, status, again)
}

func TestUnknownPayout(t *testing.T) {
	s, id := starter.New(server, starter.Options{}), order().PayoutID
	_, getErr := s.Get(t.Context(), id)
	_, waitErr := s.Wait(t.Context(), id)
	_, confirmErr := s.Confirm(t.Context(), id, "ann", "")
	_, cancelErr := s.Cancel(t.Context(), id, "ann", "")
	for _, err := range []error{getErr, waitErr, confirmErr, cancelErr} {
		require.ErrorIs(t, err, starter.ErrNotFound)
		require.ErrorContains(t, err, id)
	}
}

func TestRunsWithoutAResult(t *testing.T) {
	s := starter.New(server, starter.Options{})
	terminated, refused := order(manual), order(amount(failingAmount))
	started(t, s, terminated)
	require.NoError(t, server.TerminateWorkflow(t.Context(), payout.WorkflowID(terminated.PayoutID), "", "by a test"))
	started(t, s, refused)
	for id, want := range map[string]string{terminated.PayoutID: "terminated", refused.PayoutID: "amount: is unlucky"} {
		_, err := s.Wait(ctxOf(t, time.Minute), id)
		require.ErrorIs(t, err, starter.ErrNoResult)
		require.ErrorContains(t, err, want)
		_, err = s.Get(t.Context(), id)
		require.ErrorIs(t, err, starter.ErrNoResult)
		_, err = s.Confirm(t.Context(), id, "ann", "")
		require.ErrorIs(t, err, starter.ErrDecisionRefused)
	}
}

// TestWaitFollowsAReset: an operator's reset ends the run, not the payout.
func TestWaitFollowsAReset(t *testing.T) {
	s, r := starter.New(server, starter.Options{}), order(manual)
	run := started(t, s, r)
	_, err := s.Get(t.Context(), r.PayoutID) // the first workflow task is done
	require.NoError(t, err)
	waited := make(chan error)
	go func() {
		status, err := s.Wait(ctxOf(t, time.Minute), r.PayoutID)
		if err == nil && status.State != payout.StateSucceeded {
			err = fmt.Errorf("state %s", status.State)
		}
		waited <- err
	}()
	_, err = server.ResetWorkflowExecution(t.Context(), &workflowservice.ResetWorkflowExecutionRequest{
		Namespace: client.DefaultNamespace, Reason: "test", RequestId: r.PayoutID, WorkflowTaskFinishEventId: 4,
		WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: run.WorkflowID, RunId: run.RunID},
	})
	require.NoError(t, err)
	_, err = s.Confirm(t.Context(), r.PayoutID, "ann", "")
	require.NoError(t, err)
	require.NoError(t, <-waited)
}

func TestDecisions(t *testing.T) {
	s, r := starter.New(server, starter.Options{}), order(manual)
	started(t, s, r)
	status, err := s.Cancel(t.Context(), r.PayoutID, "ann", "wrong card")
	require.NoError(t, err)
	require.Equal(t, payout.DecisionCancel, status.Decision.Value)
	require.Equal(t, "ann", status.Decision.By)
	require.Equal(t, "wrong card", status.Decision.Reason)
	_, err = s.Wait(ctxOf(t, time.Minute), r.PayoutID)
	require.NoError(t, err)

	again, err := s.Cancel(t.Context(), r.PayoutID, "ann", "wrong card")
	require.NoError(t, err, "the same decision again, after the end")
	require.Equal(t, status.Decision, again.Decision)
	_, err = s.Confirm(t.Context(), r.PayoutID, "bob", "")
	require.ErrorIs(t, err, starter.ErrDecisionRefused)
}

func TestLateDecisionSaysWhy(t *testing.T) {
	s, r := starter.New(server, starter.Options{}), order(manual)
	started(t, s, r)
	var group errgroup.Group
	refusals := make([]error, 8)
	for i := range refusals {
		group.Go(func() error {
			_, refusals[i] = s.Confirm(t.Context(), r.PayoutID, fmt.Sprint("person-", i), "")
			return nil
		})
	}
	require.NoError(t, group.Wait())
	accepted := 0
	for _, err := range refusals {
		if err == nil {
			accepted++
			continue
		}
		require.ErrorIs(t, err, starter.ErrDecisionRefused)
		require.Regexp(t, "decided by person-|the payout has ended", err.Error())
	}
	require.Equal(t, 1, accepted)
}

func TestWithoutAWorker(t *testing.T) {
	s, r := starter.New(server, starter.Options{TaskQueue: "nobody"}), order()
	started(t, s, r)
	_, getErr := s.Get(ctxOf(t, time.Second), r.PayoutID)
	_, confirmErr := s.Confirm(ctxOf(t, time.Second), r.PayoutID, "ann", "")
	for _, err := range []error{getErr, confirmErr} {
		require.ErrorIs(t, err, starter.ErrNoWorker)
		require.ErrorContains(t, err, "payouts worker")
	}
}

// TestAnswersAreBounded: without a deadline of the caller's own there is one all the same (hazard H2).
func TestAnswersAreBounded(t *testing.T) {
	c := &mocks.Client{}
	bounded := mock.MatchedBy(func(ctx context.Context) bool {
		deadline, has := ctx.Deadline()
		return has && time.Until(deadline) <= 10*time.Second
	})
	c.On("DescribeWorkflowExecution", mock.Anything, "payout/p1", "").Return(&workflowservice.DescribeWorkflowExecutionResponse{
		WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{Status: enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING},
	}, nil)
	c.On("QueryWorkflow", bounded, "payout/p1", "", payout.QueryStatus).Return(nil, context.DeadlineExceeded)
	c.On("UpdateWorkflow", bounded, mock.Anything).Return(nil, context.DeadlineExceeded)
	s := starter.New(c, starter.Options{})
	_, err := s.Get(t.Context(), "p1")
	require.ErrorIs(t, err, starter.ErrNoWorker)
	_, err = s.Cancel(t.Context(), "p1", "ann", "")
	require.ErrorIs(t, err, starter.ErrNoWorker)
}

// TestUnreachableIsNotUnknown: "no such payout" would let a caller start it anew elsewhere.
func TestUnreachableIsNotUnknown(t *testing.T) {
	c := &mocks.Client{}
	away := serviceerror.NewUnavailable("away")
	c.On("DescribeWorkflowExecution", mock.Anything, "payout/p1", "").Return(nil, away)
	c.On("UpdateWorkflow", mock.Anything, mock.Anything).Return(nil, serviceerror.NewNotFound("workflow execution already completed"))
	c.On("ExecuteWorkflow", mock.Anything, mock.Anything, payout.WorkflowType, mock.Anything).Return(nil, away)
	s := starter.New(c, starter.Options{})
	_, getErr := s.Get(t.Context(), "p1")
	_, decideErr := s.Confirm(t.Context(), "p1", "ann", "")
	_, startErr := s.Start(t.Context(), order())
	for _, err := range []error{getErr, decideErr, startErr} {
		require.NotErrorIs(t, err, starter.ErrNotFound)
		require.NotErrorIs(t, err, starter.ErrConflict)
		require.ErrorIs(t, err, away)
	}
}

// TestWaitAndTheClockOfGRPC: gRPC may see the deadline pass a moment before ctx does.
func TestWaitAndTheClockOfGRPC(t *testing.T) {
	c, run := &mocks.Client{}, &mocks.WorkflowRun{}
	c.On("DescribeWorkflowExecution", mock.Anything, "payout/p1", "").Return(&workflowservice.DescribeWorkflowExecutionResponse{}, nil)
	c.On("GetWorkflow", mock.Anything, "payout/p1", "").Return(run)
	run.On("Get", mock.Anything, mock.Anything).Return(serviceerror.NewDeadlineExceeded("context deadline exceeded"))
	_, err := starter.New(c, starter.Options{}).Wait(ctxOf(t, time.Hour), "p1")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestUpdateIDs: the id is what makes a repeat harmless and another decision heard.
func TestUpdateIDs(t *testing.T) {
	var ids []string
	c := &mocks.Client{}
	c.On("UpdateWorkflow", mock.Anything, mock.Anything).Run(func(args mock.Arguments) {
		options := args.Get(1).(client.UpdateWorkflowOptions)
		require.Equal(t, payout.UpdateDecide, options.UpdateName)
		require.Empty(t, options.RunID, "a reset makes another run")
		ids = append(ids, options.UpdateID)
	}).Return(nil, errors.New("enough"))
	s := starter.New(c, starter.Options{})
	for _, by := range []string{"ann", "ann", "bob", "ann"} {
		reason := ""
		if len(ids) == 3 {
			reason = "checked"
		}
		_, _ = s.Confirm(t.Context(), "p1", by, reason)
	}
	_, _ = s.Cancel(t.Context(), "p1", "ann", "")
	require.Equal(t, ids[0], ids[1])
	for _, other := range ids[2:] {
		require.NotEqual(t, ids[0], other)
	}
}

func TestList(t *testing.T) {
	s := starter.New(server, starter.Options{})
	ours := number.Add(1) * 1000 // amounts of this run of the test alone
	odd, ended, waiting := order(amount(ours+attentionAmount), manual), order(amount(ours+5)), order(amount(ours+6), manual)
	for _, r := range []payout.Request{odd, ended, waiting} {
		started(t, s, r)
	}
	_, err := s.Wait(ctxOf(t, time.Minute), ended.PayoutID)
	require.NoError(t, err)
	tests := []struct {
		name   string
		filter starter.Filter
		want   string
	}{
		{"state", starter.Filter{State: payout.StateSucceeded}, ended.PayoutID},
		{"attention", starter.Filter{Attention: payout.AttentionMismatch}, odd.PayoutID},
		{"any attention", starter.Filter{AnyAttention: true}, odd.PayoutID},
		{"session", starter.Filter{SessionID: "ps_" + waiting.PayoutID}, waiting.PayoutID},
		{"query with or", starter.Filter{State: payout.StateAwaitingDecision, Query: fmt.Sprintf("PayoutAmount = %d OR PayoutAmount = %d", ours+6, ours+5)}, waiting.PayoutID},
		{"quote", starter.Filter{SessionID: "it's"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.filter.Query == "" {
				tt.filter.Query = fmt.Sprintf("PayoutAmount BETWEEN %d AND %d", ours, ours+999)
			}
			require.Eventually(t, func() bool { // the list lags behind
				var ids []string
				for summary, err := range s.List(t.Context(), tt.filter) {
					require.NoError(t, err)
					ids = append(ids, summary.PayoutID)
				}
				return strings.Join(ids, " ") == tt.want
			}, 20*time.Second, 20*time.Millisecond)
		})
	}
	for summary, err := range s.List(t.Context(), starter.Filter{SessionID: "ps_" + ended.PayoutID}) {
		require.NoError(t, err)
		require.Equal(t, payout.AmountDetails{Amount: ours + 5, Currency: "eur"}, summary.AmountDetails)
		require.Equal(t, payout.StateSucceeded, summary.State)
		require.Equal(t, "Completed", summary.Status)
		require.NotNil(t, summary.ClosedAt)
		require.False(t, summary.ClosedAt.Before(summary.StartedAt))
	}
	for _, err := range s.List(t.Context(), starter.Filter{Query: "nonsense ="}) {
		require.ErrorContains(t, err, "listing payouts")
	}
}

func page(token string, ids ...string) *workflowservice.ListWorkflowExecutionsResponse {
	response := &workflowservice.ListWorkflowExecutionsResponse{NextPageToken: []byte(token)}
	for _, id := range ids {
		response.Executions = append(response.Executions, &workflowpb.WorkflowExecutionInfo{Execution: &commonpb.WorkflowExecution{WorkflowId: payout.WorkflowID(id)}})
	}
	return response
}

func TestListPages(t *testing.T) {
	c := &mocks.Client{}
	at := func(token string) any {
		return mock.MatchedBy(func(r *workflowservice.ListWorkflowExecutionsRequest) bool {
			return string(r.GetNextPageToken()) == token
		})
	}
	c.On("ListWorkflow", mock.Anything, at("")).Return(page("two", "a", "b"), nil)
	c.On("ListWorkflow", mock.Anything, at("two")).Return(page("three"), nil) // a page may be empty, and more may follow
	c.On("ListWorkflow", mock.Anything, at("three")).Return(page("", "c"), nil)
	s := starter.New(c, starter.Options{})
	read := func(limit int) (ids []string) {
		for summary, err := range s.List(t.Context(), starter.Filter{}) {
			require.NoError(t, err)
			if ids = append(ids, summary.PayoutID); len(ids) == limit {
				break
			}
		}
		return ids
	}
	require.Equal(t, []string{"a", "b", "c"}, read(0))
	c.Calls = nil
	require.Equal(t, []string{"a"}, read(1))
	require.Len(t, c.Calls, 1, "a page that nobody reads is not asked for")
}
