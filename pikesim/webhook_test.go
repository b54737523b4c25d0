package pikesim_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/pikesim"
)

func TestOnly200Acknowledges(t *testing.T) {
	for status, acked := range map[int]bool{200: true, 201: false, 202: false, 204: false, 301: false, 400: false, 401: false,
		500: false, 503: false, 0: false} {
		p := newPartner(t, defaults())
		p.ack = func(pikesim.Delivery) int { return status }
		p.started("confirmed")
		p.pass(10 * time.Second)
		attempts := 2
		if acked {
			attempts = 1
		}
		require.Len(t, p.received, attempts, "HTTP %d", status)
	}
}

func TestWebhookRetries(t *testing.T) {
	p := newPartner(t, defaults())
	p.ack = func(pikesim.Delivery) int { return http.StatusInternalServerError }
	p.started("confirmed")
	p.pass(3 * time.Hour)

	var gaps []time.Duration
	for i, r := range p.received {
		require.Equal(t, i+1, r.delivery.Attempt)
		require.Equal(t, p.received[0].delivery.Body, r.delivery.Body, "a repeat sends the same bytes")
		gaps = append(gaps, r.at.Sub(p.received[max(i-1, 0)].at))
	}
	want := []time.Duration{0, 5 * time.Second, 15 * time.Second, 45 * time.Second, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute}
	require.Equal(t, want, gaps, "the next gap would end after 30 minutes")
	webhooks := p.core.Ledger().Webhooks
	require.Len(t, webhooks, 7)
	for i, w := range webhooks {
		require.Equal(t, i == 6, w.GaveUp)
	}
}

func TestARepeatStopsAtTheFirst200(t *testing.T) {
	p := newPartner(t, defaults())
	p.ack = func(d pikesim.Delivery) int {
		if d.Attempt < 3 {
			return 0
		}
		return http.StatusOK
	}
	p.started("confirmed")
	p.pass(3 * time.Hour)
	require.Len(t, p.received, 3)
}

func TestTimesScale(t *testing.T) {
	options := defaults()
	options.Timing = pikesim.Timing{WebhookGaps: []time.Duration{time.Minute}, WebhookGiveUp: 150 * time.Second}.Scaled(0.5)
	p := newPartner(t, options)
	p.ack = func(pikesim.Delivery) int { return 0 }
	start := p.now
	p.started("confirmed")
	p.pass(time.Hour)
	var at []time.Duration
	for _, r := range p.received {
		at = append(at, r.at.Sub(start))
	}
	require.Equal(t, []time.Duration{100 * time.Millisecond, 30100 * time.Millisecond, 60100 * time.Millisecond}, at,
		"the last gap stays, and the end scales too")
	require.Equal(t, 10*time.Second, options.Timing.ReceiveTimeout, "receivers do not scale")
}

func TestDeliveredIgnoresWhatIsNotUnderWay(t *testing.T) {
	p := newPartner(t, defaults())
	p.started("confirmed")
	p.pass(time.Second)
	p.core.Delivered(p.now, p.received[0].delivery.ID, 500)
	p.core.Delivered(p.now, 999, 500)
	p.pass(time.Hour)
	require.Len(t, p.received, 1)
}

func TestWithoutWebhooksNothingIsSent(t *testing.T) {
	options := defaults()
	options.Webhooks = false
	p := newPartner(t, options)
	id := p.ready("confirmed")
	p.must("session/confirm", only(id))
	p.pass(time.Second)
	require.Equal(t, "accepted/succeeded", p.states(id))
	require.Empty(t, p.received)
	require.ErrorContains(t, p.core.SendWebhook(p.now, id, "payment_finished"), "webhooks are off")
}

func TestWaysOfWebhooks(t *testing.T) {
	paid := func(t *testing.T, preset pikesim.Preset) *partner {
		p := newPartner(t, defaults())
		id := p.ready(preset)
		p.must("session/confirm", only(id))
		p.pass(time.Second)
		require.Equal(t, "accepted/succeeded", p.states(id), "webhooks do not change what happens")
		return p
	}
	const ready, finished = "ready_to_confirm", "payment_finished"

	t.Run("lost", func(t *testing.T) {
		p := paid(t, "webhooks_lost")
		p.pass(time.Hour)
		require.Empty(t, p.received)
	})
	t.Run("duplicated", func(t *testing.T) {
		p := paid(t, "webhooks_duplicated")
		require.Equal(t, []string{ready, ready, ready, finished, finished, finished}, p.types())
		require.Equal(t, p.received[0].delivery.Body, p.received[2].delivery.Body)
		require.NotEqual(t, p.received[0].delivery.ID, p.received[2].delivery.ID)
	})
	t.Run("reordered", func(t *testing.T) {
		p := paid(t, "webhooks_reordered")
		require.Equal(t, []string{finished, ready}, p.types())
		require.Equal(t, "in_progress/pending confirm", p.received[1].session.states(), "as it was when it should have been sent")
	})
	t.Run("late", func(t *testing.T) {
		p := paid(t, "webhooks_late")
		require.Empty(t, p.received)
		p.pass(10 * time.Minute)
		require.Equal(t, []string{ready, finished}, p.types())
	})
}

func TestReorderedWaitsForTheAcknowledgement(t *testing.T) {
	p := newPartner(t, defaults())
	p.ack = func(d pikesim.Delivery) int {
		if d.Type == "payment_finished" && d.Attempt == 1 {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	}
	id := p.ready("webhooks_reordered")
	p.must("session/confirm", only(id))
	p.pass(time.Minute)
	require.Equal(t, []string{"payment_finished", "payment_finished", "ready_to_confirm"}, p.types())
}

func TestEarlyNamesTheDeliveryThatGoesFirst(t *testing.T) {
	p := newPartner(t, defaults())
	id := p.create("x")
	answer := p.call("session/start/payout", startBody("v1", id, pikesim.Token("webhooks_early")))
	require.Equal(t, "in_progress/in_progress", answer.Session.states(), "the answer is an ordinary one")
	due, ok := p.core.NextDue()
	require.True(t, ok)
	require.Equal(t, p.now, due)
	deliveries := p.core.Advance(p.now)
	require.Len(t, deliveries, 1)
	require.Equal(t, answer.raw.After, deliveries[0].ID)
	require.Equal(t, "ready_to_confirm", deliveries[0].Type)
	require.Equal(t, "in_progress/pending", p.must("session/confirm", only(id)).states(), "confirm may come at once")
}

func TestSendWebhook(t *testing.T) {
	p := newPartner(t, defaults())
	id := p.ready("webhooks_lost")
	require.NoError(t, p.core.SendWebhook(p.now, id, "ready_to_confirm"))
	require.NoError(t, p.core.SendWebhook(p.now, id, "something_new"))
	p.pass(0)
	require.Equal(t, []string{"ready_to_confirm", "something_new"}, p.types())
	require.Equal(t, "in_progress/pending confirm", p.received[0].session.states())

	require.ErrorContains(t, p.core.SendWebhook(p.now, "ps_1", "ready_to_confirm"), "no such session")
	require.ErrorContains(t, p.core.SendWebhook(p.now, id, "Ready!"), "payment_finished")
}
