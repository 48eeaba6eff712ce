# Builds, runs, checks and tests Thalweg. `make help` lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Build outputs and downloads stay outside the checkout, so that the next clone on this machine starts warm.
# THALWEG_CACHE moves the whole cache, CARGO_TARGET_DIR only the build outputs.
THALWEG_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/thalweg
CARGO_TARGET_DIR ?= $(THALWEG_CACHE)/target
export THALWEG_CACHE CARGO_TARGET_DIR

# `dev` has a first result soonest and shares its build with `make test`; `make run PROFILE=release` is what to measure.
PROFILE ?= dev
PROFILE_DIR := $(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
THALWEG := $(CARGO_TARGET_DIR)/$(PROFILE_DIR)/thalweg

# `--workspace` everywhere: one set of features, hence one build of each dependency.
CARGO_FLAGS := --workspace --locked

.PHONY: help
help: ## Lists the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 20

## ---- Using it

.PHONY: build
build: ## Builds the thalweg binary (PROFILE=dev|release|dist).
	@echo "Building $(THALWEG) (profile $(PROFILE); the first build takes minutes, the next ones seconds)" >&2
	cargo build $(CARGO_FLAGS) --profile $(PROFILE) --bin thalweg

.PHONY: run
run: build ## Builds, makes sample data, runs the example ETL script in this process and shows what it wrote.
	@examples/run.sh "$(THALWEG)"

.PHONY: run-cluster
run-cluster: build ## Three JobManagers and two workers on this machine: a stream runs on while the leader is killed.
	@examples/quorum.sh "$(THALWEG)"

.PHONY: run-stream
run-stream: build ## Shows the bids of an auction counted second by second as they come, until Ctrl-C.
	@"$(THALWEG)" sql -f examples/stream.sql

.PHONY: sql
sql: build ## Opens the interactive SQL shell.
	@"$(THALWEG)" sql

## ---- Changing it

.PHONY: fmt
fmt: ## Formats the code.
	cargo fmt --all

.PHONY: lint
lint: ## Checks format, lints and documentation, warnings denied.
	cargo fmt --all -- --check
	cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_FLAGS) --no-deps

.PHONY: deny
deny: ## Checks licences, sources and advisories of all dependencies (installs cargo-deny if it is missing).
	command -v cargo-deny >/dev/null || cargo install --locked --target-dir "$(THALWEG_CACHE)/tools" cargo-deny
	cargo deny check

## ---- Testing it

.PHONY: test
test: services lint lint-sim ## Everything that CI runs: checks, unit tests, SQL, TPC-H, kills, simulation, a real HDFS, a real Kafka.
	cargo test $(CARGO_FLAGS)
	cd integration/sim && CARGO_TARGET_DIR="$(SIM_TARGET_DIR)" cargo test --locked

# The simulation is a workspace of its own: other flags (integration/sim/.cargo/config.toml), no DataFusion.
SIM_TARGET_DIR := $(THALWEG_CACHE)/target-sim

.PHONY: lint-sim
lint-sim: ## Checks format and lints of the simulation.
	cd integration/sim && cargo fmt --all -- --check
	cd integration/sim && CARGO_TARGET_DIR="$(SIM_TARGET_DIR)" cargo clippy --locked --all-targets -- -D warnings

.PHONY: sim
sim: ## Lives the lives of SEEDS=2000 (or FROM..TO) in the simulation; ARGS=--trace prints them.
	cd integration/sim && CARGO_TARGET_DIR="$(SIM_TARGET_DIR)" cargo run --locked -- $(or $(SEEDS),2000) $(ARGS)

.PHONY: services
services: ## Installs or names what real services need, and brings their jars.
	integration/services/require.sh java mvn curl openssl ss ip
	integration/services/hadoop/fetch.sh
	integration/services/kafka/fetch.sh

# Numbers come from optimised builds only.
BENCH := $(CARGO_TARGET_DIR)/release/bench

.PHONY: bench
bench: ## Prints every benchmark (ROUNDS=3); JSON goes to the cache folder.
	cargo build $(CARGO_FLAGS) --release --bins
	mkdir -p "$(THALWEG_CACHE)/bench"
	for name in tpch cluster latency startup scheduling nexmark; do $(BENCH) $$name --json "$(THALWEG_CACHE)/bench/$$name.json"; done
	cargo bench $(CARGO_FLAGS) --bench exchange

.PHONY: bench-nexmark
bench-nexmark: ## Prints Nexmark's queries (ARGS="--queries q0,q5 --events 3000000 -D execution.checkpointing.interval=1s").
	cargo build $(CARGO_FLAGS) --release --bins
	mkdir -p "$(THALWEG_CACHE)/bench"
	$(BENCH) nexmark --json "$(THALWEG_CACHE)/bench/nexmark.json" $(ARGS)

.PHONY: duckdb
duckdb: ## Installs DuckDB for comparison into the cache folder.
	integration/services/require.sh python3
	python3 -m venv "$(THALWEG_CACHE)/duckdb"
	"$(THALWEG_CACHE)/duckdb/bin/pip" install --quiet duckdb

.PHONY: fuzz
fuzz: ## Gives decoders and the SQL parser changed and random input for longer than the tests do (CASES=...).
	PROPTEST_CASES=$(or $(CASES),100000) cargo test $(CARGO_FLAGS) --test integration garbage

.PHONY: test-tpch-long
test-tpch-long: ## Checks all 22 answers at scale factor 1 at parallelism 1, 2 and 4: embedded, on two workers, pipelined, blocking.
	cargo build $(CARGO_FLAGS) --release --bins
	for threads in 1 2 4; do \
	  for mode in PIPELINED BLOCKING; do \
	    $(BENCH) cluster --rounds 1 --threads $$threads -D execution.batch-shuffle-mode=ALL_EXCHANGES_$$mode; \
	  done; \
	done

.PHONY: drill-quorum
drill-quorum: ## Disturbs three JobManagers and their workers at 100 random moments of 25 streams (SEED=... repeats one).
	cargo build $(CARGO_FLAGS) --release --bins
	$(BENCH) quorum --jobs 25 --faults 4 $(if $(SEED),--seed $(SEED))

.PHONY: drill-network
drill-network: ## Cuts links between JobManagers, workers and HDFS, kills, stops and restarts them, at 100 random moments (as root; SEED=...).
	cargo build $(CARGO_FLAGS) --release --bins
	integration/services/require.sh java mvn curl ip
	$(BENCH) network --faults 100 $(if $(SEED),--seed $(SEED))

.PHONY: drill-stream
drill-stream: ## Kills workers at 60 random moments of 20 streams with checkpoints (SEED=... repeats one).
	cargo build $(CARGO_FLAGS) --release --bins
	$(BENCH) stream-kill --jobs 20 --kills 3 $(if $(SEED),--seed $(SEED))

.PHONY: drill-exactly-once
drill-exactly-once: ## Kills, stops and tears apart everything at 200 random moments of jobs from Kafka to Kafka and files (SEED=...).
	cargo build $(CARGO_FLAGS) --release --bins
	integration/services/require.sh java mvn curl ss
	$(BENCH) exactly-once --faults 200 $(if $(SEED),--seed $(SEED))

.PHONY: drill
drill: ## Kills a worker at 20 random moments of running jobs (SEED=... repeats one).
	cargo build $(CARGO_FLAGS) --release --bins
	$(BENCH) kill --scale 1 --kills 20 $(if $(SEED),--seed $(SEED))
