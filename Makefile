# Everything a developer or a CI machine runs. Needs Go, make and, for
# `make test`, a C compiler (the race detector) and openssl (test vectors).

GO       ?= go
FUZZTIME ?= 20s
# Of chaos and attack.
SEED     ?= 1
DURATION ?= 5m
PAYOUTS  ?= 0
RATE     ?= 1
SCALE    ?= 10

# The demo and the end-to-end tests use this Temporal CLI.
export PAYOUTS_TEMPORAL_BIN := $(CURDIR)/bin/temporal

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Steps of one target share two cores and one Go build cache: side by side they only get in each other's way.
.NOTPARALLEL:

.PHONY: help
help: ## show this list
	@echo "usage: make <target>"
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build temporal ## pay a few payouts on a Temporal server of its own, show them live, stop
	@echo "==> demo"
	@bin/payouts demo

.PHONY: dev
dev: build temporal ## the same, and leave everything running (Ctrl-C stops it)
	@echo "==> demo that keeps running"
	@bin/payouts demo --keep

.PHONY: build
build: ## bin/payouts
	@echo "==> building bin/payouts (the first build compiles the Temporal SDK too, about a minute)"
	@$(GO) build -o bin/payouts ./cmd/payouts

.PHONY: temporal
temporal: bin/temporal ## bin/temporal, the Temporal CLI with its dev server: the one on PATH, else built from tools/

# Removed first: the link must not be found on PATH, nor be written through.
bin/temporal: tools/go.mod tools/go.sum
	@mkdir -p bin && rm -f $@
	@if found=$$(command -v temporal) && "$$found" --version >/dev/null 2>&1; then \
		echo "==> Temporal CLI: linking the one on PATH, $$("$$found" --version)"; \
		ln -s "$$found" $@; \
	else \
		echo "==> Temporal CLI: building bin/temporal (the first build takes about 3 minutes)"; \
		cd tools && $(GO) build -o ../$@ github.com/temporalio/cli/cmd/temporal && touch ../$@; \
	fi

.PHONY: test
test: build temporal vet workflowcheck rules test-packages test-beside-chaos ## everything CI runs: vet, workflowcheck, all tests, a slice of chaos and fuzzing
	@echo "==> all passed"

.PHONY: test-packages
test-packages:
	@echo "==> tests of the packages, with the race detector"
	@packages=$$($(GO) list ./... | grep -v '/e2e') && $(GO) test -race -timeout 10m $$packages

# Chaos with real processes waits for settle delays nearly all the time, so everything else runs beside it.
.PHONY: test-beside-chaos
test-beside-chaos: build temporal
	@echo "==> 5 minutes of chaos with real processes begin, to run beside all that follows; bin/chaos.log"
	@$(GO) test -c -o bin/chaos.test ./e2e/chaos
	@(cd e2e/chaos && ../../bin/chaos.test -test.v -test.timeout 25m -chaos.duration 5m -chaos.seed $(SEED) -chaos.rate 0.5) >bin/chaos.log 2>&1 & chaos=$$!; \
	$(MAKE) --no-print-directory e2e webui test-chaos-memory breakages test-fuzz; rest=$$?; \
	echo "==> waiting for the chaos to end"; wait $$chaos; chaos=$$?; cat bin/chaos.log; \
	[ $$rest -eq 0 ] && [ $$chaos -eq 0 ]

.PHONY: e2e
e2e: build temporal ## the end-to-end tests: a real Temporal server, real HTTP, real processes; about 6 minutes, most of it waiting
	@echo "==> end-to-end tests: a real Temporal server, real HTTP, real processes (about 6 minutes)"
	@$(GO) test -race -count=1 -parallel 24 -timeout 20m ./e2e

.PHONY: examples
examples: build temporal ## the callers of examples/ against the encrypted demo (TypeScript needs node and npm, the CLI jq); part of the packages' tests
	@$(GO) test ./cmd/payouts -count=1 -v -run 'TestExamples$$'

# A module of its own: nothing else depends on a browser.
.PHONY: webui
webui: build temporal ## what operators do in the Temporal Web UI, in headless Chromium; about 40 seconds, skipped without a browser (WEBUI_REQUIRED=1: an error)
	@echo "==> the Temporal Web UI in headless Chromium; screenshots in bin/webui"
	@cd e2e/webui && $(GO) vet . && $(GO) test -count=1 -timeout 10m -v . -screenshots ../../bin/webui

.PHONY: screenshots
screenshots: ## take the screenshots of the documents anew
	@WEBUI_REQUIRED=1 $(MAKE) --no-print-directory webui
	@cp bin/webui/list.png docs/webui-list.png && cp bin/webui/details.png docs/webui-payout.png

.PHONY: test-chaos-memory
test-chaos-memory:
	@echo "==> chaos in memory: 50,000 payouts (about 2 minutes)"
	@$(GO) test ./workflows -count=1 -timeout 15m -run 'TestChaosInMemory$$' -v -chaos.payouts 50000

# By number: at the end of a time Go's fuzzing now and then fails by itself ("context deadline exceeded").
.PHONY: test-fuzz
test-fuzz:
	@echo "==> every fuzz test with 5,000 inputs"
	@$(MAKE) --no-print-directory fuzz FUZZTIME=5000x

.PHONY: e2e-postgres
e2e-postgres: temporal bin/temporal-server bin/temporal-sql-tool ## docker-compose.yml as processes: Temporal on PostgreSQL (needs one installed), its database crashing; then the facts about Temporal there
	@echo "==> Temporal on PostgreSQL, two workers, two gateways (about 5 minutes)"
	@$(GO) test ./e2e/chaos -count=1 -timeout 30m -v -run 'OnPostgreSQL$$' -chaos.postgres

.PHONY: e2e-replay
e2e-replay: build temporal ## the end-to-end tests with sticky cache 0: every workflow task replays its history
	@$(GO) test -count=1 -parallel 24 -timeout 20m ./e2e -sticky-cache 0

.PHONY: breakages
breakages: temporal ## take one guard out at a time, beside the tree; each time a named test must fail
	@echo "==> breakages: each guard is proven by its absence (about a minute)"
	@cd e2e && $(GO) test -count=1 -tags breakages -run TestBreakages

.PHONY: fuzz
fuzz: ## every fuzz test for FUZZTIME (20s)
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed -E 's/(.*)\/[^/]*:func (.*)/\1 \2/' | \
	while read -r package name; do \
		echo "==> $$package $$name, $(FUZZTIME)"; \
		$(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) "$$package" || exit 1; \
	done

.PHONY: histories
histories: temporal ## record workflows/testdata/histories anew (only while no older payout can be open); about 9 minutes
	@$(GO) test -count=1 -tags record -run TestRecordHistories -parallel 30 -timeout 15m ./e2e -encrypt=false
	@$(GO) test -count=1 -tags record -run TestRecordAParkedPayout ./e2e -encrypt=false -suggest-continue-as-new 30

.PHONY: chaos
chaos: chaos-memory chaos-processes ## both, each for DURATION (5m) from SEED (1); the simulator's ledger judges

.PHONY: chaos-memory
chaos-memory: ## payouts in memory with faults by chance for DURATION (5m), or PAYOUTS of them, from SEED (1)
	@$(GO) test ./workflows -count=1 -timeout 0 -run 'TestChaosInMemory$$' -v -chaos.payouts $(PAYOUTS) -chaos.seed $(SEED) -chaos.duration $(if $(filter 0,$(PAYOUTS)),$(DURATION),0)

.PHONY: chaos-processes
chaos-processes: build temporal ## real processes killed, frozen and cut off for DURATION (5m), RATE (1) payouts per second, from SEED (1)
	@$(GO) test ./e2e/chaos -count=1 -timeout 0 -v -chaos.duration $(DURATION) -chaos.seed $(SEED) -chaos.rate $(RATE)

.PHONY: crash
crash: build temporal ## the crash matrix alone, with its tables (about 4 minutes)
	@$(GO) test ./e2e -count=1 -v -parallel 24 -timeout 15m -run 'TestWorkerKilled|TestCancellationAt|TestWorkerStopped|TestFrozen'

.PHONY: attack
attack: build temporal ## attacks and outages of the webhook gateway, SCALE (10) times as long as in `make test`
	@$(GO) test ./e2e -count=1 -timeout 0 -v -run 'TestAttack|TestOutage' -attack.scale $(SCALE)

.PHONY: bench
bench: ## benchmarks
	@$(GO) test -run '^$$' -bench . -benchmem $$($(GO) list ./... | grep -v '/e2e')

.PHONY: vet
vet: ## go vet
	@echo "==> go vet"
	@$(GO) vet ./...

.PHONY: workflowcheck
workflowcheck: bin/workflowcheck ## look for non-deterministic calls in workflow code
	@echo "==> workflowcheck"
	@bin/workflowcheck -config workflows/workflowcheck.config.yaml ./workflows/...

# A module of its own: it compiles Prometheus' query engine, which the service has no part in.
.PHONY: rules
rules: ## alerts and dashboard: what fires when, and that every expression names metrics and labels that exist
	@echo "==> alerts and dashboard (the first build takes about a minute)"
	@cd tools/prometheus && $(GO) vet . && $(GO) test -count=1 .
	@! command -v promtool >/dev/null || { cd deploy/prometheus && promtool check config prometheus.yml && promtool test rules rules_test.yml; }

.PHONY: lint
lint: bin/golangci-lint workflowcheck ## golangci-lint and workflowcheck
	@echo "==> golangci-lint"
	@bin/golangci-lint run ./...
	@for module in e2e/webui tools/compose tools/prometheus; do echo "==> golangci-lint in $$module"; (cd $$module && ../../bin/golangci-lint run ./...) || exit 1; done

bin/workflowcheck: tools/lint/go.mod tools/lint/go.sum
	@echo "==> building $@"
	@mkdir -p bin
	@cd tools/lint && $(GO) build -o ../../$@ go.temporal.io/sdk/contrib/tools/workflowcheck && touch ../../$@

bin/golangci-lint: tools/lint/go.mod tools/lint/go.sum
	@echo "==> building $@ (the first build takes about a minute)"
	@mkdir -p bin
	@cd tools/lint && $(GO) build -o ../../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint && touch ../../$@

# The two share nearly all that is compiled.
bin/temporal-server bin/temporal-sql-tool: bin/temporal-%: tools/server/go.mod tools/server/go.sum
	@echo "==> building $@ (the first build of the server takes about 4 minutes)"
	@mkdir -p bin
	@cd tools/server && $(GO) build -o ../../$@ $(TEMPORAL_PACKAGE_$*) && touch ../../$@
TEMPORAL_PACKAGE_server   := go.temporal.io/server/cmd/server
TEMPORAL_PACKAGE_sql-tool := go.temporal.io/server/cmd/tools/sql

.PHONY: clean
clean: ## remove what was built and what demos left behind
	rm -rf bin .dev
