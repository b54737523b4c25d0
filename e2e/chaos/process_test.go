package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// restartDelay is how long after its end a process that ended by itself is started again, as an orchestrator does.
	restartDelay = time.Second
	// politeEnd is longer than a worker lets its calls in flight end (75s).
	politeEnd = 90 * time.Second
)

// command is how a process is started, each time.
type command struct {
	path                   string
	arguments, environment []string
	user                   *syscall.Credential // nil is the user of the test
}

// process is a real process that may be killed, frozen and started again.
type process struct {
	name    string
	command command
	log     *os.File
	// lifetime ends with the test: nothing is started after it.
	lifetime context.Context

	mu      sync.Mutex // guards what follows
	current *incarnation
	crashes []string // how it ended where nobody asked for that, or not well on SIGTERM
}

// incarnation is one run of a process.
type incarnation struct {
	command *exec.Cmd
	ended   chan struct{}
	asked   os.Signal // to end, nil if nobody did; guarded by the process's mu
}

// startProcess starts the process; its output goes to a file of its name in the folder.
func startProcess(lifetime context.Context, folder, name string, c command) (*process, error) {
	log, err := os.Create(filepath.Join(folder, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("creating the log of %s: %w", name, err)
	}
	p := &process{name: name, command: c, log: log, lifetime: lifetime}
	if err := p.start(); err != nil {
		_ = log.Close()
		return nil, err
	}
	return p, nil
}

// start starts the process unless it runs.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lifetime.Err() != nil || p.current != nil && !p.current.hasEnded() {
		return nil
	}
	i := &incarnation{command: exec.Command(p.command.path, p.command.arguments...), ended: make(chan struct{})}
	i.command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(p.log.Name())}, p.command.environment...)
	i.command.Stdout, i.command.Stderr, i.command.SysProcAttr = p.log, p.log, childAttributes()
	i.command.SysProcAttr.Credential = p.command.user
	started := make(chan error)
	go p.live(i, started)
	if err := <-started; err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	p.current = i
	return nil
}

// live is one incarnation from start to end. The kernel kills the child when the
// thread that started it ends, so that thread must stay.
func (p *process) live(i *incarnation, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := i.command.Start()
	started <- err
	if err != nil {
		return
	}
	err = i.command.Wait()
	close(i.ended)
	if asked := p.noteEnd(i, err); !asked && pause(p.lifetime, restartDelay) {
		_ = p.start() // if the system can't start it, the wait for readiness will tell
	}
}

// noteEnd returns whether somebody asked for the end.
func (p *process) noteEnd(i *incarnation, err error) (asked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case i.asked == nil:
		p.crashes = append(p.crashes, fmt.Sprintf("by itself: %s: %s", i.command.ProcessState, p.lastWords()))
	case i.asked == syscall.SIGTERM && err != nil:
		p.crashes = append(p.crashes, fmt.Sprintf("on SIGTERM: %s: %s", i.command.ProcessState, p.lastWords()))
	}
	return i.asked != nil
}

// lastWords are the end of the log.
func (p *process) lastWords() string {
	const most = 400
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-most):]))
}

func (i *incarnation) hasEnded() bool {
	select {
	case <-i.ended:
		return true
	default:
		return false
	}
}

// end sends the signal, and waits until the process is gone.
func (p *process) end(signal os.Signal) error {
	p.mu.Lock()
	i := p.current
	i.asked = signal
	p.mu.Unlock()
	_ = i.command.Process.Signal(signal) // it may have ended by itself just now
	ctx, cancel := context.WithTimeout(context.Background(), politeEnd)
	defer cancel()
	select {
	case <-i.ended:
		return nil
	case <-ctx.Done():
		_ = i.command.Process.Kill()
		<-i.ended
		return fmt.Errorf("%s had not ended %s after %s", p.name, politeEnd, signal)
	}
}

// restart ends the process, leaves it away for a while and starts it again.
func (p *process) restart(ctx context.Context, signal os.Signal, away time.Duration) error {
	ended := p.end(signal)
	pause(ctx, away)
	return errors.Join(ended, p.start())
}

// freeze stops the process for a while, which then goes on as if no time had passed.
func (p *process) freeze(ctx context.Context, length time.Duration) error {
	p.mu.Lock()
	frozen := p.current.command.Process
	p.mu.Unlock()
	if err := frozen.Signal(syscall.SIGSTOP); err != nil {
		return nil //nolint:nilerr // it has ended by itself just now, and is counted as a crash
	}
	pause(ctx, length)
	if err := frozen.Signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("waking %s: %w", p.name, err)
	}
	return nil
}

// close kills the process for good.
func (p *process) close() {
	_ = p.end(os.Kill)
	_ = p.log.Close()
}

func (p *process) crashed() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.crashes)
}
