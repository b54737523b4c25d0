package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"pikepayouts/payout"
)

// TestFlagsAndFileTakeTheSameRequests: what the flags make of a request is what --file makes of its JSON, and what the workflow takes.
func TestFlagsAndFileTakeTheSameRequests(t *testing.T) {
	accepted := 0
	rapid.Check(t, func(rt *rapid.T) {
		var byFlags, byFile fakePayouts
		got := runFake(t, &byFlags, "", append([]string{"start"}, oddFlags().Draw(rt, "flags")...)...)
		require.NotContains(rt, got.stderr, testToken)
		require.NotContains(rt, got.stderr, "Ivanov")
		if got.code != exitDone {
			require.Equal(rt, exitUsage, got.code, got.stderr)
			return
		}
		accepted++
		encoded, err := json.Marshal(byFlags.request)
		require.NoError(rt, err)
		got = runFake(t, &byFile, string(encoded), "start", "--file", "-")
		require.Equal(rt, exitDone, got.code, got.stderr)
		require.Equal(rt, byFlags.request, byFile.request)
		require.Equal(rt, byFlags.request.Fingerprint(), byFile.request.Fingerprint())
		require.NoError(rt, byFile.request.Validate())
	})
	require.Positive(t, accepted)
}

// oddFlags are flags of a good request, of which up to two are odd.
func oddFlags() *rapid.Generator[[]string] {
	odd := map[string][]string{
		"--id": {"", "a/b", strings.Repeat("x", 65), "-", "ſ"}, "--amount": {"0", "-1", "1e4", "0x10", "1_000", "9223372036854775807", "9223372036854775808"},
		"--currency": {"", "EUR", "xyz", "ſek", "eur "}, "--token": {"", testToken[1:], testToken + " ", strings.ToUpper(testToken), "@/dev/null"},
		"--full-name": {"", " ", "Ivanov\xff", "Ivanov\u2028", "Ivanov\n<b>", "\x00"}, "--decision": {"", payout.DecisionAuto, "Manual"},
		"--ready-timeout": {"0", "1ns", "-1s", "720h", "721h", "1h1h"}, "--poll-interval": {"0", "1s", "999ms", "1h0m1s"}, "--approvals": {"-1", "0", "1", "10", "11"},
	}
	good := []string{"--id", "inv-1", "--amount", "10000", "--currency", "eur", "--token", testToken, "--full-name", "Ivanov Ivan",
		"--decision", payout.DecisionManual, "--ready-timeout", "1h30m", "--poll-interval", "30s", "--approvals", "2"}
	return rapid.Custom(func(t *rapid.T) []string {
		flags := append([]string(nil), good...)
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			at := 2 * rapid.IntRange(0, len(flags)/2-1).Draw(t, "at")
			flags[at+1] = rapid.SampledFrom(odd[flags[at]]).Draw(t, "value")
		}
		return flags
	})
}
