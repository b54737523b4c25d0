// Command compose loads a compose file as Docker Compose does, and says what is
// wrong with it: the schema, references to what is not there, circles. It needs no engine.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if err := check(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(ctx context.Context, files []string) error {
	options, err := cli.NewProjectOptions(files, cli.WithProfiles([]string{"*"}))
	if err != nil {
		return fmt.Errorf("compose: %w", err)
	}
	if _, err := options.LoadProject(ctx); err != nil {
		return fmt.Errorf("compose: %w", err)
	}
	return nil
}
