package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/worker"
)

const (
	// ambiguityTimeout is a short PIKE_TIMEOUT, lateAnswer is later than that.
	ambiguityTimeout = 10 * time.Second
	lateAnswer       = 15 * time.Second
	// leastHelpful is the Pike at which every blind repeat costs money. Idempotency keys do not count there.
	leastHelpful = `{"second_start":"add_payout","second_confirm":"pay_again"}`
)

// ambiguities are the ways in which one call may go wrong at Pike.
func ambiguities(trap string) []pikesim.Fault {
	return []pikesim.Fault{
		{Kind: pikesim.FaultNeverArrives}, {Kind: pikesim.FaultWorksLater}, {Kind: pikesim.FaultHTTP429}, {Kind: pikesim.FaultHTTP429Wait},
		{Kind: pikesim.FaultUnknownCode}, {Kind: pikesim.FaultRedirect, Target: trap}, {Kind: pikesim.FaultLost},
		{Kind: pikesim.FaultLate, Delay: pikesim.Duration(lateAnswer)}, {Kind: pikesim.FaultCut}, {Kind: pikesim.FaultHTML},
		{Kind: pikesim.FaultEmpty}, {Kind: pikesim.FaultNoStatus}, {Kind: pikesim.FaultHTTP500}, {Kind: pikesim.FaultHTTP502},
		{Kind: pikesim.FaultHTTP503}, {Kind: pikesim.FaultHTTP504}, {Kind: pikesim.FaultUnknownWorked}, {Kind: pikesim.FaultHuge},
	}
}

// ambiguity is one payout of which one call goes wrong in one way.
type ambiguity struct {
	fault pikesim.Fault
	r     payout.Request
	want  payout.State
	end   payout.Status
}

func (a *ambiguity) name() string { return string(a.fault.Call) + " " + string(a.fault.Kind) }

// TestEveryCallGoesWrongInEveryWay pays one payout for each call of Pike and each fault in its answer, at a Pike that
// makes every blind repeat cost money. Each ends right by itself, judged by the ledger (hazards A1-A3, A6, A10, T12;
// F10-F16, F18). All wait side by side: go test ./e2e -run TestEveryCallGoesWrong -v prints the table.
func TestEveryCallGoesWrongInEveryWay(t *testing.T) {
	t.Parallel()
	s := newStack(t, stackOptions{noWorker: true, keysOff: true})
	s.startImpatientWorker()
	s.control("modes", leastHelpful)
	var trapped atomic.Int32
	trap := newTestServer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { trapped.Add(1) }))

	cells := s.startAmbiguities(ambiguities(trap.URL))
	s.cancelReadyOnes(cells)
	for _, cell := range cells {
		t.Run(cell.name(), func(t *testing.T) {
			s := s.in(t)
			cell.end = s.wait(cell.r)
			require.Equal(t, cell.want, cell.end.State)
			require.Empty(t, attention(cell.end))
			require.Eventually(t, func() bool { return s.faulted(cell) }, 2*time.Minute, 100*time.Millisecond, "the fault never came about")
			require.LessOrEqual(t, s.calls(cell.r, "session/start/payout"), 1)
			require.LessOrEqual(t, s.calls(cell.r, "session/confirm"), 1)
		})
	}
	t.Log(s.tableOf(cells))
	require.Zero(t, trapped.Load(), "a redirect was followed")
	for _, cell := range cells { // long after, nothing has moved any more
		s.agreesWithLedger(cell.r, cell.end)
	}
}

// startImpatientWorker starts a worker that waits for Pike no longer than ambiguityTimeout.
func (s *stack) startImpatientWorker() {
	s.t.Helper()
	client, err := pike.NewClient(pike.Config{BaseURL: s.simURL, Project: project, Signer: shared.partnerKey, Timeout: ambiguityTimeout})
	require.NoError(s.t, err)
	w := worker.New(shared.temporal, s.workerOptions(client))
	require.NoError(s.t, w.Start())
	s.t.Cleanup(w.Stop)
}

// in is the stack for a subtest, which fails by itself.
func (s *stack) in(t *testing.T) *stack {
	own := *s
	own.t = t
	return &own
}

func (s *stack) startAmbiguities(faults []pikesim.Fault) []*ambiguity {
	s.t.Helper()
	var cells []*ambiguity
	for _, call := range []pikesim.Step{pikesim.StepCreate, pikesim.StepStart, pikesim.StepConfirm, pikesim.StepCancel, pikesim.StepStatus} {
		for _, fault := range faults {
			fault.Call = call
			cell := &ambiguity{fault: fault, r: order(s.t, pikesim.PresetConfirmed), want: payout.StateSucceeded}
			switch call {
			case pikesim.StepCancel:
				manual(&cell.r)
				cell.want = payout.StateCancelled
			case pikesim.StepStatus: // reads before confirm and after it
				cell.fault.Times = 3
			}
			behaviour, err := json.Marshal(pikesim.Behaviour{Faults: []pikesim.Fault{cell.fault}})
			require.NoError(s.t, err)
			s.behave(cell.r, string(behaviour))
			s.start(cell.r)
			cells = append(cells, cell)
		}
	}
	return cells
}

// cancelReadyOnes decides what people have to: in these the cancel is the call that goes wrong.
func (s *stack) cancelReadyOnes(cells []*ambiguity) {
	s.t.Helper()
	for _, cell := range cells {
		if cell.fault.Call != pikesim.StepCancel {
			continue
		}
		s.eventually(cell.r, payout.StateAwaitingDecision)
		_, err := s.starter.Cancel(testContext(s.t), cell.r.PayoutID, "ann", "")
		require.NoError(s.t, err)
	}
}

// faulted says whether the ledger knows of the cell's fault: without it the cell would prove nothing.
func (s *stack) faulted(cell *ambiguity) bool {
	ledger := s.ledger(cell.r)
	return slices.ContainsFunc(slices.Concat(ledger.Accepted, ledger.Refused), func(entry pikesim.CallEntry) bool {
		return entry.Fault == cell.fault.Kind && strings.HasPrefix(entry.Method, "session/"+string(cell.fault.Call))
	})
}

// tableOf is what became of each cell; accepted calls only.
func (s *stack) tableOf(cells []*ambiguity) string {
	var text strings.Builder
	rows := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(rows, "\ncall\tfault\tend\tcreates\tstarts\tconfirms\tmovements\tseconds")
	for _, cell := range cells {
		if len(cell.end.Transitions) == 0 {
			continue // it failed before it had an end
		}
		_, _ = fmt.Fprintf(rows, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%.0f\n", cell.fault.Call, cell.fault.Kind, cell.end.State,
			s.calls(cell.r, "session/create"), s.calls(cell.r, "session/start/payout"), s.calls(cell.r, "session/confirm"),
			len(s.ledger(cell.r).Movements), cell.end.UpdatedAt.Sub(cell.end.Transitions[0].At).Seconds())
	}
	_ = rows.Flush()
	return text.String()
}
