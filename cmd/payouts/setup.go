package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"pikepayouts/config"
	"pikepayouts/worker"
)

// setupAnswer is what `payouts setup -o json` prints.
type setupAnswer struct {
	Namespace string   `json:"namespace"`
	Added     []string `json:"added"`
	Existing  []string `json:"existing"`
}

func (a *app) setupCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "setup", Short: "Register the search attributes in Temporal", Args: usage(cobra.NoArgs),
		Long: `Register the search attributes that payouts carry in the Temporal namespace. Once per
namespace; a repeat changes nothing. It needs the right to administer the namespace.

Temporal is found by TEMPORAL_ADDRESS and the other TEMPORAL_* variables.`,
		Example: `  payouts setup
  TEMPORAL_NAMESPACE=payments payouts setup -o json`,
	}
	var format outputFormat
	format.addFlag(command)
	command.RunE = func(command *cobra.Command, _ []string) error {
		temporal, err := config.LoadSetup(command.Context(), a.lookuper)
		if err != nil {
			return err //nolint:wrapcheck // it says everything, one line per variable
		}
		answer, err := setUp(command.Context(), temporal)
		if err != nil {
			return err
		}
		return a.print(format, answer, func(p *printer) {
			p.fact("Namespace", answer.Namespace)
			p.fact("Added", cmp.Or(strings.Join(answer.Added, ", "), "nothing"))
			p.fact("There already", cmp.Or(strings.Join(answer.Existing, ", "), "nothing"))
		})
	}
	return command
}

func setUp(ctx context.Context, temporal client.Options) (setupAnswer, error) {
	answer := setupAnswer{Namespace: cmp.Or(temporal.Namespace, client.DefaultNamespace), Added: []string{}, Existing: []string{}}
	c, err := dialTemporal(ctx, temporal, quietLogger())
	if err != nil {
		return setupAnswer{}, err
	}
	defer c.Close()
	added, err := worker.RegisterSearchAttributes(ctx, c, answer.Namespace)
	if err != nil {
		return setupAnswer{}, fmt.Errorf("setting up namespace %q: %w", answer.Namespace, err)
	}
	for _, name := range slices.Sorted(maps.Keys(worker.SearchAttributes())) {
		if slices.Contains(added, name) {
			answer.Added = append(answer.Added, name)
		} else {
			answer.Existing = append(answer.Existing, name)
		}
	}
	return answer, nil
}
