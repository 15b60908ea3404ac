# Everything that developers and CI run. Each target installs what it lacks and says so.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

STEP := scripts/step.sh
# In CI the lock file is law; at a desk cargo may extend it.
LOCKED := $(if $(CI),--locked)
# With the tests, not alone: alone it has fewer features of shared dependencies and is built anew.
BUILD_BINARY := cargo test $(LOCKED) --workspace --no-run --quiet
DEV_BINARY := $(abspath $(or $(CARGO_TARGET_DIR),target))/debug/sidestream

REAL := tests/real
BROWSER := tests/browser
REAL_NODE := $(REAL)/node_modules/.package-lock.json
REAL_PYTHON := $(REAL)/.venv/installed
REAL_NEST := $(REAL)/results/nest/main.js
BROWSER_NODE := $(BROWSER)/node_modules/.package-lock.json
K8S := tests/k8s
K8S_PYTHON := $(K8S)/.venv/installed
K8S_PYTEST := $(K8S)/.venv/bin/python -B -m pytest -p no:cacheprovider --quiet
STATIC := $(abspath $(or $(CARGO_TARGET_DIR),target))/static

.PHONY: help demo test fmt fmt-check lint unit sim e2e cargo-test pod real browser k8s static image bench load bars deny clean
.PHONY: ensure-build ensure-pod ensure-real ensure-browser ensure-k8s ensure-static

help: ## Lists the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 18

demo: ensure-build ## Sidestream before a small app, with a page to look at (ARGS="--upstream URL" for your app)
	cargo run --release $(LOCKED) -- demo $(ARGS)

test: ensure-build ensure-pod ensure-real ensure-browser ensure-k8s ensure-static
test: fmt-check lint cargo-test pod real browser k8s image ## All checks and tests; what CI runs
	@echo "all checks and tests passed"

fmt: ## Formats the Rust code
	cargo fmt --all

fmt-check:
	@$(STEP) "format" cargo fmt --all --check

lint: ensure-build ## Clippy over everything, warnings denied
	@$(STEP) "clippy" cargo clippy $(LOCKED) --workspace --all-targets -- -D warnings

unit: ensure-build ## Unit and property tests
	@$(STEP) "unit and property tests" cargo test $(LOCKED) --workspace --lib --bins

sim: ensure-build ## Simulations of the core (SEED=N plays the one with this seed)
	@$(STEP) "simulations" env $(if $(SEED),SIDESTREAM_SEED=$(SEED)) cargo test $(LOCKED) --lib simulation -- --nocapture

e2e: ensure-build ## End-to-end tests written in Rust
	@$(STEP) "end-to-end tests" cargo test $(LOCKED) --workspace --test '*'

cargo-test: ensure-build
	@$(STEP) "unit, property and end-to-end tests" cargo test $(LOCKED) --workspace

pod: ensure-build ensure-pod ## The end of a pod and its mounted files, played in namespaces
	@$(STEP) "build the binary" $(BUILD_BINARY)
	@$(STEP) "a pod in namespaces" env SIDESTREAM_BIN=$(DEV_BINARY) tests/pod/run.sh

real: ensure-build ensure-real $(REAL_NODE) $(REAL_PYTHON) $(REAL_NEST) ## Real apps and real clients
	@$(STEP) "build the binary" $(BUILD_BINARY)
	@$(STEP) "real apps and real clients" env SIDESTREAM_BIN=$(DEV_BINARY) npm --prefix $(REAL) test

browser: ensure-build ensure-browser $(BROWSER_NODE) ## Chromium
	@$(STEP) "build the binary" $(BUILD_BINARY)
	@$(STEP) "browser" env SIDESTREAM_BIN=$(DEV_BINARY) npm --prefix $(BROWSER) test

k8s: ensure-build ensure-k8s $(K8S_PYTHON) ## Manifests: valid, and in agreement with the configuration
	@$(STEP) "build the binary" $(BUILD_BINARY)
	@$(STEP) "manifests" env SIDESTREAM_BIN=$(DEV_BINARY) $(K8S_PYTEST) $(K8S)/test_manifests.py $(K8S)/test_rules.py

static: ensure-static ## The static binary of the container image
	@$(STEP) "build the static binary" scripts/static-binary.sh $(STATIC)

image: static ensure-k8s $(K8S_PYTHON) ## The container image's files in an empty root, without Docker
	@$(STEP) "image" env SIDESTREAM_BIN=$(STATIC)/sidestream scripts/own-network.sh $(K8S_PYTEST) $(K8S)/test_image.py

bench: ensure-build ## Benchmarks of the core (ARGS="sweep --save-baseline before": which, and more)
	cargo bench $(LOCKED) --bench fast_path -- $(ARGS)

load: ensure-build ## Thousands of subscribers: correctness and latency
	@$(STEP) "build for load" cargo build --release $(LOCKED) --workspace --bins
	@$(STEP) "load" loadtest/run.sh core

bars: ensure-build ## What takes long: ten minutes of silence, 10,000 channels, 10,000 clients
	@$(STEP) "long end-to-end tests" cargo test $(LOCKED) --test fanout -- --ignored --test-threads 1
	@$(STEP) "build for load" cargo build --release $(LOCKED) --workspace --bins
	@$(STEP) "stalled readers" loadtest/run.sh stalled

deny: ## Advisories, licences and sources of the dependencies (needs cargo-deny)
	@cargo deny --version || { echo "install it: cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny check

clean: ## Removes everything that was built or installed into this folder
	cargo clean
	rm -rf $(REAL)/{node_modules,.venv,results} $(BROWSER)/{node_modules,results} $(K8S)/.venv

ensure-build ensure-pod ensure-real ensure-browser ensure-k8s ensure-static: ensure-%:
	@scripts/ensure.sh $*

$(REAL_NODE): $(REAL)/package-lock.json
	@$(STEP) "npm packages of $(REAL)" npm --prefix $(REAL) ci --loglevel=error
	@touch $@

$(BROWSER_NODE): $(BROWSER)/package-lock.json
	@$(STEP) "npm packages of $(BROWSER)" npm --prefix $(BROWSER) ci --loglevel=error
	@touch $@

$(REAL_PYTHON): $(REAL)/requirements.txt
	@$(STEP) "Python packages of $(REAL)" scripts/venv.sh $(REAL)/.venv $<
	@touch $@

$(K8S_PYTHON): $(K8S)/requirements.txt $(K8S)/kubectl.txt $(K8S)/fetch_kubectl.py
	@$(STEP) "Python packages of $(K8S)" scripts/venv.sh $(K8S)/.venv $<
	@$(STEP) "kubectl" $(K8S)/.venv/bin/python $(K8S)/fetch_kubectl.py
	@touch $@

$(REAL_NEST): $(REAL_NODE) $(wildcard $(REAL)/apps/nest/src/*.ts) $(REAL)/apps/nest/tsconfig.json
	@$(STEP) "compile the NestJS app" npm --prefix $(REAL) run build
	@touch $@
