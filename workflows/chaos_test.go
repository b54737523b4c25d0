package workflows_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"pikepayouts/payout"
)

var (
	chaosPayouts  = flag.Int("chaos.payouts", 1000, "how many payouts TestChaosInMemory runs")
	chaosSeed     = flag.Uint64("chaos.seed", 1, "the seed of the first of them")
	chaosDuration = flag.Duration("chaos.duration", 0, "run payouts until this has passed, however many they are")
)

const (
	// chaosWorkers run payouts side by side.
	chaosWorkers = 2
	// chaosGCPercent: what lives is a few MB and short-lived, so that collecting at the usual rate took a quarter of the time.
	chaosGCPercent    = 800
	chaosProgressEach = 20 * time.Second
	// chaosReachesAll payouts are enough to have met everything that the mix can bring about.
	chaosReachesAll = 10_000
)

// TestChaosInMemory runs payouts in Temporal's time-skipping environment against
// the simulator's core: faults on calls, webhooks, decisions, cancellations and
// clocks by chance. The simulator's ledger is the judge.
func TestChaosInMemory(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(chaosGCPercent))
	result := newChaosResult(t.Logf)
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(chaosWorkers)
	for i := 0; ctx.Err() == nil && result.wanted(i); i++ {
		seed := *chaosSeed + uint64(i)
		group.Go(func() error {
			end, err := chaosPayout(mixOf(seed))
			if err != nil {
				return fmt.Errorf("%w\nreplay: go test ./workflows -count=1 -run 'TestChaosInMemory$' -chaos.payouts 1 -chaos.seed %d", err, seed)
			}
			result.add(end)
			return nil
		})
	}
	err := group.Wait()
	t.Logf("from seed %d: %s", *chaosSeed, result)
	require.NoError(t, err)
	if result.payouts >= chaosReachesAll {
		require.Subset(t, slices.Collect(maps.Keys(result.attention)), attentionReasons, "reasons that no payout raised")
	}
}

// attentionReasons are all that a payout can raise.
var attentionReasons = []payout.AttentionReason{
	payout.AttentionResultOverdue, payout.AttentionUnresolvedError, payout.AttentionMismatch, payout.AttentionPaidWithoutConfirm,
	payout.AttentionConfirmUnknown, payout.AttentionPikeUnreachable, payout.AttentionConfigRefused,
}

// TestClocksChangeNothing runs payouts twice: with all clocks right, and with every clock
// but its own off by hours. What happens must be the same to the second (hazards T11, F54).
func TestClocksChangeNothing(t *testing.T) {
	for seed := range uint64(200) {
		right, wrong := mixOf(seed), mixOf(seed)
		right.Clocks = clocks{Start: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
		wrong.Clocks.Drift, wrong.Clocks.Leap = 0, 0 // these change how long things take, and so what may happen
		want, err := chaosPayout(right)
		require.NoError(t, err)
		got, err := chaosPayout(wrong)
		require.NoError(t, err)
		require.Equal(t, want.story(), got.story(), "seed %d", seed)
	}
}

// BenchmarkPayoutInMemory is a payout without faults from request to end.
func BenchmarkPayoutInMemory(b *testing.B) {
	for b.Loop() {
		end, err := chaosPayout(mix{})
		require.NoError(b, err)
		require.Equal(b, payout.StateSucceeded, end.status.State)
	}
}

// chaosEnd is how a payout ended, and what attention it raised on the way.
type chaosEnd struct {
	status    payout.Status
	attention map[payout.AttentionReason]bool
	resolved  bool
	calls     int
}

// story is every transition, by the time since the first.
func (e chaosEnd) story() string {
	var text strings.Builder
	for _, transition := range e.status.Transitions {
		fmt.Fprintf(&text, "  +%s %s: %s\n", transition.At.Sub(e.status.Transitions[0].At), transition.State, transition.Why)
	}
	return text.String()
}

// chaosPayout runs one payout to its end and judges it. Everything about it follows from the mix.
func chaosPayout(m mix) (end chaosEnd, err error) {
	p, err := newChaosPike(m)
	if err != nil {
		return chaosEnd{}, err
	}
	defer func() {
		if panicked := recover(); panicked != nil { // the environment's way to say that nothing moves any more
			err = fmt.Errorf("panic: %v %s", panicked, debug.Stack())
		}
		if err != nil {
			err = fmt.Errorf("%w\n%smix: %s", err, end.story(), m)
		}
	}()
	p.env.ExecuteWorkflow(payout.WorkflowType, request(m.order))
	ledger := p.core.Ledger()
	end = chaosEnd{status: p.watch.lastStatus, attention: p.watch.reasons, resolved: p.resolved, calls: len(ledger.Accepted) + len(ledger.Refused)}
	if err := p.env.GetWorkflowError(); err != nil {
		return end, errors.Join(fmt.Errorf("the workflow failed: %w", err), p.watch.err)
	}
	if err := p.env.GetWorkflowResult(&end.status); err != nil {
		return end, fmt.Errorf("no result: %w", err)
	}
	return end, p.judge(end.status)
}

// chaosResult counts while payouts run.
type chaosResult struct {
	logf  func(format string, args ...any)
	began time.Time

	mu        sync.Mutex
	logged    time.Time
	payouts   int
	ends      map[payout.State]int
	attention map[payout.AttentionReason]int
	resolved  int
	calls     int
}

func newChaosResult(logf func(string, ...any)) *chaosResult {
	now := time.Now()
	return &chaosResult{logf: logf, began: now, logged: now, ends: map[payout.State]int{}, attention: map[payout.AttentionReason]int{}}
}

// wanted says whether one more payout is to be run after n.
func (r *chaosResult) wanted(n int) bool {
	if *chaosDuration > 0 {
		return time.Since(r.began) < *chaosDuration
	}
	return n < *chaosPayouts
}

func (r *chaosResult) add(end chaosEnd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.payouts++
	r.calls += end.calls
	r.ends[end.status.State]++
	for reason := range end.attention {
		r.attention[reason]++
	}
	if end.resolved {
		r.resolved++
	}
	if time.Since(r.logged) >= chaosProgressEach {
		r.logged = time.Now()
		r.logf("%s", r)
	}
}

func (r *chaosResult) String() string {
	return fmt.Sprintf("%d payouts, %.0f per second, %d calls to Pike: %v; attention %v; ended by a person %d",
		r.payouts, float64(r.payouts)/time.Since(r.began).Seconds(), r.calls, r.ends, r.attention, r.resolved)
}

// String is the mix as JSON, for whoever must understand a seed.
func (m mix) String() string {
	encoded, err := json.Marshal(m)
	if err != nil {
		return err.Error()
	}
	return string(encoded)
}
