package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
	"pikepayouts/starter"
)

const (
	// productionPayouts are started at productionRate per second.
	productionPayouts = 100
	productionRate    = 4
	// productionPatience has room for some settle delays of 90s and gaps between a webhook's repeats.
	productionPatience = 10 * time.Minute
	// factTests are those that state what the service leans on in Temporal, and what follows from it for payouts.
	factTests = "^(TestFact|TestCostOfAHappyPayout|TestRunsAreStartedSafely|TestAnOperator|TestReset|TestTheTemporalCLI)"
)

// kind is one sort of payout, and how each of it must end whatever breaks meanwhile.
type kind struct {
	name      string
	decision  string
	behaviour pikesim.Behaviour
	meddler   meddler
	ends      payout.State
}

func kinds() []kind {
	person := func(does meddling) meddler { return meddler{does: does, after: 3 * time.Second} }
	return []kind{
		{name: "auto", ends: payout.StateSucceeded},
		{name: "confirmed by a person", decision: payout.DecisionManual, meddler: person(confirms), ends: payout.StateSucceeded},
		{name: "cancelled by a person", decision: payout.DecisionManual, meddler: person(cancels), ends: payout.StateCancelled},
		{name: "declined at the checks", behaviour: pikesim.Behaviour{Outcome: pikesim.OutcomeDeclinedAtChecks}, ends: payout.StateFailed},
		{name: "declined after confirm", behaviour: pikesim.Behaviour{Outcome: pikesim.OutcomeDeclinedAfterConfirm}, ends: payout.StateFailed},
		{name: "webhooks lost", behaviour: pikesim.Behaviour{Webhooks: pikesim.WebhooksLost}, ends: payout.StateSucceeded},
		{name: "webhooks in copies", behaviour: pikesim.Behaviour{Webhooks: pikesim.WebhooksDuplicated}, ends: payout.StateSucceeded},
	}
}

// order is the nth payout of the run, which is of this kind.
func (k kind) order(n int) order {
	o := orderOf(*seed, uint64(n))
	o.request.Policy = payout.Policy{Decision: k.decision, PollInterval: payout.Duration(time.Second)}
	o.behaviour, o.meddler = &k.behaviour, k.meddler
	return o
}

// TestPayoutsOnPostgreSQL is docker-compose.yml as processes: Temporal on PostgreSQL, two workers, two gateways, the simulator.
// The database crashes amid payouts, later a worker and a gateway are gone for good, and every payout ends as it should.
func TestPayoutsOnPostgreSQL(t *testing.T) {
	requirePostgres(t)
	s := newStack(t)
	r := &run{stack: s, callers: &callers{stack: s, seed: *seed}, damage: &damage{counts: map[string]int{}}}
	require.NoError(t, s.pike.setModes(t.Context(), pikeModes()))
	patience, cancel := context.WithTimeout(t.Context(), productionPatience)
	defer cancel()

	began := time.Now()
	produced := r.produce(patience, t)
	r.settle(patience, t, time.Now())

	log, err := os.ReadFile(s.file("postgres.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), "automatic recovery in progress", "the database was not hit hard enough")
	listed := s.listed(t)
	t.Log("\n" + figures(began, produced, listed))
	r.judge(t)
	requireEnds(t, produced, listed)
}

func requirePostgres(t *testing.T) {
	t.Helper()
	if !*onPostgres {
		t.Skip("only with Temporal on PostgreSQL: make e2e-postgres")
	}
}

// produce starts the payouts amid the damage, and returns what kind each of them is.
func (r *run) produce(patience context.Context, t *testing.T) map[string]kind {
	produced := map[string]kind{}
	damages := map[int]fault{
		productionPayouts / 2:     r.stack.crashDatabase(),
		productionPayouts * 3 / 4: losing("lose worker", r.stack.workers),
		productionPayouts * 4 / 5: losing("lose gateway", r.stack.gateways),
	}
	for n := range productionPayouts {
		k := kinds()[n%len(kinds())]
		o := k.order(n + 1)
		produced[o.request.PayoutID] = k
		r.callers.busy.Go(func() { r.callers.carryOut(patience, o) })
		if f, due := damages[n]; due {
			r.strike(patience, t, f)
		}
		require.True(t, pause(patience, time.Second/productionRate))
	}
	return produced
}

// losing is kill -9, and nobody starts it again.
func losing(name string, victims []*process) fault {
	return fault{name, 0, len(victims), func(context.Context, int, time.Duration) error { return victims[0].end(os.Kill) }}
}

// strike hits open payouts, or it would prove nothing.
func (r *run) strike(ctx context.Context, t *testing.T, f fault) {
	t.Helper()
	var open int64
	require.NoError(t, eventually(ctx, readyWithin, func(ctx context.Context) (err error) { // the database may still be recovering
		open, err = r.stack.count(ctx, payout.WorkflowType, isOpen)
		return err
	}))
	require.Positive(t, open)
	t.Logf("%s while %d payouts are open", f.name, open)
	r.damage.note(f, happening{})
	require.NoError(t, f.strike(ctx, 0, 0))
}

// listed is what `payouts list` shows.
func (s *stack) listed(t *testing.T) []starter.Summary {
	t.Helper()
	list := exec.CommandContext(t.Context(), s.binary, "list", "--limit", "0", "-o", "json")
	list.Env = append(os.Environ(), "TEMPORAL_ADDRESS="+s.temporalAddress)
	output, err := list.Output()
	require.NoError(t, err)
	var found []starter.Summary
	require.NoError(t, json.Unmarshal(output, &found))
	return found
}

// requireEnds: all payouts are listed, and ended as their kinds do.
func requireEnds(t *testing.T, produced map[string]kind, listed []starter.Summary) {
	t.Helper()
	want, got := map[string]payout.State{}, map[string]payout.State{}
	for id, k := range produced {
		want[id] = k.ends
	}
	for _, summary := range listed {
		got[summary.PayoutID] = summary.State
	}
	require.Equal(t, want, got)
}

// figures tell by kind how long payouts took, and how many ended per second.
func figures(began time.Time, produced map[string]kind, listed []starter.Summary) string {
	took, ended := map[string][]time.Duration{}, []time.Duration{}
	for _, summary := range listed {
		if summary.ClosedAt != nil {
			name := produced[summary.PayoutID].name
			took[name] = append(took[name], summary.ClosedAt.Sub(summary.StartedAt))
			ended = append(ended, summary.ClosedAt.Sub(began))
		}
	}
	rows := [][]string{{"kind", "payouts", "median", "slowest"}}
	for _, k := range kinds() {
		rows = append(rows, append([]string{k.name, fmt.Sprint(len(took[k.name]))}, middleAndLast(took[k.name])...))
	}
	text := aligned(rows)
	slices.Sort(ended)
	for _, percent := range []int{95, 100} {
		if n := len(ended) * percent / 100; n > 0 {
			text += fmt.Sprintf("%d payouts ended within %s: %.1f per second\n", n, ended[n-1].Round(time.Second), float64(n)/ended[n-1].Seconds())
		}
	}
	return text
}

func middleAndLast(durations []time.Duration) []string {
	if len(durations) == 0 {
		return []string{"-", "-"}
	}
	slices.Sort(durations)
	return []string{
		durations[len(durations)/2].Round(time.Millisecond).String(), durations[len(durations)-1].Round(time.Millisecond).String(),
	}
}

// TestFactsHoldOnPostgreSQL runs the tests of e2e that state facts about Temporal on this server, which is newer than the dev server.
func TestFactsHoldOnPostgreSQL(t *testing.T) {
	requirePostgres(t)
	s := newTemporal(t)
	binary := s.file("e2e.test")
	require.NoError(t, complete(exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, "pikepayouts/e2e")))
	facts := exec.CommandContext(t.Context(), binary, "-test.v", "-test.parallel", "24", "-test.timeout", "20m", "-test.run", factTests,
		"-temporal", s.temporalAddress)
	facts.Dir, facts.SysProcAttr = "..", childAttributes()
	output, err := facts.CombinedOutput()
	require.NoError(t, err, "%s", output)
	passed := strings.Count(string(output), "\n--- PASS: ")
	require.Greater(t, passed, 25, "%s", output)
	t.Logf("%d tests of e2e pass here too", passed)
}
