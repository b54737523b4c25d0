package e2e

import (
	"context"
	"net"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

// admission decides when a worker's call is sent on to Temporal. It may be sent again; the last answer counts.
type admission func(ctx context.Context, call string, request frame, send send) error

type send func(context.Context) (frame, error)

// newLine is a proxy between workers and Temporal, so that a test knows what a worker has
// reported, and holds what it must not report or take up yet. It returns its address.
func newLine(t *testing.T, admit admission, options ...grpc.ServerOption) string {
	t.Helper()
	upstream, err := grpc.NewClient(shared.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = upstream.Close() })
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(append(options, grpc.ForceServerCodec(frameCodec{}), grpc.UnknownServiceHandler(passOn(upstream, admit)),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))...) // the SDK pings often
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// passOn serves any unary call, and Temporal has no others.
func passOn(upstream *grpc.ClientConn, admit admission) grpc.StreamHandler {
	return func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		var request, answer frame
		if err := stream.RecvMsg(&request); err != nil {
			return err
		}
		headers, _ := metadata.FromIncomingContext(stream.Context())
		send := func(ctx context.Context) (frame, error) {
			err := upstream.Invoke(metadata.NewOutgoingContext(ctx, headers), method, &request, &answer, grpc.ForceCodec(frameCodec{}))
			return answer, err
		}
		if err := admit(stream.Context(), path.Base(method), request, send); err != nil {
			return err
		}
		return stream.SendMsg(&answer)
	}
}

// frame is a message as it travels.
type frame []byte

type frameCodec struct{}

func (frameCodec) Marshal(message any) ([]byte, error) { return *message.(*frame), nil }

func (frameCodec) Unmarshal(data []byte, message any) error {
	*message.(*frame) = slices.Clone(data)
	return nil
}

func (frameCodec) Name() string { return "proto" }
