package activities

import (
	"context"

	"pikepayouts/pike"
)

// observedPike lets observe make each call of pike.
type observedPike struct {
	pike    Pike
	observe func(ctx context.Context, c call) (pike.Session, error)
}

// call is one call to Pike.
type call struct {
	method    string // Pike's name of it
	sessionID string // "" before there is a session
	send      func(ctx context.Context) (pike.Session, error)
}

func (o observedPike) CreateSession(ctx context.Context, request pike.CreateSessionRequest, idempotencyKey string) (pike.Session, error) {
	return o.observe(ctx, call{methodCreate, "", func(ctx context.Context) (pike.Session, error) {
		return o.pike.CreateSession(ctx, request, idempotencyKey)
	}})
}

func (o observedPike) StartPayout(ctx context.Context, request pike.StartPayoutRequest, idempotencyKey string) (pike.Session, error) {
	return o.observe(ctx, call{methodStart, request.SessionID, func(ctx context.Context) (pike.Session, error) {
		return o.pike.StartPayout(ctx, request, idempotencyKey)
	}})
}

func (o observedPike) ConfirmSession(ctx context.Context, sessionID, idempotencyKey string) (pike.Session, error) {
	return o.observe(ctx, call{methodConfirm, sessionID, func(ctx context.Context) (pike.Session, error) {
		return o.pike.ConfirmSession(ctx, sessionID, idempotencyKey)
	}})
}

func (o observedPike) CancelSession(ctx context.Context, sessionID, idempotencyKey string) (pike.Session, error) {
	return o.observe(ctx, call{methodCancel, sessionID, func(ctx context.Context) (pike.Session, error) {
		return o.pike.CancelSession(ctx, sessionID, idempotencyKey)
	}})
}

func (o observedPike) SessionStatus(ctx context.Context, sessionID string) (pike.Session, error) {
	return o.observe(ctx, call{methodStatus, sessionID, func(ctx context.Context) (pike.Session, error) {
		return o.pike.SessionStatus(ctx, sessionID)
	}})
}
