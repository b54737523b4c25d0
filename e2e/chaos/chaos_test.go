// Package chaos lets real processes pay payouts while they are killed, frozen,
// restarted and cut off from each other, and while the simulated Pike does what
// it can to make them pay twice. Afterwards all is healed, every payout must
// end, and the simulator's ledger judges.
//
// The seed fixes the payouts, who meddles with them and when, what Pike does
// wrong to each of them, and the faults, their order, victims, lengths and gaps.
// It does not fix what real processes and a real clock make of that: a run
// repeats the same trials, not the same result bit by bit.
package chaos

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/payout"
)

var (
	duration = flag.Duration("chaos.duration", time.Minute, "how long payouts are started and faults strike")
	seed     = flag.Uint64("chaos.seed", 1, "the seed of payouts and faults")
	rate     = flag.Float64("chaos.rate", 1, "payouts started per second")
)

const (
	// quietWithin is how long after the last fault everything must have ended (hazard F58).
	quietWithin      = 10 * time.Minute
	progressInterval = 10 * time.Second
	// problemsShown is how many payouts a failure shows in full; the rest is in a file.
	problemsShown = 3
)

func TestPayoutsSurviveChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	t.Logf("seed %d, %s, %g payouts per second", *seed, *duration, *rate)
	s := newStack(t)
	r := &run{stack: s, callers: &callers{stack: s, seed: *seed}, damage: &damage{counts: map[string]int{}}}
	require.NoError(t, s.pike.setModes(t.Context(), pikeModes()))
	require.NoError(t, s.pike.disturb(t.Context(), pikeChaos(*seed)))
	patience, cancel := context.WithTimeout(t.Context(), *duration+quietWithin)
	defer cancel()
	r.disturb(patience, t)
	r.recover(patience, t)
	r.judge(t)
}

// run is one run of the test.
type run struct {
	stack    *stack
	callers  *callers
	damage   *damage
	problems []problem
	recovery time.Duration
	operator *operator
}

// disturb returns when the duration is over and the last fault has ended.
func (r *run) disturb(patience context.Context, t *testing.T) {
	ctx, cancel := context.WithTimeout(patience, *duration)
	defer cancel()
	var busy sync.WaitGroup
	busy.Go(func() { r.callers.call(ctx, patience, *rate) })
	busy.Go(func() { r.tell(ctx, t) })
	if err := r.stack.wreak(ctx, *seed, r.damage); err != nil {
		r.problems = append(r.problems, problem{text: err.Error()})
	}
	busy.Wait()
}

// recover heals everything and waits until all is quiet.
func (r *run) recover(patience context.Context, t *testing.T) {
	healed := time.Now()
	require.NoError(t, r.stack.heal(patience))
	r.settle(patience, t, healed)
}

// settle waits until all is quiet, which recovers from what was over at that time.
func (r *run) settle(patience context.Context, t *testing.T, over time.Time) {
	telling, stop := context.WithCancel(patience)
	var busy sync.WaitGroup
	busy.Go(func() { r.tell(telling, t) })
	r.callers.busy.Wait()
	r.operator = newOperator(r.stack)
	r.problems = append(r.problems, r.operator.waitForQuiet(patience)...)
	r.recovery = time.Since(over)
	stop()
	busy.Wait()
}

// tell logs how far things are.
func (r *run) tell(ctx context.Context, t *testing.T) {
	for began := time.Now(); pause(ctx, progressInterval); {
		total, last := r.damage.summary()
		t.Logf("%4.0fs: %d payouts started, %s; %d faults, last: %s",
			time.Since(began).Seconds(), len(r.callers.orders()), r.openAndEnded(ctx), total, last)
	}
}

func (r *run) openAndEnded(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	open, openErr := r.stack.count(ctx, payout.WorkflowType, isOpen)
	ended, endedErr := r.stack.count(ctx, payout.WorkflowType, hasEnded)
	if errors.Join(openErr, endedErr) != nil {
		return "Temporal does not answer"
	}
	return fmt.Sprintf("%d open, %d ended", open, ended)
}

func (r *run) judge(t *testing.T) {
	orders := r.callers.orders()
	v, err := r.stack.judge(t.Context(), orders)
	require.NoError(t, err)
	r.problems = slices.Concat(r.problems, r.callers.problems, v.problems)
	t.Log("\n" + r.table(v, len(orders)))
	require.NotEmpty(t, orders)
	if len(r.problems) > 0 {
		r.explain(t)
	}
}

// table is the report.
func (r *run) table(v verdict, payouts int) string {
	rows := [][]string{{"payouts", fmt.Sprint(payouts)}}
	rows = append(rows, countRows("ended ", v.ends)...)
	rows = append(rows, countRows("attention ", v.attention)...)
	rows = append(rows, countRows("resolve ", r.operator.accepted)...)
	rows = append(rows,
		[]string{"webhooks acknowledged", fmt.Sprint(v.acknowledged)},
		[]string{"  kept as late events", fmt.Sprint(v.late)},
		[]string{"recovery", r.recovery.Round(time.Second).String()},
		[]string{"  open last", r.operator.last.String()},
	)
	for _, row := range r.damage.rows() {
		rows = append(rows, []string{"fault " + row[0], row[1]})
	}
	for _, p := range r.stack.processes() {
		if crashes := p.crashed(); len(crashes) > 0 {
			rows = append(rows, []string{p.name + " ended", strings.Join(crashes, ", ")})
		}
	}
	return aligned(rows)
}

func aligned(rows [][]string) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	_ = table.Flush()
	return text.String()
}

func countRows[K cmp.Ordered](prefix string, counts map[K]int) [][]string {
	var rows [][]string
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		rows = append(rows, []string{fmt.Sprint(prefix, key), fmt.Sprint(counts[key])})
	}
	return rows
}

// explain fails the test, with all there is to know about the first payouts that went wrong.
func (r *run) explain(t *testing.T) {
	var list strings.Builder
	var shown []string
	for _, p := range r.problems {
		fmt.Fprintln(&list, p)
		if p.payoutID != "" && !slices.Contains(shown, p.payoutID) && len(shown) < problemsShown {
			shown = append(shown, p.payoutID)
		}
	}
	for _, id := range shown {
		fmt.Fprintf(&list, "\n%s\n", r.dossier(t.Context(), id))
	}
	_ = os.WriteFile(r.stack.file("problems.txt"), []byte(list.String()), 0o600)
	t.Errorf("%d promises were broken:\n%s\nrepeat: go test ./e2e/chaos -count=1 -timeout 0 -v -chaos.seed %d -chaos.duration %s -chaos.rate %g",
		len(r.problems), list.String(), *seed, *duration, *rate)
}

// dossier is the status of a payout, its transitions in it, and Pike's ledger of it.
func (r *run) dossier(ctx context.Context, id string) string {
	part := func(name string, value any, err error) string {
		encoded, _ := json.MarshalIndent(value, "", "  ") // both are made for JSON
		return fmt.Sprintf("%s of %s (error: %v):\n%s\n", name, id, err, encoded)
	}
	status, statusErr := r.stack.starter.Get(ctx, id)
	ledger, ledgerErr := r.stack.pike.ledgerOf(ctx, id)
	return part("status", status, statusErr) + part("ledger", ledger, ledgerErr)
}
