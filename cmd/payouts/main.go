// Command payouts is the service and its tools in one binary: the processes
// that run, and what people and scripts use to start, watch and steer payouts.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, envconfig.OsLookuper())
	stop()
	os.Exit(code)
}

// run carries out one command line and returns its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, lookuper envconfig.Lookuper) int {
	return (&app{stdin: stdin, stdout: stdout, stderr: stderr, lookuper: lookuper}).run(ctx, args)
}

// app is what a command has of the world around it.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	lookuper       envconfig.Lookuper
	// payouts is used instead of a connection to Temporal; nil outside of tests.
	payouts payouts
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	command, err := root.ExecuteContextC(ctx)
	return report(a.stderr, command, err)
}

const rootHelp = `Durable payouts to bank cards through Pike, on Temporal.

Settings come from environment variables; the help of each command names its own.
Temporal is found by the standard TEMPORAL_* variables and profiles
(TEMPORAL_ADDRESS, default localhost:7233; TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_..., TEMPORAL_PROFILE).

Exit codes:
  0  done
  1  failed to do it
  2  bad usage or configuration
  3  the payout ended failed or cancelled (start --wait, wait)
  4  the payout id was started with another request
  5  no such payout`

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "payouts",
		Short: "Durable payouts to bank cards through Pike",
		Long:  rootHelp,
		Example: `  payouts setup
  payouts worker
  payouts start --id inv-1042 --amount 10000 --currency eur --token @token.txt --full-name "Ivanov Ivan" --wait`,
		SilenceErrors: true, SilenceUsage: true, // report prints both, and knows which exit code they mean
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddGroup(&cobra.Group{ID: groupPayouts, Title: "Payouts:"}, &cobra.Group{ID: groupProcesses, Title: "Processes:"},
		&cobra.Group{ID: groupTools, Title: "Tools:"})
	addCommands(root, groupPayouts, a.startCommand(), a.statusCommand(), a.waitCommand(), a.listCommand(), a.confirmCommand(), a.cancelCommand(),
		a.resolveCommand())
	addCommands(root, groupProcesses, a.demoCommand(), a.workerCommand(), a.gatewayCommand(), a.codecServerCommand(), a.simulatorCommand())
	addCommands(root, groupTools, a.setupCommand(), a.tokenInfoCommand(), a.keygenCommand(), a.versionCommand(), a.healthcheckCommand())
	return root
}

const (
	groupPayouts   = "payouts"
	groupProcesses = "processes"
	groupTools     = "tools"
)

func addCommands(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, command := range commands {
		command.GroupID = group
		root.AddCommand(command)
	}
}
