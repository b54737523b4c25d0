package pikesim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// maxConcurrentDeliveries bounds goroutines and connections when a receiver hangs.
const maxConcurrentDeliveries = 256

// maxIgnoredBytes is how much of a receiver's answer is read, so that its connection can be used again.
const maxIgnoredBytes = 64 << 10

func newWebhookClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{MaxIdleConnsPerHost: maxConcurrentDeliveries, IdleConnTimeout: time.Minute},
	}
}

// Run lets time pass: it carries out what is due and delivers webhooks, until
// ctx ends. It always returns nil, after the deliveries under way have ended.
func (s *Server) Run(ctx context.Context) error {
	var deliveries errgroup.Group
	deliveries.SetLimit(maxConcurrentDeliveries)
	defer s.client.CloseIdleConnections()
	for {
		due, wait := s.advance()
		for _, d := range due {
			deliveries.Go(func() error {
				s.deliver(ctx, d)
				return nil
			})
		}
		if !s.sleep(ctx, wait) {
			return deliveries.Wait()
		}
	}
}

// maxSleep is how long Run sleeps when nothing is due; a call wakes it before.
const maxSleep = time.Hour

func (s *Server) advance() ([]Delivery, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := s.core.Advance(time.Now())
	if next, ok := s.core.NextDue(); ok {
		return due, min(time.Until(next), maxSleep)
	}
	return due, maxSleep
}

// sleep returns false if ctx ended.
func (s *Server) sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-s.wake:
	case <-timer.C:
	}
	return ctx.Err() == nil
}

func (s *Server) deliver(ctx context.Context, d Delivery) {
	httpStatus, err := s.post(ctx, d.Body)
	s.log.Debug("webhook", "type", d.Type, "session", d.SessionID, "attempt", d.Attempt, "status", httpStatus, "error", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.core.Delivered(time.Now(), d.ID, httpStatus)
	if attempted, awaited := s.attempted[d.ID]; awaited {
		close(attempted)
		delete(s.attempted, d.ID)
	}
	s.wakeRun()
}

// post sends one signed webhook. The status is 0 if no answer came in time.
func (s *Server) post(ctx context.Context, body []byte) (int, error) {
	s.mu.Lock()
	key := s.signingKey
	s.mu.Unlock()
	signature, err := sign(key, body)
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.config.WebhookURL, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("building a webhook: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(headerSign, signature)
	response, err := s.client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("sending a webhook: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxIgnoredBytes))
	return response.StatusCode, nil
}
