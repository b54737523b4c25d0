package starter_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/contrib/opentelemetry"
	sdklog "go.temporal.io/sdk/log"

	"pikepayouts/payout"
	"pikepayouts/starter"
)

// connect finds Temporal by TEMPORAL_ADDRESS and the other standard variables.
func connect() client.Client {
	options := envconfig.MustLoadDefaultClientOptions()
	options.Logger = sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler))
	c, err := client.Dial(options)
	if err != nil {
		panic(err)
	}
	return c
}

// request is an order of 100.00 EUR.
func request(payoutID string) payout.Request {
	return payout.Request{
		PayoutID:      payoutID,
		AmountDetails: payout.AmountDetails{Amount: 10000, Currency: "eur"},
		Destination:   payout.Destination{TokenizedCard: &payout.TokenizedCard{Token: "759c9852dde2211d7531b3d905c1d513fbfb914bee87fb567d99c7b2f2c2ad44"}},
		Recipient:     payout.Recipient{FullName: "Ivanov Ivan"},
	}
}

// Start a payout and wait for its end.
func Example() {
	ctx := context.Background()
	temporal := connect()
	defer temporal.Close()
	payouts := starter.New(temporal, starter.Options{})

	if _, err := payouts.Start(ctx, request("inv-1042")); err != nil {
		panic(err)
	}
	status, err := payouts.Wait(ctx, "inv-1042")
	if err != nil {
		panic(err)
	}
	fmt.Println(status.State, status.AmountDetails)
	// Output: succeeded 100.00 EUR
}

// The payout id is the idempotency key: repeat a Start whose answer was lost,
// as often as you like.
func ExampleStarter_Start() {
	ctx := context.Background()
	temporal := connect()
	defer temporal.Close()
	payouts := starter.New(temporal, starter.Options{})

	order := request("inv-1043")
	first, err := payouts.Start(ctx, order)
	if err != nil {
		panic(err)
	}
	again, err := payouts.Start(ctx, order)
	if err != nil {
		panic(err)
	}
	fmt.Println("existing:", again.Existing, "same run:", again.RunID == first.RunID)

	order.AmountDetails.Amount = 99000
	_, err = payouts.Start(ctx, order)
	fmt.Println("conflict:", errors.Is(err, starter.ErrConflict))

	order.AmountDetails.Amount = -1
	_, err = payouts.Start(ctx, order)
	var field *payout.FieldError
	fmt.Println("bad field:", errors.As(err, &field), field.Field)
	// Output:
	// existing: true same run: true
	// conflict: true
	// bad field: true amount_details.amount
}

// A payout whose policy says manual waits for people.
func ExampleStarter_Confirm() {
	ctx := context.Background()
	temporal := connect()
	defer temporal.Close()
	payouts := starter.New(temporal, starter.Options{})

	order := request("inv-1044")
	order.Policy.Decision = payout.DecisionManual
	if _, err := payouts.Start(ctx, order); err != nil {
		panic(err)
	}
	status, err := payouts.Confirm(ctx, order.PayoutID, "ann@example.com", "checked against the invoice")
	if err != nil {
		panic(err)
	}
	fmt.Println(status.Decision.Value, "by", status.Decision.By)

	if _, err := payouts.Wait(ctx, order.PayoutID); err != nil {
		panic(err)
	}
	_, err = payouts.Cancel(ctx, order.PayoutID, "bob@example.com", "too late")
	fmt.Println("refused:", errors.Is(err, starter.ErrDecisionRefused))
	// Output:
	// confirm by ann@example.com
	// refused: true
}

// Get tells an unknown payout from one that exists.
func ExampleStarter_Get() {
	temporal := connect()
	defer temporal.Close()
	payouts := starter.New(temporal, starter.Options{})

	_, err := payouts.Get(context.Background(), "inv-0000")
	fmt.Println(errors.Is(err, starter.ErrNotFound))
	// Output: true
}

// List the payouts that a person should look at.
func ExampleStarter_List() {
	temporal := connect()
	defer temporal.Close()
	payouts := starter.New(temporal, starter.Options{})

	filter := starter.Filter{AnyAttention: true, Query: "PayoutCurrency = 'chf'"}
	for summary, err := range payouts.List(context.Background(), filter) {
		if err != nil {
			panic(err)
		}
		fmt.Println(summary.PayoutID, summary.State, summary.Attention)
	}
	fmt.Println("that is all")
	// Output: that is all
}

// A service whose client has the SDK's tracing interceptor is the beginning of its payouts' traces.
func Example_traces() {
	tracing, err := opentelemetry.NewTracingInterceptor(opentelemetry.TracerOptions{}) // with OpenTelemetry's global provider
	if err != nil {
		panic(err)
	}
	options := envconfig.MustLoadDefaultClientOptions()
	options.Interceptors = append(options.Interceptors, tracing)
	temporal, err := client.Dial(options)
	if err != nil {
		panic(err)
	}
	defer temporal.Close()
	ctx := context.Background() // with the span of what the payout is for
	if _, err := starter.New(temporal, starter.Options{}).Start(ctx, request("inv-1042")); err != nil {
		panic(err)
	}
}
