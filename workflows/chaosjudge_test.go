package workflows_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
)

// judge compares our end with the ledger, long after everything that could still happen at Pike.
func (p *chaosPike) judge(status payout.Status) error {
	p.core.Advance(p.mix.Clocks.atPike(p.env.Now().Add(60 * 24 * time.Hour)))
	ledger := p.core.Ledger()
	return errors.Join(p.watch.err, p.watch.agreesWith(status), p.judgeMoney(ledger, status), judgeCalls(ledger))
}

// judgeMoney: at most one movement, and we know of it.
func (p *chaosPike) judgeMoney(ledger pikesim.Ledger, status payout.Status) error {
	paid, confirmed := p.paid(), accepted(ledger, "session/confirm") > 0
	altered := p.altered()
	told := p.resolved || status.Attention != nil &&
		(status.Attention.Reason == payout.AttentionPaidWithoutConfirm || status.Attention.Reason == payout.AttentionMismatch)
	switch {
	case paid > 1 && (confirmed || !altered): // two payouts that Pike made by itself and paid without us are Pike's
		return fmt.Errorf("paid %d times", paid)
	case altered && confirmed:
		return errors.New("confirmed what was not ordered")
	case (status.State == payout.StateSucceeded) != (paid > 0):
		return fmt.Errorf("ended %s, paid %d times", status.State, paid)
	case paid > 0 && !confirmed && !told && !p.watch.reasons[payout.AttentionConfirmUnknown]:
		return errors.New("paid without our confirm, and nobody was told")
	}
	return nil
}

// judgeCalls: Pike's tolerance of a second start or confirm must not be what saves us.
func judgeCalls(ledger pikesim.Ledger) error {
	for _, call := range ledger.Accepted {
		if call.Repeated && (call.Method == "session/start/payout" || call.Method == "session/confirm") {
			return fmt.Errorf("a second %s was accepted", call.Method)
		}
	}
	return nil
}

func (p *chaosPike) paid() int {
	paid := 0
	for _, movement := range p.core.Ledger().Movements {
		if movement.Kind == pikesim.MovementPaid {
			paid++
		}
	}
	return paid
}

// altered says that Pike holds something else than was ordered, from the start.
func (p *chaosPike) altered() bool {
	return slices.ContainsFunc(p.core.Sessions(time.Time{}), func(s pikesim.SessionSummary) bool {
		return s.Behaviour.TwoPayouts || s.Behaviour.Echo != "" && s.Behaviour.Echo != pikesim.EchoFaithful
	})
}

func accepted(ledger pikesim.Ledger, method string) int {
	n := 0
	for _, call := range ledger.Accepted {
		if call.Method == method {
			n++
		}
	}
	return n
}

// watch sees what an operator's list shows of the payout, the search attributes, and
// what the workflow asks of Temporal.
type watch struct {
	interceptor.WorkerInterceptorBase
	calling                   func() // an activity is about to be executed
	state, session, attention string
	reasons                   map[payout.AttentionReason]bool
	// lastStatus is that of the moment of the first violation, err what was violated.
	lastStatus payout.Status
	err        error
}

func (w *watch) violated(err error) {
	if w.err == nil {
		w.err = err
	}
}

// agreesWith: the search attributes are always true, also at the end.
func (w *watch) agreesWith(status payout.Status) error {
	if w.state != string(status.State) || w.attention != string(attention(status)) {
		return fmt.Errorf("search attributes say %q, attention %q; the status %q, %q", w.state, w.attention, status.State, attention(status))
	}
	return nil
}

func (w *watch) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	return &watchInbound{WorkflowInboundInterceptorBase: interceptor.WorkflowInboundInterceptorBase{Next: next}, watch: w}
}

type watchInbound struct {
	interceptor.WorkflowInboundInterceptorBase
	watch *watch
}

func (w *watchInbound) Init(outbound interceptor.WorkflowOutboundInterceptor) error {
	return w.Next.Init(&watchOutbound{WorkflowOutboundInterceptorBase: interceptor.WorkflowOutboundInterceptorBase{Next: outbound}, watch: w.watch})
}

type watchOutbound struct {
	interceptor.WorkflowOutboundInterceptorBase
	watch *watch
}

var (
	sessionAttribute   = temporal.NewSearchAttributeKeyKeyword(payout.SearchAttributeSession)
	stateAttribute     = temporal.NewSearchAttributeKeyKeyword(payout.SearchAttributeState)
	attentionAttribute = temporal.NewSearchAttributeKeyKeyword(payout.SearchAttributeAttention)
)

func (w *watchOutbound) UpsertTypedSearchAttributes(ctx workflow.Context, updates ...temporal.SearchAttributeUpdate) error {
	if err := w.Next.UpsertTypedSearchAttributes(ctx, updates...); err != nil {
		return err
	}
	now := workflow.GetTypedSearchAttributes(ctx)
	w.watch.state, _ = now.GetKeyword(stateAttribute)
	w.watch.session, _ = now.GetKeyword(sessionAttribute)
	w.watch.attention, _ = now.GetKeyword(attentionAttribute)
	if w.watch.attention != "" {
		w.watch.reasons[payout.AttentionReason(w.watch.attention)] = true
	}
	return nil
}

// moneyActivities must be attempted once: a repeat is the machine's decision (design §4.5).
var moneyActivities = []string{"StartPayout", "ConfirmSession", "CancelSession"}

func (w *watchOutbound) ExecuteActivity(ctx workflow.Context, activity string, args ...any) workflow.Future {
	policy := workflow.GetActivityOptions(ctx).RetryPolicy
	w.watch.readable(activity, workflow.GetActivityOptions(ctx).Summary)
	if slices.Contains(moneyActivities, activity) && (policy == nil || policy.MaximumAttempts != 1) {
		w.watch.violated(fmt.Errorf("%s may be attempted more than once: %+v", activity, policy))
	}
	w.watch.calling()
	return w.Next.ExecuteActivity(ctx, activity, args...)
}

func (w *watchOutbound) NewTimer(ctx workflow.Context, d time.Duration) workflow.Future {
	w.watch.readable("a timer", "")
	return w.Next.NewTimer(ctx, d)
}

func (w *watchOutbound) NewTimerWithOptions(ctx workflow.Context, d time.Duration, options workflow.TimerOptions) workflow.Future {
	w.watch.readable("a timer", options.Summary)
	return w.Next.NewTimerWithOptions(ctx, d, options)
}

var cardOrName = regexp.MustCompile(`[0-9a-fA-F]{16}|Ivanov`)

// readable: whoever looks at the history knows what each step is for, and learns no card and no name.
func (w *watch) readable(step, summary string) {
	if summary == "" || cardOrName.MatchString(summary) {
		w.violated(fmt.Errorf("%s has the summary %q", step, summary))
	}
}
