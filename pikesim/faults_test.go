package pikesim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/pikesim"
)

const trap = "http://127.0.0.1:1/trap"

func TestFaultsOfAnswers(t *testing.T) {
	const page = "text/html; charset=utf-8"
	tests := []struct {
		fault  pikesim.Fault
		worked bool
		want   pikesim.Answer // without a body
		body   string         // a part of it
	}{
		{fault: pikesim.Fault{Kind: "never_arrives"}, want: pikesim.Answer{Lost: true}},
		{fault: pikesim.Fault{Kind: "works_later"}, want: pikesim.Answer{Lost: true}},
		{fault: pikesim.Fault{Kind: "http_429"}, want: pikesim.Answer{HTTPStatus: 429, ContentType: page}, body: "<h1>"},
		{fault: pikesim.Fault{Kind: "http_429_retry_after"}, body: "<h1>",
			want: pikesim.Answer{HTTPStatus: 429, ContentType: page, RetryAfter: time.Second}},
		{fault: pikesim.Fault{Kind: "http_429_retry_after", Delay: pikesim.Duration(time.Minute)},
			want: pikesim.Answer{HTTPStatus: 429, ContentType: page, RetryAfter: time.Minute}},
		{fault: pikesim.Fault{Kind: "unknown_code"}, want: pikesim.Answer{HTTPStatus: 400}, body: `"error":{"code":"code_nobody_knows",`},
		{fault: pikesim.Fault{Kind: "unknown_code", Code: "internal_error"}, want: pikesim.Answer{HTTPStatus: 400}, body: `{"code":"internal_error"`},
		{fault: pikesim.Fault{Kind: "redirect", Target: trap}, want: pikesim.Answer{HTTPStatus: 307, ContentType: page, Location: trap}},
		{fault: pikesim.Fault{Kind: "lost"}, worked: true, want: pikesim.Answer{HTTPStatus: 200, Lost: true}},
		{fault: pikesim.Fault{Kind: "late"}, worked: true, want: pikesim.Answer{HTTPStatus: 200, Delay: time.Minute}, body: `"status":"ok"`},
		{fault: pikesim.Fault{Kind: "late", Delay: pikesim.Duration(35 * time.Second)}, worked: true,
			want: pikesim.Answer{HTTPStatus: 200, Delay: 35 * time.Second}, body: `"status":"ok"`},
		{fault: pikesim.Fault{Kind: "cut"}, worked: true, want: pikesim.Answer{HTTPStatus: 200, Cut: true}, body: `{"status":"ok"`},
		{fault: pikesim.Fault{Kind: "html"}, worked: true, want: pikesim.Answer{HTTPStatus: 200, ContentType: page}, body: "<!DOCTYPE html>"},
		{fault: pikesim.Fault{Kind: "empty"}, worked: true, want: pikesim.Answer{HTTPStatus: 200}},
		{fault: pikesim.Fault{Kind: "no_status"}, worked: true, want: pikesim.Answer{HTTPStatus: 200}, body: `{"session":{`},
		{fault: pikesim.Fault{Kind: "http_500"}, worked: true, want: pikesim.Answer{HTTPStatus: 500}, body: "internal_error"},
		{fault: pikesim.Fault{Kind: "http_502"}, worked: true, want: pikesim.Answer{HTTPStatus: 502, ContentType: page}, body: "Bad Gateway"},
		{fault: pikesim.Fault{Kind: "http_503"}, worked: true, want: pikesim.Answer{HTTPStatus: 503, ContentType: page}},
		{fault: pikesim.Fault{Kind: "http_504"}, worked: true, want: pikesim.Answer{HTTPStatus: 504, ContentType: page}},
		{fault: pikesim.Fault{Kind: "unknown_code_worked"}, worked: true, want: pikesim.Answer{HTTPStatus: 400}, body: "code_nobody_knows"},
		{fault: pikesim.Fault{Kind: "huge"}, worked: true, want: pikesim.Answer{HTTPStatus: 200}, body: `","status":"ok"`},
	}
	worked := map[pikesim.Step]string{"create": "created/", "start": "in_progress/in_progress",
		"confirm": "in_progress/pending", "cancel": "in_progress/pending", "status": "in_progress/pending confirm"}
	idle := map[pikesim.Step]string{"start": "created/", "confirm": "in_progress/pending confirm",
		"cancel": "in_progress/pending confirm", "status": "in_progress/pending confirm"}
	for _, tt := range tests {
		for step := range worked {
			t.Run(fmt.Sprintf("%s %s %s%s", step, tt.fault.Kind, tt.fault.Code, tt.fault.Delay), func(t *testing.T) {
				fault := tt.fault
				fault.Call = step
				p := faulty(t, faults(fault))
				id := ""
				switch step {
				case "create":
				case "start":
					id = p.create("x")
				default:
					id = p.begin("x")
				}
				method, body := "session/"+string(step), startBody("v1", id, card)
				if step == "create" {
					body = `{"metadata":"x"}`
				}
				before := len(p.core.Sessions(p.now))
				answer := p.try(method, body)
				text := string(answer.Body)
				answer.Body = nil
				require.Equal(t, tt.want, answer)
				if tt.want.Lost {
					require.Equal(t, tt.worked, text != "", "what Pike would have said")
				}
				require.Contains(t, text, tt.body)
				require.Equal(t, tt.worked && !isOne(tt.fault.Kind, "cut", "html", "empty", "http_502", "http_503", "http_504"),
					json.Valid([]byte(text)) && !isOne(tt.fault.Kind, "unknown_code"))

				if step == "create" {
					require.Equal(t, tt.worked, len(p.core.Sessions(p.now)) > before)
				} else {
					want := idle[step]
					if tt.worked {
						want = worked[step]
					}
					require.Equal(t, want, p.states(id))
				}
				checkFaultInLedger(t, p, fault, tt.worked)
				if step == "create" {
					require.Equal(t, "ok", p.call(method, body).Status, "only once")
				}
			})
		}
	}
}

func isOne(kind pikesim.FaultKind, kinds ...pikesim.FaultKind) bool {
	for _, one := range kinds {
		if kind == one {
			return true
		}
	}
	return false
}

// checkFaultInLedger: the ledger knows of the fault, under the payout's metadata, and whether the work was done.
func checkFaultInLedger(t *testing.T, p *partner, fault pikesim.Fault, worked bool) {
	t.Helper()
	ledger := p.core.Ledger().Of("x")
	entries := ledger.Refused
	if worked {
		entries = ledger.Accepted
	}
	var found []pikesim.CallEntry
	for _, entry := range entries {
		if entry.Fault != "" {
			found = append(found, entry)
		}
	}
	if fault.Kind == pikesim.FaultWorksLater {
		require.Empty(t, found, "not yet")
		return
	}
	require.Len(t, found, 1)
	require.Equal(t, fault.Kind, found[0].Fault)
	require.Equal(t, "session/"+string(fault.Call), found[0].Method)
}

func TestAHugeAnswerIsOneAnswer(t *testing.T) {
	p := faulty(t, faults(pikesim.Fault{Call: "confirm", Kind: "huge"}))
	answer := p.call("session/confirm", only(p.begin("x")))
	require.Greater(t, len(answer.raw.Body), 5<<20)
	require.Equal(t, "in_progress/pending", answer.Session.states())
}

func TestFaultsAreCounted(t *testing.T) {
	lost := func(p *partner, method, body string, calls int) (count int) {
		for range calls {
			if p.try(method, body).Lost {
				count++
			}
		}
		return count
	}
	for times, want := range map[int]int{0: 1, 1: 1, 3: 3, pikesim.Always: 10} {
		p := faulty(t, faults(pikesim.Fault{Call: "status", Kind: "lost", Times: times}))
		for _, metadata := range []string{"x", "y"} {
			id := p.create(metadata)
			require.Equal(t, want, lost(p, "session/status", only(id), 10), "%d per session", times)
		}
	}
	p := faulty(t, faults(pikesim.Fault{Call: "create", Kind: "lost", Times: 5}))
	require.Equal(t, 5, lost(p, "session/create", `{"metadata":"x"}`, 10))
	require.Equal(t, 5, lost(p, "session/create", `{"metadata":"y"}`, 10), "per metadata")

	p = faulty(t, faults(pikesim.Fault{Call: "confirm", Kind: "http_429", Times: 2}, pikesim.Fault{Call: "confirm", Kind: "lost"}))
	id := p.begin("x")
	require.Equal(t, 429, p.try("session/confirm", only(id)).HTTPStatus)
	require.Equal(t, 429, p.try("session/confirm", only(id)).HTTPStatus)
	require.True(t, p.try("session/confirm", only(id)).Lost, "one fault after the other")
}

func TestAFaultOfTheWorkWaitsForACallThatIsAccepted(t *testing.T) {
	p := faulty(t, faults(pikesim.Fault{Call: "confirm", Kind: "lost"}))
	id := p.create("x")
	p.must("session/start/payout", startBody("v1", id, card))
	require.Equal(t, "session_wrong_state", p.call("session/confirm", only(id)).code())
	p.pass(time.Second)
	require.True(t, p.try("session/confirm", only(id)).Lost)
}

func TestFaultsOfATokenHoldFromTheStartOn(t *testing.T) {
	p := newPartner(t, defaults())
	id := p.create("x")
	body := startBody("v1", id, pikesim.Token("start_http_500"))
	require.Equal(t, 500, p.try("session/start/payout", body).HTTPStatus)
	require.Equal(t, "in_progress/in_progress", p.states(id))
	require.Equal(t, "session_wrong_state", p.call("session/start/payout", body).code())
}

func TestAFaultMayBeginWithACallAndEnd(t *testing.T) {
	p := newPartner(t, defaults())
	id := p.ready("status_down")
	require.Equal(t, "in_progress/pending confirm", p.states(id))
	p.must("session/confirm", only(id))
	for range 3 {
		require.Equal(t, 503, p.try("session/status", only(id)).HTTPStatus)
		p.pass(2*time.Hour - time.Second)
	}
	require.Equal(t, 503, p.try("session/status", only(id)).HTTPStatus)
	p.pass(3 * time.Second)
	require.Equal(t, "accepted/succeeded", p.states(id))
}

func TestAZombieWorksWhenNobodyWaitsAnyMore(t *testing.T) {
	start := func(p *partner, id string) string { return startBody("v1", id, card) }
	for step, want := range map[string]string{"create": "created/", "start": "in_progress/pending confirm",
		"confirm": "accepted/succeeded", "cancel": "cancelled/failed session_cancelled_by_partner"} {
		t.Run(step, func(t *testing.T) {
			p := faulty(t, faults(pikesim.Fault{Call: pikesim.Step(step), Kind: "works_later", Delay: pikesim.Duration(time.Hour)}))
			id := ""
			switch step {
			case "create":
			case "start":
				id = p.create("x")
			default:
				id = p.begin("x")
			}
			body := start(p, id)
			if step == "create" {
				body = `{"metadata":"x"}`
			}
			at := p.now
			require.True(t, p.try("session/"+step, body).Lost)
			p.pass(time.Hour + time.Second)
			sessions := p.core.Sessions(p.now)
			require.Len(t, sessions, 1)
			require.Equal(t, want, p.states(sessions[0].ID))
			accepted := p.core.Ledger().Of("x").Accepted
			for _, call := range accepted {
				if call.Fault == "" {
					continue
				}
				require.Equal(t, "session/"+step, call.Method)
				require.True(t, call.AnswerLost)
				require.True(t, call.At.After(at) && !call.At.After(at.Add(time.Hour)))
				return
			}
			require.Fail(t, "the work was never done")
		})
	}
}

func TestAZombieConfirmAndARepeatPayOnceOnlyIfPikeRefusesTheSecond(t *testing.T) {
	for mode, want := range map[pikesim.SecondConfirm]int{"refuse": 1, "no_op": 1, "pay_again": 2} {
		p := faulty(t, pikesim.Behaviour{Modes: pikesim.Modes{SecondConfirm: mode},
			Faults: []pikesim.Fault{{Call: "confirm", Kind: "works_later", Delay: pikesim.Duration(time.Minute)}}})
		id := p.begin("x")
		require.True(t, p.try("session/confirm", only(id)).Lost)
		p.must("session/confirm", only(id))
		summary, known := p.core.Session(p.now, id)
		require.True(t, known)
		require.False(t, summary.Final)
		p.pass(time.Second)
		summary, _ = p.core.Session(p.now, id)
		require.Equal(t, "accepted", summary.Status)
		require.False(t, summary.Final, "the zombie may still pay")
		p.pass(2 * time.Minute)
		summary, _ = p.core.Session(p.now, id)
		require.True(t, summary.Final)
		require.Equal(t, want, p.paid(), mode)
	}
}

func TestAZombieDoesNotUseUpItsKeyBeforeItWorks(t *testing.T) {
	p := faulty(t, faults(pikesim.Fault{Call: "confirm", Kind: "works_later", Delay: pikesim.Duration(time.Minute)}))
	id := p.begin("x")
	confirm := pikesim.Call{Version: "v1", Method: "session/confirm", Body: []byte(only(id)), IdempotencyKey: "k"}
	require.True(t, p.core.Handle(p.now, confirm).Lost)
	require.Equal(t, 200, p.core.Handle(p.now, confirm).HTTPStatus)
	p.pass(2 * time.Minute)
	refused := p.core.Ledger().Refused
	require.Equal(t, "idempotency_key_already_exists", refused[len(refused)-1].Outcome)
	require.Equal(t, 1, p.paid())
}

func TestTheLimitOfCalls(t *testing.T) {
	options := defaults()
	options.CallsPerSecond = 3
	p := newPartner(t, options)
	codes := func(calls int) (codes []int) {
		for range calls {
			answer := p.try("session/create", `{"metadata":"x"}`)
			codes = append(codes, answer.HTTPStatus)
			if answer.HTTPStatus == http.StatusTooManyRequests {
				require.Equal(t, 600*time.Millisecond, answer.RetryAfter)
			}
		}
		return codes
	}
	require.Equal(t, []int{200}, codes(1))
	p.now = p.now.Add(400 * time.Millisecond)
	require.Equal(t, []int{200, 200, 429, 429}, codes(4))
	p.now = p.now.Add(600 * time.Millisecond)
	require.Equal(t, []int{200, 200, 200}, codes(3))
	require.Len(t, p.core.Ledger().Refused, 2)
	require.Equal(t, "too_many_requests", p.core.Ledger().Of("x").Refused[0].Outcome)
}

func TestNoFaultShowsASecret(t *testing.T) {
	p := newPartner(t, defaults())
	for _, preset := range pikesim.Presets() {
		id := p.create(string(preset.Name))
		p.try("session/start/payout", startBody("v1", id, pikesim.Token(preset.Name)))
		p.pass(time.Minute)
		p.try("session/confirm", only(id))
		p.pass(time.Minute)
	}
	shown := jsonOf(t, p.core.Ledger()) + jsonOf(t, p.core.Sessions(p.now)) + jsonOf(t, p.core.Ledger().Tallies()) +
		fmt.Sprintf("%+v", p.core.Sessions(p.now))
	for _, hidden := range []string{"Ivanov", "Somebody", strings.TrimRight(pikesim.Token("altered_recipient"), "0")} {
		require.NotContains(t, shown, hidden)
	}
}
