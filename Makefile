# Two commands do everything: `make up` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What every cargo call needs.
cargo = deploy/dev/packages.sh build; eval "$$(deploy/dev/rocksdb.sh)"; cargo

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: up
up: ## install what is missing, build, start Marina on this machine
	@deploy/dev/up.sh

.PHONY: down
down: ## stop it; data stays
	@deploy/dev/down.sh

.PHONY: test
test: ## every test that fits this machine (what is skipped says why)
	@tests/run.sh

.PHONY: vm-test
vm-test: ## the tests that need most of a kernel, in a fresh Debian 12 with cgroup v2 (QEMU)
	@tests/vm/run.sh $(ARGS)

.PHONY: clients
clients: ## other languages' clients and kubectl against a cluster in process (downloads them)
	@tests/clients/run

.PHONY: lint
lint: ## format and lints
	cargo fmt --all --check
	$(cargo) clippy --locked --workspace --all-targets -- -D warnings

.PHONY: bench
bench: ## figures of tests/bench on a release build (ARGS="--quick store")
	@tests/bench/run.sh $(ARGS)

.PHONY: simulate
simulate: ## the store's simulation for SEEDS seeds (1000)
	MARINA_SIM_SEEDS=$(or $(SEEDS),1000) && export MARINA_SIM_SEEDS && $(cargo) test --locked --release --package sim -- --nocapture
