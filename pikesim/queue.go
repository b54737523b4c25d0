package pikesim

import (
	"container/heap"
	"time"
)

// event is something that will happen at a time.
type event struct {
	at       time.Time
	sequence uint64 // order of events at the same time
	index    int    // place in the heap, -1 once it left
	step     func(at time.Time)
}

// queue orders all that is to come. Events can be taken out again, so that a
// deadline which was met does not stay for hours.
type queue struct {
	events   eventHeap
	sequence uint64
}

func (q *queue) add(at time.Time, step func(at time.Time)) *event {
	q.sequence++
	e := &event{at: at, sequence: q.sequence, step: step}
	heap.Push(&q.events, e)
	return e
}

// cancel takes an event out; nil and events that have happened are ignored.
func (q *queue) cancel(e *event) {
	if e != nil && e.index >= 0 {
		heap.Remove(&q.events, e.index)
	}
}

func (q *queue) next() (time.Time, bool) {
	if len(q.events) == 0 {
		return time.Time{}, false
	}
	return q.events[0].at, true
}

func (q *queue) popUntil(now time.Time) (*event, bool) {
	if at, ok := q.next(); !ok || at.After(now) {
		return nil, false
	}
	return heap.Pop(&q.events).(*event), true
}

type eventHeap []*event

func (h eventHeap) Len() int { return len(h) }

func (h eventHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].sequence < h[j].sequence
	}
	return h[i].at.Before(h[j].at)
}

func (h eventHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *eventHeap) Push(x any) {
	e := x.(*event)
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *eventHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	e.index = -1
	return e
}
