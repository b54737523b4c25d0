package e2e

import (
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pikepayouts/codec"
	"pikepayouts/config"
	"pikepayouts/payout"
	"pikepayouts/pike"
	"pikepayouts/pikesim"
	"pikepayouts/starter"
)

// operations is the running service of which docs/runbook.md speaks: worker, gateway and codec server
// are processes, with encryption on.
type operations struct {
	stack *stack
	// environment is what the document has its reader set.
	environment map[string]string
	workerLog   *logTap
	// tools is the folder of payouts and temporal.
	tools string
	// impatient is a build that raises pike_unreachable at the first silence instead of after five minutes.
	impatient func() string
}

func newOperations(t *testing.T) *operations {
	for _, tool := range []string{"sh", "grep", "curl", "openssl"} {
		_, err := exec.LookPath(tool)
		require.NoError(t, err, "commands of docs/runbook.md need it")
	}
	gateway := startGatewayProcess(t)
	s := newStack(t, stackOptions{noWorker: true, webhooks: "http://" + gateway.host()})
	environment := workerEnvironment(t, s, s.simURL)
	_, worker, log := startLogged(t, "worker runs", environment, "worker")
	waitUntilReady(t, gateway.ops)
	waitUntilReady(t, worker.Ops)
	pikeKey := filepath.Join(t.TempDir(), "pike.pem")
	require.NoError(t, os.WriteFile(pikeKey, []byte(publicPEM(t, &shared.pikeKey.PublicKey)), 0o600))
	o := &operations{stack: s, workerLog: log, tools: toolFolder(t), environment: map[string]string{
		"TEMPORAL_ADDRESS": shared.address, "TEMPORAL_NAMESPACE": "default", "PAYOUTS_ENCRYPTION_KEYSET_FILE": shared.keyset.file,
		"TEMPORAL_CODEC_ENDPOINT": startCodecServer(t), "WORKER_OPS": worker.Ops, "GATEWAY_OPS": gateway.ops,
		"PIKE_WEBHOOK_PUBLIC_KEY_FILES": pikeKey,
	}}
	for _, each := range environment {
		if name, value, _ := strings.Cut(each, "="); strings.HasPrefix(name, "PIKE_") {
			o.environment[name] = value
		}
	}
	o.impatient = sync.OnceValue(func() string {
		return buildVariant(t, edit{"workflows/machine.go", "unreachableAfter = 5 * time.Minute", "unreachableAfter = 0 * time.Minute"})
	})
	return o
}

// startCodecServer starts `payouts codec-server` and returns where it listens.
func startCodecServer(t *testing.T) string {
	t.Helper()
	binary, err := buildBinary()
	require.NoError(t, err)
	tap := &logTap{}
	startCommand(t, tap, []string{"PAYOUTS_CODEC_ADDR=127.0.0.1:0"}, binary, "codec-server")
	var started struct {
		Addr string `json:"addr"`
	}
	require.Eventually(t, func() bool {
		for line := range strings.Lines(tap.String()) {
			if strings.Contains(line, "codec server runs") && json.Unmarshal([]byte(line), &started) == nil {
				return true
			}
		}
		return false
	}, time.Minute, 20*time.Millisecond)
	return "http://" + started.Addr
}

// toolFolder is what a PATH needs for the document's own commands.
func toolFolder(t *testing.T) string {
	t.Helper()
	payouts, err := buildBinary()
	require.NoError(t, err)
	temporal, err := temporalBinary()
	require.NoError(t, err)
	folder := t.TempDir()
	require.NoError(t, os.Symlink(payouts, filepath.Join(folder, "payouts")))
	require.NoError(t, os.Symlink(temporal, filepath.Join(folder, "temporal")))
	return folder
}

// scenes put a payout, a process or a file into the state from which a block of the document begins, each time anew.
var scenes = map[string]func(d *desk){
	"awaiting_decision": (*desk).startManual,
	"worker_log": func(d *desk) {
		d.start(d.stack, order(d.t, pikesim.PresetConfirmed), payout.StateSucceeded)
		require.Eventually(d.t, func() bool {
			for line := range strings.Lines(d.workerLog.String()) {
				if strings.Contains(line, d.words["inv-1042"]) && strings.Contains(line, `"msg":"payout ended"`) {
					return true
				}
			}
			return false
		}, time.Minute, 100*time.Millisecond)
		d.write("worker.log", []byte(d.workerLog.String()))
	},
	"result_overdue": func(d *desk) {
		s := newStack(d.t, stackOptions{noWorker: true, timing: pikesim.Timing{Processing: time.Hour}})
		startWorkerProcess(d.t, workerEnvironment(d.t, s, s.simURL))
		r := order(d.t, pikesim.PresetConfirmed, func(r *payout.Request) { r.Policy.ResultTimeout = payout.Duration(time.Second) })
		d.startRaising(s, r, payout.AttentionResultOverdue)
	},
	"cancel_overdue": func(d *desk) {
		r := order(d.t, pikesim.PresetNeverReady, func(r *payout.Request) {
			r.Policy.ReadyTimeout, r.Policy.ResultTimeout = payout.Duration(time.Second), payout.Duration(time.Second)
		})
		d.startRaising(d.stack, r, payout.AttentionResultOverdue)
	},
	"unresolved_error": func(d *desk) {
		d.startRaising(d.stack, order(d.t, pikesim.PresetDeclinedWithError), payout.AttentionUnresolvedError)
	},
	"mismatch": func(d *desk) {
		r := order(d.t, pikesim.PresetConfirmed, polling(time.Hour))
		d.stack.in(d.t).behave(r, `{"echo":"amount","cancel":"refused"}`)
		d.startRaising(d.stack, r, payout.AttentionMismatch)
	},
	"mismatch_ended": func(d *desk) {
		d.start(d.stack, order(d.t, pikesim.PresetAlteredAmount), payout.StateCancelled)
	},
	"paid_without_confirm": func(d *desk) {
		d.startRaising(d.stack, order(d.t, pikesim.PresetAutoConfirm), payout.AttentionPaidWithoutConfirm)
	},
	// It stays for the settle delay of 90s: nothing but a person makes the payout look before that.
	"confirm_unknown": func(d *desk) {
		r := order(d.t, pikesim.PresetConfirmed)
		d.stack.in(d.t).behave(r, `{"lost_answers":["confirm"],"webhooks":"lost"}`)
		d.startRaising(d.stack, r, payout.AttentionConfirmUnknown)
	},
	"pike_unreachable": func(d *desk) {
		d.line = newLink(d.t, strings.TrimPrefix(d.stack.simURL, "http://"))
		d.line.become(networkCut)
		s := d.stack.apart(d.t)
		startCommand(d.t, shared.evidence.of("impatient.log"), workerEnvironment(d.t, s, "http://"+d.line.address), d.impatient(), "worker")
		d.startRaising(s, order(d.t, pikesim.PresetConfirmed, polling(time.Hour)), payout.AttentionPikeUnreachable)
	},
	"pike_is_back": func(d *desk) { d.line.become(networkFine) },
	"config_refused": func(d *desk) {
		s := d.stack.apart(d.t)
		startWorkerProcess(d.t, append(workerEnvironment(d.t, s, s.simURL), "PIKE_PROJECT=another"))
		d.startRaising(s, order(d.t, pikesim.PresetConfirmed), payout.AttentionConfigRefused)
	},
	"late_event": func(d *desk) {
		s := newStack(d.t, stackOptions{noWorker: true, timing: pikesim.Timing{Return: time.Second}})
		startWorkerProcess(d.t, workerEnvironment(d.t, s, s.simURL))
		r := order(d.t, pikesim.PresetReturned, polling(time.Hour))
		ended, err := s.payWithoutLedger(r)
		require.NoError(d.t, err)
		id := payout.LateEventWorkflowID(s.eventuallyLate(ended.SessionID, needsPerson).Event)
		s.eventuallyListed(id)
		d.speakOf(s, r)
		d.words["payout-event/ps_1042/5f1c"] = id
	},
	"worker_process": func(d *desk) {
		w := startWorkerProcess(d.t, workerEnvironment(d.t, d.stack.apart(d.t), d.stack.simURL))
		d.ready("WORKER_OPS", w.ops)
		d.reap(w.process)
	},
	"gateway_process": func(d *desk) {
		g := startGatewayProcess(d.t)
		d.ready("GATEWAY_OPS", g.ops)
		d.reap(g.process)
	},
	// A worker that observes only, and a payout that it holds.
	"observe_only": func(d *desk) {
		s := d.stack.apart(d.t)
		d.set("PAYOUTS_TASK_QUEUE", s.taskQueue)
		w := startWorkerProcess(d.t, append(workerEnvironment(d.t, s, s.simURL), observeOnly))
		d.ready("WORKER_OPS", w.ops)
		d.reap(w.process)
		d.startHeld(s)
	},
	// Temporal has forgotten that the payout was confirmed: to it, Pike has paid on its own.
	"restored": func(d *desk) {
		s := d.stack.apart(d.t)
		environment := workerEnvironment(d.t, s, s.simURL)
		before := startWorkerProcess(d.t, environment)
		r := order(d.t, pikesim.PresetConfirmed, manual)
		d.start(s, r, payout.StateAwaitingDecision)
		before.stop()
		startWorkerProcess(d.t, append(environment, observeOnly))
		_, err := s.pikeClient(pike.V1).ConfirmSession(testContext(d.t), d.words["ps_1042"], "")
		require.NoError(d.t, err)
		s.eventually(r, payout.StateSucceeded)
	},
	// A confirm was in flight when somebody terminated the payout.
	"terminated": func(d *desk) {
		d.startManual()
		require.NoError(d.t, shared.temporal.TerminateWorkflow(testContext(d.t), payout.WorkflowID(d.words["inv-1042"]), "", "test"))
		_, err := d.stack.in(d.t).pikeClient(pike.V1).ConfirmSession(testContext(d.t), d.words["ps_1042"], "")
		require.NoError(d.t, err)
	},
	"versioned_workers": func(d *desk) {
		s := d.stack.apart(d.t)
		for _, build := range []string{"v1.0.0", "v1.1.0"} {
			startWorkerProcess(d.t, append(workerEnvironment(d.t, s, s.simURL), "TEMPORAL_DEPLOYMENT_NAME=payouts", "TEMPORAL_WORKER_BUILD_ID="+build))
		}
		s.setCurrent("payouts", "v1.0.0")
		d.start(s, order(d.t, pikesim.PresetConfirmed, manual), payout.StateAwaitingDecision)
	},
	"card_token": (*desk).writeToken,
	"pike_has_the_new_key": func(d *desk) {
		keys, err := config.ReadPublicKeys(filepath.Join(d.folder, "keys", "pike-2027-public.pem"))
		require.NoError(d.t, err)
		sim, err := pikesim.New(pikesim.Config{PartnerKeys: append(keys, &shared.partnerKey.PublicKey), Project: project, Logger: testLogger()})
		require.NoError(d.t, err)
		server := httptest.NewServer(sim.Handler())
		d.t.Cleanup(server.Close)
		d.set("PIKE_BASE_URL", server.URL)
		d.writeToken()
	},
	"pike_sent_a_new_key": func(d *desk) {
		for name, key := range map[string]*rsa.PublicKey{"pike.pem": &shared.pikeKey.PublicKey, "pike-new.pem": &shared.partnerKey.PublicKey} {
			d.write(name, []byte(publicPEM(d.t, key)))
		}
	},
	"keyset_file": func(d *desk) {
		content, err := os.ReadFile(shared.keyset.file)
		require.NoError(d.t, err)
		d.write("keyset.json", content)
		d.startManual()
	},
	"wrong_keyset": func(d *desk) {
		s := d.stack.apart(d.t)
		w := startWorkerProcess(d.t, workerEnvironment(d.t, s, s.simURL))
		r := order(d.t, pikesim.PresetConfirmed, manual)
		d.start(s, r, payout.StateAwaitingDecision)
		w.stop()
		foreign, err := codec.NewKeyset()
		require.NoError(d.t, err)
		keys := keyset{keys: foreign, file: filepath.Join(d.folder, "wrong.json")}
		require.NoError(d.t, keys.write())
		startWorkerProcess(d.t, append(workerEnvironment(d.t, s, s.simURL), keys.environment()))
		s.nudge([]openPayout{{Request: r}})
		s.tasksFail(r)
	},
	"gateway_in_clear": func(d *desk) {
		s := d.stack.in(d.t)
		gateway := startGatewayProcess(d.t, "PAYOUTS_ENCRYPTION_KEYSET_FILE=", "PAYOUTS_TASK_QUEUE="+s.taskQueue)
		d.words["ps_1042"] = fmt.Sprintf("ps_%d", time.Now().UnixNano())
		body := webhookOf("payment_finished", d.words["ps_1042"], "never-started-here", "accepted", "succeeded")
		require.Equal(d.t, http.StatusOK, post(d.t, "http://"+gateway.host(), body, shared.pikeKey))
		require.Eventually(d.t, func() bool {
			found, err := tryTemporalCLI(d.t, "workflow", "list", "--query", "WorkflowType='"+payout.LateEventWorkflowType+"' AND ExecutionStatus='Failed'")
			return err == nil && strings.Contains(found, d.words["ps_1042"])
		}, time.Minute, 200*time.Millisecond)
	},
	"started_in_clear": func(d *desk) {
		s := d.stack.in(d.t)
		r := inClear(order(d.t, pikesim.PresetConfirmed))
		_, err := s.starterWith(nil).Start(testContext(d.t), r)
		require.NoError(d.t, err)
		_, err = s.starterWith(nil).Wait(testContext(d.t), r.PayoutID)
		require.ErrorIs(d.t, err, starter.ErrNoResult)
		d.words["inv-1042"] = r.PayoutID
	},
}

// start starts a payout and makes it the one of which the document speaks, once it is in the state.
func (d *desk) start(s *stack, r payout.Request, state payout.State) {
	d.t.Helper()
	s = s.in(d.t)
	s.start(r)
	s.eventually(r, state)
	d.speakOf(s, r)
}

func (d *desk) startManual() {
	d.t.Helper()
	d.start(d.stack, order(d.t, pikesim.PresetConfirmed, manual), payout.StateAwaitingDecision)
}

// startRaising waits until operators find the payout by its attention.
func (d *desk) startRaising(s *stack, r payout.Request, reason payout.AttentionReason) {
	d.t.Helper()
	s = s.in(d.t)
	s.start(r)
	require.Eventually(d.t, func() bool {
		for summary, err := range s.starter.List(testContext(d.t), starter.Filter{Attention: reason}) {
			if err == nil && summary.PayoutID == r.PayoutID {
				return true
			}
		}
		return false
	}, time.Minute, 50*time.Millisecond, "%s never raised %s", r.PayoutID, reason)
	d.speakOf(s, r)
}

func (d *desk) startHeld(s *stack) {
	d.t.Helper()
	r := order(d.t, pikesim.PresetConfirmed)
	s.start(r)
	s.eventuallyHeld(r)
	d.speakOf(s, r)
}

func (d *desk) speakOf(s *stack, r payout.Request) {
	d.t.Helper()
	status, err := s.starter.Get(testContext(d.t), r.PayoutID)
	require.NoError(d.t, err)
	d.words["inv-1042"], d.words["ps_1042"] = r.PayoutID, status.SessionID
}

// ready makes a process, once it is ready, the one that the variable names.
func (d *desk) ready(variable, ops string) {
	d.t.Helper()
	waitUntilReady(d.t, ops)
	d.set(variable, ops)
}

func waitUntilReady(t *testing.T, ops string) {
	t.Helper()
	require.Eventually(t, func() bool {
		response, err := opsClient.Get("http://" + ops + "/readyz")
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		return response.StatusCode == http.StatusOK
	}, time.Minute, 50*time.Millisecond, "%s is not ready", ops)
}

// reap makes a process the one of which the document speaks, and takes its end: to kill -0 a process lives until then.
func (d *desk) reap(p *process) {
	d.words["4711"] = fmt.Sprint(p.cmd.Process.Pid)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = p.cmd.Wait() }()
	d.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-ended
	})
}

func (d *desk) writeToken() {
	d.t.Helper()
	d.write("token.txt", []byte(pikesim.Token(pikesim.PresetConfirmed)))
}

func (d *desk) write(name string, content []byte) {
	d.t.Helper()
	require.NoError(d.t, os.WriteFile(filepath.Join(d.folder, name), content, 0o600))
}
