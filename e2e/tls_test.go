package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"pikepayouts/payout"
	"pikepayouts/pikesim"
)

// authority issues certificates for one test.
type authority struct {
	t           *testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	folder      string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, folder: t.TempDir()}
	a.key, a.certificate = a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue writes NAME.pem and NAME.key.
func (a *authority) issue(name string, template *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if a.key != nil {
		parent, signer = a.certificate, a.key
	}
	encoded, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(a.t, err)
	certificate, err := x509.ParseCertificate(encoded)
	require.NoError(a.t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	a.write(name+".pem", "CERTIFICATE", encoded)
	a.write(name+".key", "PRIVATE KEY", keyDER)
	return key, certificate
}

func (a *authority) write(name, kind string, content []byte) {
	a.t.Helper()
	require.NoError(a.t, os.WriteFile(a.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600))
}

func (a *authority) file(name string) string { return filepath.Join(a.folder, name) }

// server is what a Temporal on this machine shows. With clients, it wants to see a certificate of theirs.
func (a *authority) server(clients tls.ClientAuthType) grpc.ServerOption {
	a.t.Helper()
	a.issue("server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	pair, err := tls.LoadX509KeyPair(a.file("server.pem"), a.file("server.key"))
	require.NoError(a.t, err)
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: clients, ClientCAs: pool, MinVersion: tls.VersionTLS12}))
}

func sendAll(ctx context.Context, _ string, _ frame, send send) error {
	_, err := send(ctx)
	return err
}

// apiKey is in no log of any process.
const apiKey = "api-key-canary-7f31c9"

// withAPIKey lets pass who brings the key, as Temporal Cloud does.
func withAPIKey(ctx context.Context, call string, request frame, send send) error {
	headers, _ := metadata.FromIncomingContext(ctx)
	if keys := headers.Get("authorization"); len(keys) != 1 || keys[0] != "Bearer "+apiKey {
		return status.Error(codes.Unauthenticated, "no key")
	}
	return sendAll(ctx, call, request, send)
}

// TestTemporalBehindTLS pays with real processes over the two ways into Temporal
// Cloud, which a cluster of one's own may have too (docs/setup.md).
func TestTemporalBehindTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	ca := "TEMPORAL_TLS_SERVER_CA_CERT_PATH=" + a.file("ca.pem")
	certificate := []string{"TEMPORAL_TLS_CLIENT_CERT_PATH=" + a.file("client.pem"), "TEMPORAL_TLS_CLIENT_KEY_PATH=" + a.file("client.key")}
	for name, way := range map[string]struct {
		address     string
		environment []string
	}{
		"mTLS":    {newLine(t, sendAll, a.server(tls.RequireAndVerifyClientCert)), append(certificate, ca)},
		"API key": {newLine(t, withAPIKey, a.server(tls.NoClientCert)), []string{"TEMPORAL_API_KEY=" + apiKey, ca}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			environment := append([]string{"TEMPORAL_ADDRESS=" + way.address, "TEMPORAL_NAMESPACE=default"}, way.environment...)
			s := newStack(t, stackOptions{noWorker: true})
			gateway := startGatewayProcess(t, append(environment, "PAYOUTS_TASK_QUEUE="+s.taskQueue)...)
			startWorkerProcess(t, append(workerEnvironment(t, s, s.simURL), environment...))
			r := order(t, pikesim.PresetConfirmed)
			s.startByCLI(r, environment)
			require.Equal(t, payout.StateSucceeded, s.wait(r).State)
			require.Equal(t, http.StatusOK, post(t, "http://"+gateway.host(), webhookOf("payment_finished", "ps_tls", r.PayoutID, "accepted", "succeeded"), shared.pikeKey))
			requireCannotStart(t, s, []string{"TEMPORAL_ADDRESS=" + way.address, ca}, "without a certificate or key")
			requireCannotStart(t, s, append(way.environment[:len(way.environment)-1:len(way.environment)-1], "TEMPORAL_ADDRESS="+way.address), "a server whose certificate is not known")
		})
	}
}

func requireCannotStart(t *testing.T, s *stack, environment []string, why string) {
	t.Helper()
	worker := startProcess(t, append(workerEnvironment(t, s, s.simURL), environment...), "worker")
	_ = worker.cmd.Wait()
	require.Equal(t, 1, worker.cmd.ProcessState.ExitCode(), why)
}
