package webui

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// chromium is the browser of CHROMIUM, else one on PATH. Without one there is nothing to
// test, which WEBUI_REQUIRED=1 makes an error.
func chromium(t *testing.T) string {
	t.Helper()
	names := []string{"chromium", "chromium-browser", "google-chrome"}
	if named := os.Getenv("CHROMIUM"); named != "" {
		names = []string{named}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing := fmt.Sprintf("no browser: none of %s is here; install chromium or set CHROMIUM", strings.Join(names, ", "))
	require.NotEqual(t, "1", os.Getenv("WEBUI_REQUIRED"), missing)
	t.Skip(missing)
	return ""
}

// page is a tab of a headless browser with the Web UI in it.
type page struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // chromedp's context is the tab
	// root is the address of the Web UI's namespace.
	root string
	// screenshots is the folder for them.
	screenshots string
	// secrets must never be on the page.
	secrets []string
}

func openBrowser(t *testing.T, path, root, screenshots string, secrets []string) *page {
	t.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()))
	if os.Geteuid() == 0 { // Chromium has no sandbox for root
		options = append(options, chromedp.NoSandbox)
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	tab, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(closeTab)
	require.NoError(t, chromedp.Do(tab, chromedp.EmulateViewport(1400, 900)))
	require.NoError(t, os.MkdirAll(screenshots, 0o755))
	return &page{t: t, ctx: tab, root: root, screenshots: screenshots, secrets: secrets}
}

// in is the same page for a subtest.
func (p *page) in(t *testing.T) *page {
	copied := *p
	copied.t = t
	t.Cleanup(func() {
		if t.Failed() {
			copied.capture("failure")
		}
	})
	return &copied
}

func (p *page) open(path string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	require.NoError(p.t, chromedp.Do(ctx, chromedp.Navigate(p.root+path)), path)
}

// text is what a person can read: the page, and the frames in it that show Markdown.
func (p *page) text() string {
	text, err := evaluate[string](p, `[document, ...[...document.querySelectorAll("iframe")].map(frame => frame.contentDocument)]
		.map(shown => shown?.body?.innerText ?? "").join("\n")`)
	if err != nil { // between two pages
		return ""
	}
	return text
}

// shows waits until all texts are on the page and nothing is there that is still encrypted. A card token must not be there at all.
func (p *page) shows(texts ...string) string {
	p.t.Helper()
	return p.showsAfter(func() {}, texts...)
}

// opens is for what Temporal shows with a delay: it opens the page again and again until all texts are there.
func (p *page) opens(path string, texts ...string) string {
	p.t.Helper()
	p.open(path)
	begin := time.Now()
	return p.showsAfter(func() {
		if time.Since(begin) > pageLoad {
			p.open(path)
			begin = time.Now()
		}
	}, texts...)
}

func (p *page) showsAfter(again func(), texts ...string) string {
	p.t.Helper()
	var seen string
	p.wait(func() bool {
		again()
		seen = p.text()
		return len(missing(seen, texts)) == 0 && len(undecrypted(seen)) == 0
	}, func() string {
		return fmt.Sprintf("%q; not decrypted: %q; on the page:\n%s", missing(seen, texts), undecrypted(seen), seen)
	})
	p.mustShowNoCard()
	return seen
}

func missing(seen string, texts []string) []string {
	return slices.DeleteFunc(slices.Clone(texts), func(text string) bool { return strings.Contains(seen, text) })
}

var (
	// unreadable is what the Web UI shows in place of what it could not decrypt, or has not yet.
	unreadable = regexp.MustCompile(`(?i)binary/encrypted|encoded failure|no key for this payload|[A-Za-z0-9+/]{44,}={0,2}`)
	// hexadecimal is no Base64: the ids of events.
	hexadecimal = regexp.MustCompile(`^[0-9a-f]+$`)
)

func undecrypted(seen string) []string {
	return slices.DeleteFunc(unreadable.FindAllString(seen, -1), hexadecimal.MatchString)
}

// mustShowNoCard also looks at what is there without being seen.
func (p *page) mustShowNoCard() {
	p.t.Helper()
	html, err := evaluate[string](p, `document.documentElement.outerHTML`)
	require.NoError(p.t, err)
	for _, secret := range p.secrets {
		require.NotContains(p.t, html, secret, "a card token in the page")
	}
}

// details is the frame with the current details of a run.
type details struct {
	Text string
	// TextEnd and Height are in pixels from its top.
	TextEnd, Height float64
}

// showsDetails waits until the current details have all texts. None of it may be below the end of the frame.
func (p *page) showsDetails(texts ...string) {
	p.t.Helper()
	var shown details
	p.wait(func() bool {
		var err error
		shown, err = evaluate[details](p, `(() => {
			const frame = [...document.querySelectorAll("iframe")].at(-1), inside = frame.contentDocument
			const written = [...inside.querySelectorAll("th, td, p")].filter(e => e.innerText.trim() !== "")
			return {
				Text: inside.body.innerText,
				TextEnd: Math.max(...written.map(e => e.getBoundingClientRect().bottom)),
				Height: frame.getBoundingClientRect().height,
			}
		})()`)
		return err == nil && len(missing(shown.Text, texts)) == 0
	}, func() string { return fmt.Sprintf("%q in the details:\n%s", missing(shown.Text, texts), shown.Text) })
	assert.LessOrEqual(p.t, shown.TextEnd, shown.Height, "the details are cut off at the bottom")
}

// click waits for an element that can be seen and whose text begins with text, and clicks it.
func (p *page) click(selector, text string) {
	p.t.Helper()
	clicked := func() bool {
		clicked, err := evaluate[bool](p, fmt.Sprintf(`(() => {
			const found = [...document.querySelectorAll(%s)].find(e => e.checkVisibility() && !e.disabled && e.innerText.trim().startsWith(%s))
			found?.click()
			return found !== undefined
		})()`, quoted(selector), quoted(text)))
		return err == nil && clicked
	}
	p.wait(clicked, func() string { return fmt.Sprintf("%s with the text %q to click on:\n%s", selector, text, p.text()) })
}

// enter types into an editor as a paste does.
func (p *page) enter(selector, text string) {
	p.t.Helper()
	entered, err := evaluate[bool](p, fmt.Sprintf(`(() => {
		document.querySelector(%s).focus()
		document.execCommand("selectAll")
		return document.execCommand("insertText", false, %s)
	})()`, quoted(selector), quoted(text)))
	require.NoError(p.t, err)
	require.True(p.t, entered)
}

// wait polls: the page renders when it will.
func (p *page) wait(done func() bool, what func() string) {
	p.t.Helper()
	if !assert.Eventually(p.t, done, patience, often) {
		require.FailNow(p.t, "missing: "+what())
	}
}

// moving are the animations that end, like a list that fades out.
const moving = `document.getAnimations().some(a => a.playState === "running" && a.effect.getTiming().iterations !== Infinity)`

// shoot keeps a screenshot of the page at rest.
func (p *page) shoot(name string) {
	p.t.Helper()
	p.wait(func() bool {
		still, err := evaluate[bool](p, "!"+moving)
		return err == nil && still
	}, func() string { return "an end of all movements on the page" })
	p.capture(name)
}

func (p *page) capture(name string) {
	p.t.Helper()
	picture, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	require.NoError(p.t, err)
	require.NoError(p.t, os.WriteFile(filepath.Join(p.screenshots, name+".png"), picture, 0o644))
}

func evaluate[T any](p *page, script string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](script)) //nolint:wrapcheck // of a test
}

// quoted is text as JavaScript.
func quoted(text string) string {
	script, _ := json.Marshal(text) // text is no cycle
	return string(script)
}
