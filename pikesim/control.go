package pikesim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"
)

// loopbackOnly serves a control request to this machine alone: it has no other protection.
func loopbackOnly(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !peer.Addr().Unmap().IsLoopback() {
			writeProblem(w, http.StatusForbidden, errors.New("the control endpoint answers this machine only"))
			return
		}
		next(w, r)
	}
}

// behaviourRequest is the body of POST /_sim/behaviour: which payouts, and a
// preset, single dimensions, or a preset with dimensions that change it.
type behaviourRequest struct {
	Metadata string `json:"metadata"`
	Default  bool   `json:"default"`
	Preset   Preset `json:"preset"`
	// LostAnswers is short for a fault of the kind lost for each of the calls.
	LostAnswers []Step `json:"lost_answers"`
	Behaviour
}

const behaviourFields = "metadata or default; preset, outcome, decline_with, resolves_after, cancel, balance, two_payouts, echo, " +
	"webhooks, webhook_copies, webhook_delay, lies, faults (" + faultFields + "), lost_answers, " + modeFields

func (s *Server) serveBehaviour(w http.ResponseWriter, r *http.Request) {
	request, err := readBehaviour(w, r)
	if err != nil {
		writeProblem(w, http.StatusBadRequest, err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if request.Default {
		err = s.core.SetDefault(request.Behaviour)
	} else {
		err = s.core.SetBehaviour(request.Metadata, request.Behaviour)
	}
	if err != nil {
		writeProblem(w, http.StatusBadRequest, err)
		return
	}
	writeValue(w, map[string]any{"status": "ok", "behaviour": request.Behaviour})
}

func readBehaviour(w http.ResponseWriter, r *http.Request) (behaviourRequest, error) {
	var request behaviourRequest
	body, err := readControl(w, r, &request, behaviourFields)
	if err != nil {
		return behaviourRequest{}, err
	}
	if (request.Metadata != "") == request.Default {
		return behaviourRequest{}, errors.New(`give either "metadata" (the payout id) or "default": true`)
	}
	if request.Preset != "" {
		// What the body says besides the preset changes it; it was found sound above.
		preset, err := behaviourNamed(request.Preset)
		if err != nil {
			return behaviourRequest{}, err
		}
		if request.Faults != nil || request.LostAnswers != nil {
			preset.Faults = nil
		}
		request = behaviourRequest{Behaviour: preset}
		if err := decodeControl(body, &request, behaviourFields); err != nil {
			return behaviourRequest{}, err
		}
	}
	for _, call := range request.LostAnswers {
		if call == "" || oneOf("", call, steps...) != nil {
			return behaviourRequest{}, fmt.Errorf("lost_answers must be of %s, not %q", list(steps), call)
		}
	}
	request.Faults = append(request.Faults, lostAnswers(request.LostAnswers)...)
	return request, nil
}

// serveModes sets the modes of the whole server.
func (s *Server) serveModes(w http.ResponseWriter, r *http.Request) {
	serveSetting(s, w, r, "modes", modeFields, s.core.SetModes)
}

// serveChaos sets the faults by chance, with the seed of the server if none is given.
func (s *Server) serveChaos(w http.ResponseWriter, r *http.Request) {
	serveSetting(s, w, r, "chaos", chaosFields, func(chaos Chaos) error { return s.core.SetChaos(s.config.seeded(chaos)) })
}

// serveSetting replaces a setting of the whole server by that in the body.
func serveSetting[T any](s *Server, w http.ResponseWriter, r *http.Request, name, fields string, set func(T) error) {
	var setting T
	_, err := readControl(w, r, &setting, fields)
	if err == nil {
		s.mu.Lock()
		err = set(setting)
		s.mu.Unlock()
	}
	if err != nil {
		writeProblem(w, http.StatusBadRequest, err)
		return
	}
	writeValue(w, map[string]any{"status": "ok", name: setting})
}

func readControl(w http.ResponseWriter, r *http.Request, target any, fields string) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	return body, decodeControl(body, target, fields)
}

func behaviourNamed(name Preset) (Behaviour, error) {
	var names []Preset
	for _, preset := range Presets() {
		if preset.Name == name {
			return preset.Behaviour, nil
		}
		names = append(names, preset.Name)
	}
	return Behaviour{}, fmt.Errorf("preset must be one of %s, not %q", list(names), name)
}

func (s *Server) serveWebhook(w http.ResponseWriter, r *http.Request) {
	var request struct {
		SessionID string `json:"session_id"`
		Type      string `json:"type"`
	}
	if _, err := readControl(w, r, &request, "session_id, type"); err != nil {
		writeProblem(w, http.StatusBadRequest, err)
		return
	}
	s.mu.Lock()
	err := s.core.SendWebhook(time.Now(), request.SessionID, request.Type)
	s.mu.Unlock()
	if err != nil {
		writeProblem(w, http.StatusBadRequest, err)
		return
	}
	s.wakeRun()
	writeValue(w, map[string]any{"status": "ok"})
}

func (s *Server) serveLedger(w http.ResponseWriter, r *http.Request) {
	ledger := s.Ledger()
	if r.URL.Query().Has("metadata") {
		ledger = ledger.Of(r.URL.Query().Get("metadata"))
	}
	writeValue(w, ledger)
}

func (s *Server) serveTallies(w http.ResponseWriter, _ *http.Request) {
	ledger := s.Ledger()
	writeValue(w, map[string]any{"tallies": ledger.Tallies(), "orphans": ledger.Orphans()})
}

func (s *Server) serveSessions(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	summaries := s.core.Sessions(time.Now())
	s.mu.Unlock()
	writeValue(w, map[string]any{"sessions": summaries})
}

// decodeControl refuses unknown fields and says which there are.
func decodeControl(body []byte, target any, fields string) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(target); err != nil {
		return fmt.Errorf("the body must be a JSON object with the fields %s: %w", fields, err)
	}
	if decoder.More() {
		return errors.New("data after the JSON object")
	}
	return nil
}

func writeProblem(w http.ResponseWriter, httpStatus int, problem error) {
	why := failure{"control_error", problem.Error()}
	writeJSON(w, httpStatus, objectOf(field{"status", quote("error")}, field{"error", why.json()}))
}

func writeValue(w http.ResponseWriter, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		writeProblem(w, http.StatusInternalServerError, fmt.Errorf("encoding the answer: %w", err))
		return
	}
	writeJSON(w, http.StatusOK, body)
}
