package pike_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"log"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/pike"
)

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

func TestCheckBaseURL(t *testing.T) {
	for _, good := range []string{
		"https://proxy-demo.pikepayments.com", "https://proxy.pikepayments.com/", "https://pike.example:8443",
		"http://127.0.0.1:8080", "http://127.0.0.2", "http://localhost:8080", "http://[::1]:8080", "https://[2001:db8::1]",
	} {
		require.NoError(t, pike.CheckBaseURL(good), good)
	}
	for _, bad := range []string{
		"", "proxy.pikepayments.com", "//proxy.pikepayments.com", "https://", "https://:443", "https:proxy.pikepayments.com",
		"http://proxy.pikepayments.com", "http://192.168.0.1", "http://0.0.0.0:80", "http://localhost.example.com", "http://127.0.0.1.example.com",
		"ftp://127.0.0.1", "HTTPS//x", "https://user@pike.example", "https://user:word@pike.example", "https://pike.example/api", "https://pike.example//",
		"https://pike.example?x=1", "https://pike.example?", "https://pike.example#x", "https://pike.example#", "https://pike.example:port", "https://pi ke.example",
	} {
		require.Error(t, pike.CheckBaseURL(bad), bad)
	}
}

func TestBaseURLErrorHidesThePassword(t *testing.T) {
	require.NotContains(t, pike.CheckBaseURL("https://user:hunter2@pike.example").Error(), "hunter2")
}

func TestATrailingSlashChangesNothing(t *testing.T) {
	client, server := answering(t, 200, okSession, func(c *pike.Config) { c.BaseURL += "/" })
	require.NoError(t, start(t.Context(), client))
	require.Equal(t, "POST /api/v1/session/start/payout", server.seen()[0].path)
}

func TestNewClientNamesEveryProblem(t *testing.T) {
	_, err := pike.NewClient(pike.Config{BaseURL: "http://x", Version: "v3", Timeout: time.Minute})
	for _, want := range []string{"base URL must be https", `version must be v1 or v2, not "v3"`, "project is required", "at most 30s", "private key) is required"} {
		require.ErrorContains(t, err, want)
	}
	_, err = pike.NewClient(pike.Config{BaseURL: "https://x", Project: "p", Timeout: -1, Signer: partnerKey()})
	require.ErrorContains(t, err, "timeout must be positive")
}

func TestNewClientRefusesOtherSigners(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	_, err = pike.NewClient(pike.Config{BaseURL: "https://x", Project: "p", Signer: curve})
	require.ErrorContains(t, err, "must be an RSA key")
	_, err = pike.NewClient(pike.Config{BaseURL: "https://x", Project: "p", Signer: generateKey(1024)})
	require.ErrorContains(t, err, "1024 bits")
}
