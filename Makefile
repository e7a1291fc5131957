# Everything is built by the go command; these are the words for it. `make help` lists them.

GO ?= go
# How long each fuzz target runs, how many seeds the simulation and how many moments the trial tries, which folder the demo stores (none: Go's own source), how many records a tree is measured with.
FUZZTIME ?= 10s
SEEDS ?= 2000
POINTS ?= 100
DIR ?=
ROWS ?= 1000000
# What the benchmark measures, as: BENCH='-mb 4000 -rounds 1'. FILES is so many small ones instead, and a tenth of them.
BENCH ?=
FILES ?=

# One static binary, the same bytes from any folder.
BUILD = CGO_ENABLED=0 $(GO) build -trimpath

# Folders whose tests hold a pattern.
holding = $$(grep -rlE --include='*_test.go' '$(1)' . | xargs -r -n 1 dirname | sort -u)

.DEFAULT_GOAL := build
.PHONY: build test tools lint test-race test-scripts test-sim test-big trial demo fuzz bench bench-tables bench-parts sim vectors economy clean help

build: ## build bin/grange
	$(BUILD) -o bin/grange ./cmd/grange

test: tools lint test-race test-scripts test-sim test-big ## all checks and tests that a change must pass

tools: ## what a test needs besides Go: ip, which makes networks; python3, which reads tables by SPEC
	@command -v ip >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends iproute2; } \
		|| echo 'NOTE: there is no ip (of iproute2) here: what needs a local network is not tested.'
	@command -v python3 >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3; } \
		|| echo 'NOTE: there is no python3 here: that another program reads an exported table is not tested.'

# The tag only adds tests, so that with it everything is read.
lint: ## go vet, gofumpt and staticcheck, all clean
	$(GO) vet -tags big ./...
	@echo '$(GO) tool gofumpt -l .'
	@files="$$($(GO) tool gofumpt -l .)" && if [ -n "$$files" ]; then echo "gofumpt would change:"; echo "$$files"; exit 1; fi
	$(GO) tool staticcheck -tags big ./...

# Tests of real processes wait much and compute little: so there are more of them at once than cores.
SIDE_BY_SIDE = -p $$(($$(getconf _NPROCESSORS_ONLN) + 2))

# Some tests build the program themselves, of which the cache of results knows nothing: hence -count=1.
# The race detector needs a C compiler and its headers: building cgo's own runtime tells whether both are there.
test-race:
	@if CGO_ENABLED=1 $(GO) build -race runtime/cgo 2>/dev/null; then \
		echo 'CGO_ENABLED=1 $(GO) test -race -short ./...'; \
		CGO_ENABLED=1 $(GO) test $(SIDE_BY_SIDE) -count=1 -race -short -timeout 15m ./...; \
	else \
		echo 'NOTE: no working C compiler here, so the tests run WITHOUT the race detector.'; \
		echo 'CGO_ENABLED=0 $(GO) test -short ./...'; \
		CGO_ENABLED=0 $(GO) test $(SIDE_BY_SIDE) -count=1 -short -timeout 15m ./...; \
	fi

test-scripts: ## the commands, as scripts with real agents, without the race detector
	CGO_ENABLED=0 $(GO) test -count=1 -timeout 15m ./cmd/grange

# Large inputs and what memory they take: the race detector's own memory would be measured with it.
# Such a test is built with the tag "big", and its name ends with Big.
test-big: ## the tests with large inputs, without the race detector
	@set -e; dirs=$(call holding,^//go:build big$$); \
	if [ -z "$$dirs" ]; then echo 'no tests with the tag big'; exit 0; fi; \
	echo "$(GO) test -tags big -run 'Big$$'" $$dirs; \
	CGO_ENABLED=0 $(GO) test -tags big -count=1 -timeout 30m -run 'Big$$' $$dirs

test-sim: ## the simulation in short, without the race detector: 200 seeds
	@$(MAKE) --no-print-directory sim SEEDS=200

trial: ## bad days with real processes, POINTS (100) moments to die at in each operation
	GRANGE_TRIAL_POINTS=$(POINTS) $(GO) test -count=1 -v -timeout 60m ./internal/trial

# By way of the environment, in which a quote or a dollar of a path is only a character.
demo: export DEMO_DIR = $(value DIR)
demo: build ## five households on this machine, and what comes back when three are lost; DIR is what is stored
	@$(GO) run ./internal/demo -bin bin/grange -dir "$$DEMO_DIR"

fuzz: ## every fuzz target, FUZZTIME (10s) each
	@set -e; for dir in $(call holding,^func Fuzz); do \
		for target in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$dir/*_test.go | cut -d ' ' -f 2); do \
			echo "$$dir $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$dir; \
		done; \
	done

bench: build ## put, get, start and memory beside cp, and restic if it is installed; BENCH has its flags; without any, bench-tables too
	@$(GO) run ./internal/bench -bin bin/grange $(if $(FILES),-files $(FILES)) $(BENCH)
	$(if $(FILES)$(BENCH),,@$(MAKE) --no-print-directory bench-tables)

bench-tables: ## tables of ROWS (1000000) rows: their trees beside pebble itself, answers, joins, and the memory of 10 million
	$(GO) test -run '^$$' -bench '^BenchmarkShelf$$' -benchtime 3s -timeout 60m ./service/table -rows $(ROWS)
	$(GO) test -run '^$$' -bench '^BenchmarkAnswer$$' -timeout 60m ./service/table -rows 10000
	$(GO) test -run '^$$' -bench '^BenchmarkAnswer$$' -timeout 60m ./service/table -rows $(ROWS)
	$(GO) test -run '^$$' -bench '^BenchmarkSettle$$' -benchtime $(ROWS)x -timeout 60m ./service/table
	$(GO) test -run '^$$' -bench 'Join|Reconcile' -benchtime 1x -timeout 60m ./service/gossip
	CGO_ENABLED=0 $(GO) test -run '^$$' -bench '^BenchmarkShelfMemory$$' -benchtime 60x -timeout 60m ./service/table -rows 10000000

bench-parts: ## every benchmark of a part of the program
	$(GO) test -run '^$$' -bench . -benchmem ./...

sim: ## the simulation, with SEEDS (2000) seeds
	@set -e; dirs=$(call holding,^func TestSim); \
	if [ -z "$$dirs" ]; then echo 'no simulation'; exit 1; fi; \
	echo "GRANGE_SIM_SEEDS=$(SEEDS) $(GO) test -run '^TestSim'" $$dirs; \
	GRANGE_SIM_SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 60m -run '^TestSim' $$dirs

vectors: ## write docs/vectors anew; they are promises: look at what changed
	@set -e; for dir in $(call holding,/internal/golden"); do \
		echo "$(GO) test -run Vector $$dir -update"; \
		$(GO) test -count=1 -run Vector $$dir -update; \
	done

economy: ## draw the curves of the simulated barter, docs/economy-*.svg, anew
	$(GO) test -count=1 -run '^TestSimEconomyCharts$$' ./internal/economy -update

clean: ## remove what was built here
	rm -rf bin

help: ## this list
	@grep -hE '^[a-z-]+:.* ## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.* ## /  \1\t/' | expand -t 14
