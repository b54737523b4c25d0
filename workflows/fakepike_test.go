package workflows_test

import (
	"context"
	"encoding/json"
	"sync"

	"pikepayouts/pike"
)

// fakePike is a scripted Pike: the test moves its session, and queues errors
// per method. A "lost" error does the work first, as a lost answer does.
type fakePike struct {
	mu      sync.Mutex
	session pike.Session
	calls   []string
	errors  map[string][]fakeError
	// onStart changes what a start makes of the session.
	onStart func(*pike.Session)
	// onStatus happens during every status read.
	onStatus func()
}

type fakeError struct {
	err    error
	worked bool
}

func newFakePike() *fakePike { return &fakePike{errors: map[string][]fakeError{}} }

func unknownError(method string) error {
	return &pike.Error{Method: method, Outcome: pike.Unknown}
}

// lost queues n answers that get lost after the work was done.
func (f *fakePike) lost(method string, n int) *fakePike {
	return f.failing(method, n, fakeError{err: unknownError(method), worked: true})
}

// failing queues n errors; the work is not done unless the error says so.
func (f *fakePike) failing(method string, n int, failure fakeError) *fakePike {
	for range n {
		f.errors[method] = append(f.errors[method], failure)
	}
	return f
}

func (f *fakePike) do(method string, work func()) (pike.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, method)
	if queue := f.errors[method]; len(queue) > 0 {
		f.errors[method] = queue[1:]
		if queue[0].worked {
			work()
		}
		return pike.Session{}, queue[0].err
	}
	work()
	return f.session, nil
}

func (f *fakePike) count(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, call := range f.calls {
		if call == method {
			n++
		}
	}
	return n
}

func (f *fakePike) change(change func(*pike.Session)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.session)
}

func (f *fakePike) CreateSession(context.Context, pike.CreateSessionRequest, string) (pike.Session, error) {
	return f.do("create", func() { f.session = pike.Session{ID: "ps_1", Status: pike.SessionCreated} })
}

func (f *fakePike) StartPayout(_ context.Context, request pike.StartPayoutRequest, _ string) (pike.Session, error) {
	metadata, _ := json.Marshal(request.Metadata)
	return f.do("start", func() {
		f.session.Status = pike.SessionInProgress
		f.session.Payouts = append(f.session.Payouts, pike.Payout{ID: "po_1", Status: pike.PayoutInProgress,
			AmountDetails: request.AmountDetails, Destination: request.Destination, Metadata: metadata})
		if f.onStart != nil {
			f.onStart(&f.session)
		}
	})
}

func (f *fakePike) ConfirmSession(context.Context, string, string) (pike.Session, error) {
	return f.do("confirm", func() { f.session.NextAction = "" })
}

func (f *fakePike) CancelSession(context.Context, string, string) (pike.Session, error) {
	return f.do("cancel", func() { f.session.NextAction = "" })
}

func (f *fakePike) SessionStatus(context.Context, string) (pike.Session, error) {
	return f.do("status", func() {
		if f.onStatus != nil {
			f.onStatus()
		}
	})
}

func ready(s *pike.Session) {
	s.Status, s.NextAction = pike.SessionInProgress, pike.NextActionConfirm
	s.Payouts[0].Status = pike.PayoutPending
}

func paid(s *pike.Session) {
	s.Status, s.NextAction = pike.SessionAccepted, ""
	s.Payouts[0].Status = pike.PayoutSucceeded
	s.Payouts[0].TransactionInfo = json.RawMessage(`{"rrn":"1"}`)
}

func notPaid(s *pike.Session) {
	s.Status, s.NextAction = pike.SessionCancelled, ""
	for i := range s.Payouts {
		s.Payouts[i].Status = pike.PayoutFailed
		s.Payouts[i].Error = &pike.ErrorInfo{Code: "operation_rejected"}
	}
}

func unresolved(s *pike.Session) {
	s.Status, s.NextAction = pike.SessionError, ""
	s.Payouts[0].Status = pike.PayoutFailed
}
