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
	Behaviour
}

const behaviourFields = "metadata or default; preset, outcome, decline_with, cancel, webhooks, lost_answers"

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
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		return behaviourRequest{}, fmt.Errorf("reading the body: %w", err)
	}
	var request behaviourRequest
	if err := decodeControl(body, &request, behaviourFields); err != nil {
		return behaviourRequest{}, err
	}
	if (request.Metadata != "") == request.Default {
		return behaviourRequest{}, errors.New(`give either "metadata" (the payout id) or "default": true`)
	}
	if request.Preset == "" {
		return request, nil
	}
	preset, err := behaviourNamed(request.Preset)
	if err != nil {
		return behaviourRequest{}, err
	}
	// What the body says besides the preset changes it.
	request.Behaviour = preset
	err = decodeControl(body, &request, behaviourFields)
	return request, err
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
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		writeProblem(w, http.StatusBadRequest, fmt.Errorf("reading the body: %w", err))
		return
	}
	var request struct {
		SessionID string `json:"session_id"`
		Type      string `json:"type"`
	}
	if err := decodeControl(body, &request, "session_id, type"); err != nil {
		writeProblem(w, http.StatusBadRequest, err)
		return
	}
	s.mu.Lock()
	err = s.core.SendWebhook(time.Now(), request.SessionID, request.Type)
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
