package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// fault is a way in which things go wrong around Pike: that goes wrong by itself.
type fault struct {
	name string
	// longest is how long its effect may last.
	longest time.Duration
	// victims is how many there are to choose from.
	victims int
	// strike does it and undoes it, after length or when ctx ends.
	strike func(ctx context.Context, victim int, length time.Duration) error
}

// catalogue lists every fault.
func (s *stack) catalogue() []fault {
	kills := []fault{
		killing("kill temporal", []*process{s.temporal}, 10*time.Second),
		killing("kill worker", s.workers, 5*time.Second),
		killing("kill gateway", s.gateways, 5*time.Second),
	}
	faults := append(slices.Repeat(kills, 3), // as often as any link is disturbed
		rolling("restart worker", s.workers),
		rolling("restart gateway", s.gateways),
		freezing("freeze worker", s.workers),
	)
	if s.database != nil {
		faults = append(faults, s.crashDatabase())
	}
	for _, network := range []struct {
		name  string
		links []*link
	}{
		{"worker-pike", s.workersToPike}, {"worker-temporal", s.workersToTemporal},
		{"gateway-temporal", s.gatewaysToTemporal}, {"pike-gateway", s.pikeToGateways},
	} {
		faults = append(faults, cutting(network.name, network.links))
		for _, c := range []condition{refusing, blackHole, slow} {
			faults = append(faults, disturbing(network.name, network.links, c))
		}
	}
	return faults
}

// killing is kill -9, and a start after some time.
func killing(name string, victims []*process, longest time.Duration) fault {
	return fault{name, longest, len(victims), func(ctx context.Context, victim int, length time.Duration) error {
		return victims[victim].restart(ctx, os.Kill, length)
	}}
}

// crashDatabase is `pg_ctl restart -m immediate`: PostgreSQL ends as it stands and recovers from its log when it starts again.
func (s *stack) crashDatabase() fault {
	return fault{"crash database", 10 * time.Second, 1, func(ctx context.Context, _ int, length time.Duration) error {
		return s.database.restart(ctx, syscall.SIGQUIT, length)
	}}
}

// rolling is SIGTERM and a start at once, as a deployment does.
func rolling(name string, victims []*process) fault {
	return fault{name, time.Second, len(victims), func(ctx context.Context, victim int, _ time.Duration) error {
		return victims[victim].restart(ctx, syscall.SIGTERM, 0)
	}}
}

// freezing makes zombies: longer frozen than an activity may last, they go on with what others have taken over (hazard F06).
func freezing(name string, victims []*process) fault {
	return fault{name, maxFreeze - time.Second, len(victims), func(ctx context.Context, victim int, length time.Duration) error {
		return victims[victim].freeze(ctx, length)
	}}
}

// cutting resets all connections of a link, again and again.
func cutting(name string, links []*link) fault {
	return fault{"cut " + name, 5 * time.Second, victimsAmong(links), func(ctx context.Context, victim int, length time.Duration) error {
		for end := time.Now().Add(length); time.Now().Before(end) && ctx.Err() == nil; pause(ctx, 500*time.Millisecond) {
			for _, l := range chosen(links, victim) {
				l.cut()
			}
		}
		return nil
	}}
}

// disturbing puts links into another condition for a while.
func disturbing(name string, links []*link, c condition) fault {
	return fault{string(c) + " " + name, 9 * time.Second, victimsAmong(links), func(ctx context.Context, victim int, length time.Duration) error {
		delay := time.Duration(0)
		if c == slow {
			delay = length / 10
		}
		var problems []error
		for _, l := range chosen(links, victim) {
			problems = append(problems, l.become(ctx, c, delay))
		}
		pause(ctx, length)
		for _, l := range chosen(links, victim) {
			problems = append(problems, l.become(context.WithoutCancel(ctx), healthy, 0))
		}
		return errors.Join(problems...)
	}}
}

// victimsAmong counts the links, and all of them at once.
func victimsAmong(links []*link) int { return len(links) + 1 }

func chosen(links []*link, victim int) []*link {
	if victim == len(links) {
		return links
	}
	return links[victim : victim+1]
}

// damage counts the faults that struck.
type damage struct {
	mu     sync.Mutex
	counts map[string]int
	last   string
}

func (d *damage) note(f fault, h happening) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[f.name]++
	d.last = fmt.Sprintf("%s (%d) for %s", f.name, h.victim, h.length.Round(time.Second))
}

func (d *damage) summary() (total int, last string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.counts {
		total += n
	}
	return total, d.last
}

func (d *damage) rows() [][]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(d.counts)) {
		rows = append(rows, []string{name, fmt.Sprint(d.counts[name])})
	}
	return rows
}

// wreak lets one fault after another strike until ctx ends.
func (s *stack) wreak(ctx context.Context, seed uint64, d *damage) error {
	catalogue := s.catalogue()
	for h := range schedule(seed, catalogue) {
		if !pause(ctx, h.gap) {
			return nil
		}
		f := catalogue[h.fault]
		d.note(f, h)
		if err := f.strike(ctx, h.victim, h.length); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}
