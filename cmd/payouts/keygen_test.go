package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"pikepayouts/config"
)

func TestKeygen(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "keys")
	got := runFake(t, nil, "", "keygen", "--out", folder, "--name", "pike", "--bits", "2048", "-o", "json")
	require.Equal(t, exitDone, got.code, got.stderr)
	private, public := filepath.Join(folder, "pike-private.pem"), filepath.Join(folder, "pike-public.pem")
	require.JSONEq(t, `{"private_key_file":"`+private+`","public_key_file":"`+public+`"}`, got.stdout)

	for path, mode := range map[string]os.FileMode{private: 0o600, public: 0o644} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm())
	}
	key, err := config.ReadPrivateKey(private)
	require.NoError(t, err)
	keys, err := config.ReadPublicKeys(public)
	require.NoError(t, err)
	require.True(t, key.PublicKey.Equal(keys[0]))
}

func TestKeygenNeverOverwrites(t *testing.T) {
	for _, existing := range []string{"partner-private.pem", "partner-public.pem"} {
		folder := t.TempDir()
		path := filepath.Join(folder, existing)
		require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
		got := runFake(t, nil, "", "keygen", "--out", folder)
		require.Equal(t, exitFailed, got.code)
		require.Contains(t, got.stderr, existing)
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "precious", string(content))
		entries, err := os.ReadDir(folder)
		require.NoError(t, err)
		require.Len(t, entries, 1, "half a pair was written")
	}
}
