// Package webui is a browser test of what operators do in the Temporal Web UI, on
// a running demo whose payloads are encrypted. A module of its own: nothing else
// of this repository should depend on a browser.
package webui

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var screenshots = flag.String("screenshots", filepath.Join("..", "..", "bin", "webui"), "folder for the screenshots")

// The payouts of the test, by what an operator meets.
const (
	awaiting    = "inv-1042" // a decision
	inError     = "inv-1043" // declined, with a session in error: not final at Pike
	selfPaid    = "inv-1044" // paid by Pike without our confirm, which has ended with attention
	mismatched  = "inv-1045" // another amount at Pike, cancelled with attention
	notReadyYet = "inv-1046"
	alsoAwaits  = "inv-1047"
)

// TestOperatorInTheWebUI is an operator's day: what needs me, what is it, do something about it.
func TestOperatorInTheWebUI(t *testing.T) {
	browser := chromium(t)
	d := startDemo(t)
	d.start(notReadyYet, "never_ready", "1250000", "auto")
	d.start(mismatched, "altered_amount", "7700", "auto")
	d.start(selfPaid, "auto_confirm", "9900", "auto")
	d.start(inError, "declined_with_error", "48000", "auto")
	d.start(alsoAwaits, "confirmed", "33000", "manual")
	d.start(awaiting, "confirmed", "12500", "manual")
	d.waitUntil(inError, func(s status) bool { return s.Attention != nil })
	for _, id := range []string{awaiting, alsoAwaits} {
		d.waitUntil(id, func(s status) bool { return s.State == "awaiting_decision" })
	}
	p := openBrowser(t, browser, strings.TrimSuffix(d.webUI, "/workflows"), *screenshots, slices.Collect(maps.Values(d.tokens)))

	t.Run("columns", func(t *testing.T) { showPayoutColumns(p.in(t)) })
	t.Run("lists", func(t *testing.T) { lists(p.in(t)) })
	t.Run("a payout", func(t *testing.T) { readPayout(p.in(t), d.in(t)) })
	t.Run("decide", func(t *testing.T) { decide(p.in(t), d.in(t)) })
	t.Run("resolve", func(t *testing.T) { resolve(p.in(t), d.in(t)) })
	t.Run("an update that is refused", func(t *testing.T) { beRefused(p.in(t), d.in(t)) })
	t.Run("an ended payout", func(t *testing.T) { readEndedPayout(p.in(t), d.in(t)) })
}

// showPayoutColumns makes the list show search attributes. The browser remembers it.
func showPayoutColumns(p *page) {
	p.opens(list(""), "payout/"+awaiting)
	p.click(`[data-testid="workflows-summary-table-configuration-button"]`, "")
	for _, column := range []string{"Run ID", "Type", "Start", "End"} {
		p.click(fmt.Sprintf(`[data-testid="orderable-list-item-%s-remove-button"]`, column), "")
	}
	for _, column := range []string{"PayoutState", "PayoutAttention", "PayoutAmount", "PayoutCurrency"} {
		p.click(fmt.Sprintf(`[data-testid="orderable-list-item-%s-add-button"]`, column), "")
	}
	p.click(`[data-testid="drawer-close-button"]`, "")
	p.click(`[aria-label="Collapse saved views"]`, "")
	p.opens(list(""), "PayoutAmount", "awaiting_decision", "unresolved_error", "1250000")
	p.shoot("list")
}

func list(query string) string { return "/workflows?query=" + url.QueryEscape(query) }

// lists: filtered by search attributes, which are in clear text.
func lists(p *page) {
	seen := p.opens(list(`PayoutAttention is not null`), "payout/"+inError, "payout/"+selfPaid, "payout/"+mismatched)
	for _, other := range []string{awaiting, alsoAwaits, notReadyYet, "demo-"} {
		assert.NotContains(p.t, seen, "payout/"+other)
	}
	p.shoot("attention")
	seen = p.opens(list(`PayoutState="awaiting_decision"`), "payout/"+awaiting, "payout/"+alsoAwaits)
	for _, other := range []string{inError, selfPaid, mismatched, notReadyYet, "demo-"} {
		assert.NotContains(p.t, seen, "payout/"+other)
	}
	p.click("a", "payout/"+awaiting) // the way an operator gets to it
	p.shows("payout/"+awaiting, "Event History")
}

// readPayout: input, history and details are decrypted, and the card is not shown.
func readPayout(p *page, d *demo) {
	p.opens(d.tab(awaiting, "history"), `"token": "[masked]"`, `"full_name": "Ivanov Ivan"`, "session/create", "session/start/payout: 125.00 EUR")
	require.Contains(p.t, rawHistory(p, awaiting), encryptedEncoding, "what is shown was not encrypted in the first place")
	p.click(`[data-testid="compact"]`, "")
	p.shows("CreateSession", "session/create", "Signal received")
	scrollTo(p, "Event History")
	p.shoot("history")

	p.click(`[data-testid="user-metadata-tab"]`, "")
	p.shows("125.00 EUR to tokenized_card")
	p.showsDetails("awaiting_decision", "125.00 EUR", "payouts confirm "+awaiting)
	p.shoot("details")

	p.click(`[data-testid="search-attributes-tab"]`, "")
	p.shows(`"PayoutState": "awaiting_decision"`, `"PayoutAmount": 12500`, `"PayoutCurrency": "eur"`, `"PikeSessionId": "ps_`)

	p.opens(d.tab(inError, "user-metadata"), "480.00 EUR to tokenized_card")
	p.showsDetails("awaiting_result", "480.00 EUR", "unresolved_error", "payouts resolve "+inError)
	p.shoot("details-attention")
	require.Zero(p.t, d.movements(inError))
}

// updateEvents is how the types of an update's events begin.
const updateEvents = "EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE"

// encryptedEncoding is binary/encrypted as it stands in Temporal's JSON.
const encryptedEncoding = "YmluYXJ5L2VuY3J5cHRlZA=="

// rawHistory is what the Web UI itself gets to read.
func rawHistory(p *page, id string) string {
	p.t.Helper()
	address := strings.Replace(p.root, "/namespaces/", "/api/v1/namespaces/", 1) + "/workflows/" + url.PathEscape("payout/"+id) + "/history"
	response, err := http.Get(address)
	require.NoError(p.t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(p.t, err)
	require.Equal(p.t, http.StatusOK, response.StatusCode, string(body))
	return string(body)
}

// decide: an update has to say which payout it is for, or the codec server does not
// encrypt it. The Web UI does not show why; the description of the update does.
func decide(p *page, d *demo) {
	p.opens(d.tab(awaiting, "history"), `"payout_id": "`+awaiting+`"`)
	fillInUpdate(p, "decide", `{"decision": "confirm", "by": "ann", "reason": "looks right"}`)
	submitUpdate(p)
	p.shows("Data encoding failed")
	p.shoot("not-encrypted")
	require.Equal(p.t, "awaiting_decision", d.status(awaiting).State)
	require.Nil(p.t, d.status(awaiting).Decision)
	require.NotContains(p.t, rawHistory(p, awaiting), updateEvents)

	p.opens(d.tab(awaiting, "history"), `"payout_id": "`+awaiting+`"`)
	fillInUpdate(p, "decide", fmt.Sprintf(`{"decision": "confirm", "by": "ann", "reason": "looks right", "workflow_id": "payout/%s"}`, awaiting))
	p.shoot("update")
	submitUpdate(p)
	updateIsDone(p)
	d.waitUntil(awaiting, func(s status) bool { return s.State == "succeeded" })
	require.Equal(p.t, "ann", d.status(awaiting).Decision.By)
	require.Equal(p.t, 1, d.movements(awaiting))
	require.Equal(p.t, "awaiting_decision", d.status(alsoAwaits).State)
}

const (
	dialog      = `#update-confirmation-modal[open]`
	updateInput = dialog + ` [contenteditable]`
)

func fillInUpdate(p *page, name, input string) {
	p.t.Helper()
	p.click("button", "More Actions")
	p.click(`[data-testid="update-button"]`, "Send an Update")
	p.click(dialog+` [data-testid="update-select-button"]`, "")
	p.shows(`"workflow_id": "payout/`) // the description says what to enter
	p.click(dialog+` [role="option"]`, name)
	p.enter(updateInput, input)
}

func submitUpdate(p *page) {
	p.t.Helper()
	p.click(dialog+` [data-testid="confirm-modal-button"]`, "Submit")
}

// updateIsDone waits until the Web UI has closed the dialog, which it does once the update has its answer.
func updateIsDone(p *page) {
	p.t.Helper()
	closed := func() bool {
		closed, err := evaluate[bool](p, "document.querySelector("+quoted(dialog)+") === null")
		return err == nil && closed
	}
	p.wait(closed, func() string { return "the end of the dialog:\n" + p.text() })
}

// resolve: Pike is asked once more, which changes nothing here, and the answer is in the history.
func resolve(p *page, d *demo) {
	p.opens(d.tab(inError, "history"), `"payout_id": "`+inError+`"`)
	fillInUpdate(p, "resolve", `{"action": "recheck", "by": "ann"}`)
	submitUpdate(p)
	p.shows("Data encoding failed")
	require.NotContains(p.t, rawHistory(p, inError), updateEvents)
	p.enter(updateInput, fmt.Sprintf(`{"action": "recheck", "by": "ann", "workflow_id": "payout/%s"}`, inError))
	submitUpdate(p)
	updateIsDone(p)
	require.Contains(p.t, rawHistory(p, inError), updateEvents)
	p.opens(d.tab(inError, "history"), "Workflow Update", "resolve", "Outcome Success")
	require.Equal(p.t, "unresolved_error", d.status(inError).Attention.Reason)
}

// beRefused: a payout that needs no attention takes no resolve. The Web UI does not
// decrypt the reason; the command line says it.
func beRefused(p *page, d *demo) {
	p.opens(d.tab(alsoAwaits, "history"), `"payout_id": "`+alsoAwaits+`"`)
	fillInUpdate(p, "resolve", fmt.Sprintf(`{"action": "recheck", "by": "ann", "workflow_id": "payout/%s"}`, alsoAwaits))
	submitUpdate(p)
	p.wait(func() bool { return strings.Contains(p.text(), "Encoded failure") }, p.text)
	p.shoot("refused")
	require.NotContains(p.t, rawHistory(p, alsoAwaits), updateEvents)
	require.Equal(p.t, "awaiting_decision", d.status(alsoAwaits).State)
}

// readEndedPayout: what a payout was stays readable once it has ended.
func readEndedPayout(p *page, d *demo) {
	p.opens(d.tab(awaiting, "history"), `"state": "succeeded"`, `"by": "ann"`, `"token": "[masked]"`)
	p.shoot("ended")
	p.click(`[data-testid="user-metadata-tab"]`, "")
	p.shows("125.00 EUR to tokenized_card")
	p.showsDetails("succeeded", "125.00 EUR")
	p.opens(d.tab(mismatched, "user-metadata"), "77.00 EUR to tokenized_card")
	p.showsDetails("cancelled", "77.00 EUR", "mismatch")
}

func scrollTo(p *page, heading string) {
	p.t.Helper()
	_, err := evaluate[bool](p, fmt.Sprintf(`(() => {
		[...document.querySelectorAll("h2")].find(e => e.innerText.startsWith(%s)).scrollIntoView()
		return true
	})()`, quoted(heading)))
	require.NoError(p.t, err)
}
