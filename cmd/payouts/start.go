package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pikepayouts/payout"
	"pikepayouts/secret"
	"pikepayouts/starter"
)

// maxRequestFile is far more than Temporal takes for one workflow's input.
const maxRequestFile = 1 << 20

type startFlags struct {
	id, currency                         string
	amount                               int64
	token, numberHash, recurrentToken    string
	fullName, decision                   string
	ready, wait, confirm, result, polled time.Duration
	approvals                            int
	file                                 string
	waitForEnd                           bool
}

func (a *app) startCommand() *cobra.Command {
	var f startFlags
	command := &cobra.Command{
		Use:   "start",
		Short: "Start a payout",
		Long: `Start a payout, once for ever: the same request again finds the run that exists,
another request under the same id is refused (exit code 4).

What is on a command line shows in the process list. Give card tokens as @file,
which reads them from a file, or the whole request by --file.

` + callerHelp,
		Example: `  payouts start --id inv-1042 --amount 10000 --currency eur --token @token.txt --full-name "Ivanov Ivan"
  payouts start --id inv-1043 --amount 500 --currency eur --token @token.txt --full-name "Ivanov Ivan" --decision manual --wait
  payouts start --file request.json
  produce-request | payouts start --file - -o json`,
		Args: usage(cobra.NoArgs),
	}
	f.register(command)
	var format outputFormat
	format.addFlag(command)
	command.RunE = func(command *cobra.Command, _ []string) error {
		request, err := a.startRequest(command, f)
		if err != nil {
			return err
		}
		return a.withPayouts(command.Context(), func(p payouts) error {
			return a.start(command.Context(), p, request, f.waitForEnd, format)
		})
	}
	return command
}

func (f *startFlags) register(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&f.id, "id", "", "payout id, your idempotency key: 1-64 of A-Z a-z 0-9 . _ -")
	flags.Int64Var(&f.amount, "amount", 0, "amount in minor units: 10000 with eur is 100.00 EUR")
	flags.StringVar(&f.currency, "currency", "", "ISO 4217 code such as eur")
	flags.StringVar(&f.token, "token", "", "card token, @file or @- for standard input")
	flags.StringVar(&f.numberHash, "number-hash", "", "card number hash of Pike's widget, @file or @- for standard input")
	flags.StringVar(&f.recurrentToken, "recurrent-token", "", "token for recurring payouts, @file or @- for standard input")
	flags.StringVar(&f.fullName, "full-name", "", "full name of the recipient")
	flags.StringVar(&f.decision, "decision", "", "auto or manual (default auto)")
	flags.DurationVar(&f.ready, "ready-timeout", 0, "from start to ready to confirm; then the payout is cancelled (default 2h)")
	flags.DurationVar(&f.wait, "decision-timeout", 0, "for people to decide, manual only; then the payout is cancelled (default 45m)")
	flags.DurationVar(&f.confirm, "confirm-timeout", 0, "no confirm is sent later than this after ready (default 55m)")
	flags.DurationVar(&f.result, "result-timeout", 0, "attention is raised this long after confirm (default 15m)")
	flags.IntVar(&f.approvals, "approvals", 0, "how many different people must confirm, manual only (default 1)")
	flags.DurationVar(&f.polled, "poll-interval", 0, "first poll of a wait, at least 1s (default 30s)")
	flags.StringVarP(&f.file, "file", "f", "", "the whole request as JSON in this file, - for standard input; instead of the flags above")
	flags.BoolVar(&f.waitForEnd, "wait", false, "wait for the end; exit code 3 if the payout did not succeed")
}

// requestFlags are those that --file replaces, by the field that they set.
func requestFlags() map[string]string {
	return map[string]string{
		"payout_id": "id", "amount_details.amount": "amount", "amount_details.currency": "currency",
		"destination.tokenized_card.token": "token", "destination.encrypted_card.number_hash": "number-hash",
		"destination.recurrent.token": "recurrent-token", "recipient.full_name": "full-name", "policy.decision": "decision",
		"policy.ready_timeout": "ready-timeout", "policy.decision_timeout": "decision-timeout", "policy.confirm_timeout": "confirm-timeout",
		"policy.result_timeout": "result-timeout", "policy.approvals": "approvals", "policy.poll_interval": "poll-interval",
	}
}

func (a *app) startRequest(command *cobra.Command, f startFlags) (payout.Request, error) {
	if !command.Flags().Changed("file") {
		return a.requestFromFlags(f)
	}
	for _, name := range requestFlags() {
		if command.Flags().Changed(name) {
			return payout.Request{}, usagef("--file holds the whole request: --file and --%s exclude each other", name)
		}
	}
	content, err := a.readRequest(f.file)
	if err != nil {
		return payout.Request{}, err
	}
	request, err := payout.ParseRequest(content)
	if err != nil {
		return payout.Request{}, usagef("--file: %w", err)
	}
	return request, nil
}

func (a *app) readRequest(path string) ([]byte, error) {
	source := a.stdin
	if path != "-" {
		file, err := os.Open(path) //nolint:gosec // the caller names the file
		if err != nil {
			return nil, usagef("--file: %w", err)
		}
		defer func() { _ = file.Close() }()
		source = file
	}
	content, err := io.ReadAll(io.LimitReader(source, maxRequestFile+1))
	if err != nil {
		return nil, fmt.Errorf("--file: reading the request: %w", err)
	}
	if len(content) > maxRequestFile {
		return nil, usagef("--file: the request is larger than %d bytes", maxRequestFile)
	}
	return content, nil
}

// requestFromFlags builds the request. Its errors name flags, not fields.
func (a *app) requestFromFlags(f startFlags) (payout.Request, error) {
	destination, err := a.destination(f.token, f.numberHash, f.recurrentToken)
	if err != nil && !errors.Is(err, errNoCard) { // Validate tells that together with all else
		return payout.Request{}, err
	}
	request := payout.Request{
		PayoutID:      f.id,
		AmountDetails: payout.AmountDetails{Amount: f.amount, Currency: f.currency},
		Destination:   destination,
		Recipient:     payout.Recipient{FullName: secret.String(f.fullName)},
		Policy: payout.Policy{
			Decision: f.decision, ReadyTimeout: payout.Duration(f.ready), DecisionTimeout: payout.Duration(f.wait),
			ConfirmTimeout: payout.Duration(f.confirm), ResultTimeout: payout.Duration(f.result),
			Approvals: f.approvals, PollInterval: payout.Duration(f.polled),
		},
	}.Normalized()
	if err := request.Validate(); err != nil {
		return payout.Request{}, usageError{inFlags(err)}
	}
	return request, nil
}

// inFlags says every problem of a request in the names of the flags.
func inFlags(err error) error {
	names := requestFlags()
	var lines []string
	for _, problem := range flatten(err) {
		var field *payout.FieldError
		switch {
		case errors.As(problem, &field) && field.Field == "destination":
			lines = append(lines, errNoCard.Error())
		case field != nil && names[field.Field] != "":
			lines = append(lines, "--"+names[field.Field]+": "+field.Problem)
		default:
			lines = append(lines, problem.Error())
		}
	}
	return errors.New(strings.Join(lines, "\n"))
}

func flatten(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}

// errNoCard is destination's error where no card is named.
var errNoCard = errors.New("one of --token, --number-hash and --recurrent-token is required")

// destination wants exactly one of the three ways to name a card.
func (a *app) destination(token, numberHash, recurrentToken string) (payout.Destination, error) {
	var given []string
	var destination payout.Destination
	for _, flag := range []struct {
		name, value string
		set         func(secret.String)
	}{
		{"token", token, func(s secret.String) { destination.TokenizedCard = &payout.TokenizedCard{Token: s} }},
		{"number-hash", numberHash, func(s secret.String) { destination.EncryptedCard = &payout.EncryptedCard{NumberHash: s} }},
		{"recurrent-token", recurrentToken, func(s secret.String) { destination.Recurrent = &payout.Recurrent{Token: s} }},
	} {
		if flag.value == "" {
			continue
		}
		given = append(given, "--"+flag.name)
		value, err := a.secretValue(flag.value)
		if err != nil {
			return payout.Destination{}, usagef("--%s: %w", flag.name, err)
		}
		flag.set(value)
	}
	if len(given) > 1 {
		return payout.Destination{}, usagef("%s exclude each other", strings.Join(given, " and "))
	}
	if len(given) == 0 {
		return payout.Destination{}, usageError{errNoCard}
	}
	return destination, nil
}

// secretValue is the value itself, the content of the file behind an @, or standard input for @-.
func (a *app) secretValue(value string) (secret.String, error) {
	path, elsewhere := strings.CutPrefix(value, "@")
	if !elsewhere {
		return secret.String(value), nil
	}
	var content []byte
	var err error
	if path == "-" {
		content, err = io.ReadAll(io.LimitReader(a.stdin, maxRequestFile))
	} else {
		content, err = os.ReadFile(path) //nolint:gosec // the caller names the file
	}
	if err != nil {
		return "", usagef("reading it from %s: %w", value, err)
	}
	return secret.String(bytes.TrimSpace(content)), nil
}

func (a *app) start(ctx context.Context, p payouts, request payout.Request, waitForEnd bool, format outputFormat) error {
	started, err := p.Start(ctx, request)
	if err != nil {
		return err //nolint:wrapcheck // starter says what it was doing
	}
	if waitForEnd && format == formatJSON { // one JSON value, the end
		return a.wait(ctx, p, request.PayoutID, format)
	}
	answer := startAnswer{PayoutID: request.PayoutID, Started: started}
	if err := a.print(format, answer, func(p *printer) { p.block(startedText(answer)) }); err != nil || !waitForEnd {
		return err
	}
	return a.wait(ctx, p, request.PayoutID, format)
}

// startAnswer is what `payouts start -o json` prints.
type startAnswer struct {
	PayoutID string `json:"payout_id"`
	starter.Started
}

func startedText(answer startAnswer) string {
	verb := "started"
	if answer.Existing {
		verb = "was started before, with the same request"
	}
	return fmt.Sprintf("Payout %s %s (workflow %s, run %s).\n", answer.PayoutID, verb, answer.WorkflowID, answer.RunID)
}
