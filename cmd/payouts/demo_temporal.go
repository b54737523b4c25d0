package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"pikepayouts/worker"
)

const (
	localhost = "127.0.0.1"
	// temporalUpTime bounds the server's start; it takes about a second.
	temporalUpTime = 30 * time.Second
	// temporalAttempts: between looking for a free port and the server taking it, another program may.
	temporalAttempts = 3
	// temporalStopTime is how long the server may take to end by itself.
	temporalStopTime = 10 * time.Second
)

func existing(path string) (string, error) {
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no Temporal CLI there, run `make temporal`: %w", err)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("finding the Temporal CLI: %w", err)
	}
	return absolute, nil
}

func onPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", errors.New("no Temporal CLI found: run `make temporal`, or give one with --temporal")
	}
	return path, nil
}

// child is a process that never outlives this one (on Linux not even if this one is killed).
type child struct {
	command *exec.Cmd
	ended   chan struct{} // closed after the process has ended
}

// startChild starts the command and calls onEnd once it has ended.
func startChild(command *exec.Cmd, onEnd func(error)) (*child, error) {
	command.SysProcAttr = childAttributes()
	c := &child{command: command, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel signals the child when the thread that started it ends, so that thread must stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			err = command.Wait()
			close(c.ended)
			onEnd(err)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", command.Path, err)
	}
	return c, nil
}

// stop asks the child to end, and makes it end if it does not.
func (c *child) stop() {
	_ = c.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(temporalStopTime):
		_ = c.command.Process.Kill()
		<-c.ended
	}
}

// temporalServer is a dev server of the demo's own.
type temporalServer struct {
	child        *child
	port, uiPort int
}

// startTemporal starts a dev server. fail is called if it ends before it is stopped.
func startTemporal(ctx context.Context, binary string, ports *portPicker, o demoOptions, codecURL string, fail context.CancelCauseFunc) (*temporalServer, error) {
	for attempt := 1; ; attempt++ {
		server, err := tryTemporal(ctx, binary, ports, o, codecURL, fail)
		if err == nil || attempt == temporalAttempts || ctx.Err() != nil {
			return server, err
		}
		ports.say("It ended at once; trying again, in case somebody else took a port in that moment\n")
	}
}

func tryTemporal(ctx context.Context, binary string, ports *portPicker, o demoOptions, codecURL string, fail context.CancelCauseFunc) (*temporalServer, error) {
	server := &temporalServer{}
	var err error
	if server.port, err = ports.pick(ctx, "Temporal", 7233); err != nil {
		return nil, err
	}
	if server.uiPort, err = ports.pick(ctx, "its Web UI", 8233); err != nil {
		return nil, err
	}
	logPath := filepath.Join(o.folder, "temporal.log")
	logFile, err := os.Create(logPath) //nolint:gosec // the folder is the caller's choice
	if err != nil {
		return nil, fmt.Errorf("creating Temporal's log: %w", err)
	}
	defer func() { _ = logFile.Close() }()                                     // the child has its own handle
	command := exec.Command(binary, temporalArguments(server, o, codecURL)...) //nolint:gosec,noctx // the caller's own program; stop ends it, politely
	command.Env = withoutTemporal(os.Environ())
	command.Stdout, command.Stderr = logFile, logFile
	alive, ended := context.WithCancelCause(ctx)
	server.child, err = startChild(command, func(error) { ended(fmt.Errorf("the Temporal server ended; see %s", logPath)) })
	if err != nil {
		return nil, err
	}
	if err := waitForTemporal(alive, server.options()); err != nil {
		server.child.stop()
		return nil, fmt.Errorf("starting the Temporal server (see %s): %w", logPath, err)
	}
	context.AfterFunc(alive, func() { fail(context.Cause(alive)) })
	return server, nil
}

func (s *temporalServer) address() string { return net.JoinHostPort(localhost, strconv.Itoa(s.port)) }

func (s *temporalServer) options() client.Options {
	return client.Options{HostPort: s.address(), Namespace: client.DefaultNamespace, Logger: log.NewStructuredLogger(quietLogger())}
}

// uiOrigins are what a browser may call the Web UI.
func (s *temporalServer) uiOrigins() []string {
	port := strconv.Itoa(s.uiPort)
	return []string{"http://" + net.JoinHostPort(localhost, port), "http://" + net.JoinHostPort("localhost", port)}
}

func temporalArguments(server *temporalServer, o demoOptions, codecURL string) []string {
	arguments := []string{
		"server", "start-dev", "--ip", localhost, "--port", strconv.Itoa(server.port), "--ui-port", strconv.Itoa(server.uiPort), "--log-level", "error",
		"--ui-codec-endpoint", codecURL,
	}
	if o.keep {
		arguments = append(arguments, "--db-filename", filepath.Join(o.folder, "temporal.db"))
	}
	var attributes []string
	for name, kind := range worker.SearchAttributes() {
		attributes = append(attributes, name+"="+kind.String())
	}
	slices.Sort(attributes)
	for _, attribute := range attributes {
		arguments = append(arguments, "--search-attribute", attribute)
	}
	return arguments
}

// withoutTemporal drops TEMPORAL_*: settings for another server must not reach this one.
func withoutTemporal(environment []string) []string {
	return slices.DeleteFunc(slices.Clone(environment), func(pair string) bool { return strings.HasPrefix(pair, "TEMPORAL_") })
}

// waitForTemporal returns once the server knows its namespace.
func waitForTemporal(ctx context.Context, options client.Options) error {
	ctx, cancel := context.WithTimeoutCause(ctx, temporalUpTime, fmt.Errorf("it did not answer within %s", temporalUpTime))
	defer cancel()
	c, err := client.NewLazyClient(options)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	defer c.Close()
	return poll(ctx, 50*time.Millisecond, func(ctx context.Context) bool {
		_, err := c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: client.DefaultNamespace})
		return err == nil
	})
}

// poll calls done until it is true, or returns why ctx ended.
func poll(ctx context.Context, interval time.Duration, done func(context.Context) bool) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		ok := done(attempt)
		cancel()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}
