package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"pikepayouts/pikesim"
)

// pike is the control endpoint of the simulator, which is never disturbed: it is the judge.
type pike struct {
	url    string
	client http.Client
}

func newPike(address string) *pike {
	return &pike{url: "http://" + address + "/_sim/", client: http.Client{Timeout: time.Minute}}
}

// disturb sets the faults by chance; a zero Chaos ends them.
func (p *pike) disturb(ctx context.Context, chaos pikesim.Chaos) error {
	return p.post(ctx, "chaos", chaos)
}

func (p *pike) setModes(ctx context.Context, modes pikesim.Modes) error {
	return p.post(ctx, "modes", modes)
}

// behave sets what happens to one payout to come.
func (p *pike) behave(ctx context.Context, payoutID string, behaviour pikesim.Behaviour) error {
	return p.post(ctx, "behaviour", struct {
		Metadata string `json:"metadata"`
		pikesim.Behaviour
	}{payoutID, behaviour})
}

func (p *pike) ledger(ctx context.Context) (pikesim.Ledger, error) {
	var ledger pikesim.Ledger
	err := p.get(ctx, "ledger", &ledger)
	return ledger, err
}

func (p *pike) ledgerOf(ctx context.Context, payoutID string) (pikesim.Ledger, error) {
	var ledger pikesim.Ledger
	err := p.get(ctx, "ledger?metadata="+url.QueryEscape(payoutID), &ledger)
	return ledger, err
}

// sessions are those of Pike by their ids.
func (p *pike) sessions(ctx context.Context) (map[string]pikesim.SessionSummary, error) {
	var answer struct {
		Sessions []pikesim.SessionSummary `json:"sessions"`
	}
	if err := p.get(ctx, "sessions", &answer); err != nil {
		return nil, err
	}
	sessions := map[string]pikesim.SessionSummary{}
	for _, session := range answer.Sessions {
		sessions[session.ID] = session
	}
	return sessions, nil
}

// settled says that no money will move in the session any more, whatever time passes.
func settled(session pikesim.SessionSummary) bool {
	b := session.Behaviour
	neverEnds := session.Status == "error" && b.DeclineWith == pikesim.DeclineError ||
		b.Outcome == pikesim.OutcomeNeverReady && b.Cancel == pikesim.CancelRefused
	return session.Final || session.Payouts == 0 || neverEnds
}

// metadataOf is the payout id that a session or an entry of the ledger belongs to.
func metadataOf(raw json.RawMessage) string {
	var id string
	_ = json.Unmarshal(raw, &id) // what is no text is no payout of ours
	return id
}

func (p *pike) post(ctx context.Context, what string, body any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("pikesim, %s: %w", what, err)
	}
	return p.do(ctx, http.MethodPost, what, encoded, nil)
}

func (p *pike) get(ctx context.Context, what string, answer any) error {
	return p.do(ctx, http.MethodGet, what, nil, answer)
}

func (p *pike) do(ctx context.Context, method, what string, body []byte, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, p.url+what, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("pikesim, %s: %w", what, err)
	}
	response, err := p.client.Do(request)
	if err != nil {
		return fmt.Errorf("pikesim, %s: %w", what, err)
	}
	defer func() { _ = response.Body.Close() }()
	received, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("HTTP %d: %s", response.StatusCode, received)
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(received, answer)
	}
	if err != nil {
		return fmt.Errorf("pikesim, %s: %w", what, err)
	}
	return nil
}
