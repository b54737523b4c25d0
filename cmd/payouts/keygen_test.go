package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
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

func TestKeysetIsMadeOnceAndRotated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "keyset.json")
	roles := func(command ...string) []string {
		got := runFake(t, nil, "", append([]string{"keygen", "--keyset", path, "-o", "json"}, command...)...)
		require.Equal(t, exitDone, got.code, got.stderr)
		var answer struct {
			File string `json:"keyset_file"`
			Keys []struct{ Role string }
		}
		require.NoError(t, json.Unmarshal([]byte(got.stdout), &answer))
		require.Equal(t, path, answer.File)
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		var roles []string
		for _, key := range answer.Keys {
			roles = append(roles, key.Role)
		}
		return roles
	}
	require.Equal(t, []string{"encrypts", "next"}, roles())
	made, err := config.ReadKeyset(path)
	require.NoError(t, err)
	refused := runFake(t, nil, "", "keygen", "--keyset", path)
	require.Equal(t, exitFailed, refused.code)
	require.Contains(t, refused.stderr, "nothing is overwritten")

	require.Equal(t, []string{"decrypts", "encrypts", "next"}, roles("--rotate"))
	rotated, err := config.ReadKeyset(path)
	require.NoError(t, err)
	for i, key := range made.Keys() {
		require.Equal(t, key.ID, rotated.Keys()[i].ID, "an old key is gone")
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// TestALinkedKeysetIsRotatedWhereItIs: a mounted secret is a link.
func TestALinkedKeysetIsRotatedWhereItIs(t *testing.T) {
	folder := t.TempDir()
	file, link := filepath.Join(folder, "real.json"), filepath.Join(folder, "keyset.json")
	require.Equal(t, exitDone, runFake(t, nil, "", "keygen", "--keyset", file).code)
	require.NoError(t, os.Symlink(file, link))
	require.Equal(t, exitDone, runFake(t, nil, "", "keygen", "--keyset", link, "--rotate").code)
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
	rotated, err := config.ReadKeyset(file)
	require.NoError(t, err)
	require.Len(t, rotated.Keys(), 3)
}

// TestRotationsAtOnce: whatever succeeds has added a key of its own.
func TestRotationsAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	require.Equal(t, exitDone, runFake(t, nil, "", "keygen", "--keyset", path).code)
	var done atomic.Int64
	var rotations sync.WaitGroup
	for range 20 {
		rotations.Go(func() {
			if _, err := rotateKeyset(path); err == nil {
				done.Add(1)
			}
		})
	}
	rotations.Wait()
	keyset, err := config.ReadKeyset(path)
	require.NoError(t, err)
	require.Positive(t, done.Load())
	require.Len(t, keyset.Keys(), 2+int(done.Load()))
}

func TestAKeysetThatCannotBeRotatedStaysAsItIs(t *testing.T) {
	for name, tt := range map[string]struct {
		content string
		mode    os.FileMode
		beside  string
		want    string
	}{
		"no keyset":                   {"precious", 0o600, "", "no Tink keyset"},
		"others can read it":          {"precious", 0o644, "", "chmod 600"},
		"a rotation that was cut off": {"", 0o600, "half", "another rotation is under way"},
		"a file that is not there":    {"-", 0, "", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keyset.json")
			if tt.content == "" {
				require.Equal(t, exitDone, runFake(t, nil, "", "keygen", "--keyset", path).code)
			} else if tt.mode != 0 {
				require.NoError(t, os.WriteFile(path, []byte(tt.content), tt.mode))
			}
			if tt.beside != "" {
				require.NoError(t, os.WriteFile(path+".new", []byte(tt.beside), 0o600))
			}
			before, _ := os.ReadFile(path)
			got := runFake(t, nil, "", "keygen", "--keyset", path, "--rotate")
			require.Equal(t, exitFailed, got.code)
			require.Contains(t, got.stderr, tt.want)
			require.NotContains(t, got.stderr, "precious")
			after, _ := os.ReadFile(path)
			require.Equal(t, before, after)
		})
	}
}
