package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"golang.org/x/sync/errgroup"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
)

// problem is a broken promise, of a payout if it has an id.
type problem struct {
	payoutID, text string
}

func (p problem) String() string { return strings.TrimPrefix(p.payoutID+": "+p.text, ": ") }

// record is what the history of a payout tells.
type record struct {
	// lost: Temporal does not know the payout, though it acknowledged the start.
	lost   bool
	status payout.Status
	// endedAs is WorkflowExecutionCompleted for a payout that ended as it should, unspecified for an open one.
	endedAs enumspb.EventType
	endedAt time.Time
	// signals are those that arrived.
	signals map[signal]bool
	// attention are all reasons that were ever raised.
	attention []payout.AttentionReason
}

// signal is a webhook as far as the ledger and a history both know it.
type signal struct {
	kind, sessionID string
}

// verdict is what the judge found.
type verdict struct {
	problems  []problem
	ends      map[payout.State]int
	attention map[payout.AttentionReason]int // payouts that ever had it
	// acknowledged are the webhooks answered with 200, late those of them that are kept as late events.
	acknowledged, late int
}

// judge compares every payout with Pike's ledger, after the last movement.
func (s *stack) judge(ctx context.Context, orders []order) (verdict, error) {
	v := verdict{ends: map[payout.State]int{}, attention: map[payout.AttentionReason]int{}}
	ledger, err := s.pike.ledger(ctx)
	if err != nil {
		return v, err
	}
	sessions, err := s.pike.sessions(ctx)
	if err != nil {
		return v, err
	}
	records, err := s.records(ctx, orders)
	if err != nil {
		return v, err
	}
	tallies, webhooks := ledger.Tallies(), acknowledgedWebhooks(ledger)
	for n, o := range orders {
		id, r := o.request.PayoutID, records[n]
		tally := tallies[id]
		if tally == nil {
			tally = &pikesim.Tally{}
		}
		v.add(id, judgePayout(o, r, *tally, startedSessions(ledger, id)))
		v.count(r)
		for _, w := range webhooks[id] {
			if sessions[w.SessionID].Behaviour.Echo == pikesim.EchoMetadata {
				continue // it names no payout of ours
			}
			if err := s.judgeWebhook(ctx, &v, id, r, w); err != nil {
				return v, err
			}
		}
	}
	err = s.judgeWorkflows(ctx, &v)
	return v, err
}

// judgePayout returns what is wrong with one payout.
func judgePayout(o order, r record, tally pikesim.Tally, startedSessions int) []string {
	var wrong []string
	problem := func(isWrong bool, format string, values ...any) {
		if isWrong {
			wrong = append(wrong, fmt.Sprintf(format, values...))
		}
	}
	open := r.endedAs == enumspb.EVENT_TYPE_UNSPECIFIED && !r.lost
	problem(r.lost, "Temporal acknowledged the start and does not know the payout")
	problem(tally.Paid > 1, "paid %d times", tally.Paid)
	problem(startedSessions > 1, "%d sessions were started", startedSessions)
	problem(tally.Repeated[pikesim.StepStart] > 0, "started %d times in one session", 1+tally.Repeated[pikesim.StepStart])
	problem(tally.Repeated[pikesim.StepConfirm] > 0, "confirmed %d times", 1+tally.Repeated[pikesim.StepConfirm])
	problem(open && r.status.Attention == nil, "open without attention: %s", r.status.State)
	problem(!open && !r.lost && r.endedAs != enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED, "the workflow ended by %s", r.endedAs)
	problem(!open && (r.status.State == payout.StateSucceeded) != (tally.Paid > 0), "ended %s, paid %d times", r.status.State, tally.Paid)
	for _, movement := range tally.Movements {
		moved := payout.AmountDetails{Amount: movement.Amount, Currency: movement.Currency}
		altered := o.behaviour != nil && o.behaviour.Echo != ""
		problem(!altered && !moved.Equal(o.request.AmountDetails), "%s moved, ordered were %s", moved, o.request.AmountDetails)
	}
	return wrong
}

// judgeWebhook: what a gateway acknowledged is in the history, or recorded as a late event.
func (s *stack) judgeWebhook(ctx context.Context, v *verdict, id string, r record, w pikesim.WebhookEntry) error {
	v.acknowledged++
	if r.signals[signal{w.Type, w.SessionID}] {
		return nil
	}
	recorded, err := s.hasLateEvent(ctx, w.SessionID)
	if err != nil {
		return err
	}
	if recorded {
		v.late++
	} else {
		v.add(id, []string{fmt.Sprintf("webhook %s of %s, acknowledged at %s, is nowhere (the payout ended at %s)", w.Type, w.SessionID, w.At, r.endedAt)})
	}
	return nil
}

// hasLateEvent looks for a LateEventWorkflow of the session.
func (s *stack) hasLateEvent(ctx context.Context, sessionID string) (bool, error) {
	count, err := s.count(ctx, payout.LateEventWorkflowType, fmt.Sprintf("%s = '%s'", payout.SearchAttributeSession, sessionID))
	return count > 0, err
}

func (s *stack) count(ctx context.Context, workflowType, filter string) (int64, error) {
	answer, err := s.client.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
		Query: fmt.Sprintf("WorkflowType = '%s' AND %s", workflowType, filter),
	})
	if err != nil {
		return 0, fmt.Errorf("counting %s with %s: %w", workflowType, filter, err)
	}
	return answer.GetCount(), nil
}

// judgeWorkflows: no workflow of any type failed or was ended from outside.
func (s *stack) judgeWorkflows(ctx context.Context, v *verdict) error {
	answer, err := s.client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
		Query: "ExecutionStatus NOT IN ('Running', 'Completed', 'ContinuedAsNew')",
	})
	if err != nil {
		return fmt.Errorf("looking for failed workflows: %w", err)
	}
	for _, info := range answer.GetExecutions() {
		v.problems = append(v.problems, problem{text: fmt.Sprintf("workflow %s is %s", info.GetExecution().GetWorkflowId(), info.GetStatus())})
	}
	return nil
}

func (v *verdict) add(id string, wrong []string) {
	for _, text := range wrong {
		v.problems = append(v.problems, problem{id, text})
	}
}

func (v *verdict) count(r record) {
	v.ends[r.status.State]++
	for _, reason := range r.attention {
		v.attention[reason]++
	}
}

func acknowledgedWebhooks(ledger pikesim.Ledger) map[string][]pikesim.WebhookEntry {
	webhooks := map[string][]pikesim.WebhookEntry{}
	for _, w := range ledger.Webhooks {
		if id := metadataOf(w.Metadata); w.HTTPStatus == http.StatusOK {
			webhooks[id] = append(webhooks[id], w)
		}
	}
	return webhooks
}

func startedSessions(ledger pikesim.Ledger, id string) int {
	sessions := map[string]bool{}
	for _, call := range ledger.Of(id).Accepted {
		if call.Method == "session/start/payout" {
			sessions[call.SessionID] = true
		}
	}
	return len(sessions)
}

// records reads the histories, a few at a time.
func (s *stack) records(ctx context.Context, orders []order) ([]record, error) {
	records := make([]record, len(orders))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for n, o := range orders {
		group.Go(func() error {
			var err error
			records[n], err = s.record(ctx, o.request.PayoutID)
			return err
		})
	}
	return records, group.Wait() //nolint:wrapcheck // each says which payout it is about
}

func (s *stack) record(ctx context.Context, id string) (record, error) {
	r := record{signals: map[signal]bool{}}
	events := s.client.GetWorkflowHistory(ctx, payout.WorkflowID(id), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		var unknown *serviceerror.NotFound
		if errors.As(err, &unknown) {
			return record{lost: true}, nil
		}
		if err == nil {
			err = r.note(event, s.converter)
		}
		if err != nil {
			return record{}, fmt.Errorf("the history of %s: %w", id, err)
		}
	}
	if r.endedAs == enumspb.EVENT_TYPE_UNSPECIFIED {
		var err error
		if r.status, err = s.starter.Get(ctx, id); err != nil {
			return record{}, err //nolint:wrapcheck // it names the payout
		}
	}
	return r, nil
}

// ends are the events with which a workflow ends.
var ends = []enumspb.EventType{
	enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
	enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
}

func (r *record) note(event *historypb.HistoryEvent, decode converter.DataConverter) error {
	if slices.Contains(ends, event.GetEventType()) {
		r.endedAs, r.endedAt = event.GetEventType(), event.GetEventTime().AsTime()
	}
	if completed := event.GetWorkflowExecutionCompletedEventAttributes(); completed != nil {
		return decode.FromPayloads(completed.GetResult(), &r.status) //nolint:wrapcheck // the caller names the payout
	}
	if signalled := event.GetWorkflowExecutionSignaledEventAttributes(); signalled != nil {
		var sent payout.Event
		if err := decode.FromPayloads(signalled.GetInput(), &sent); err != nil {
			return err //nolint:wrapcheck // as above
		}
		r.signals[signal{signalled.GetSignalName(), sent.SessionID}] = true
	}
	upserted := event.GetUpsertWorkflowSearchAttributesEventAttributes().GetSearchAttributes().GetIndexedFields()
	if raised := upserted[payout.SearchAttributeAttention]; raised != nil {
		var reason payout.AttentionReason
		_ = converter.GetDefaultDataConverter().FromPayload(raised, &reason) // in clear; cleared attention has no value
		if reason != "" && !slices.Contains(r.attention, reason) {
			r.attention = append(r.attention, reason)
		}
	}
	return nil
}
