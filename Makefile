# Covey's handles. `make help` lists them; `make demo` and `make test` set up everything they need.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
PY := $(VENV)/bin/python
ENGINE := $(shell docker info >/dev/null 2>&1 && echo yes)
# Tests that hang say where, and end. End-to-end tests set longer limits of their own.
PYTEST := $(PY) -m pytest --timeout=300
export VENV
# Tests and scripts call the tools of the environment by name.
export PATH := $(abspath $(VENV))/bin:$(PATH)

.PHONY: help setup demo test test-quick test-e2e test-nat nat-lab lint format bench soak proto lock images clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv ready (every other target does it by itself)
	@scripts/setup.sh

demo: setup ## Two nodes talk over a relay on this machine, shown step by step; no Docker needed
	@$(PY) scripts/demo.py

test: lint ## Lint, types and all tests that this machine can run (end-to-end ones where a container engine answers)
	@$(PYTEST) $(ARGS)

test-quick: setup ## The tests that need neither containers nor foreign libp2ps nor root
	@$(PYTEST) -m "not e2e and not interop and not lab" $(ARGS)

test-e2e: setup ## Only the end-to-end tests: production images across NATed containers
	@COVEY_TEST_REQUIRE_ENGINE=1 $(PYTEST) -m e2e $(ARGS)

test-nat: setup ## Only the NAT tests: the matrix and its faults in containers, the lab in namespaces (as root)
	@COVEY_TEST_REQUIRE_ENGINE=1 $(PYTEST) tests/nat $(ARGS)

nat-lab: setup ## Time to a direct connection between NATs with 20 ms a hop (RUNS=3, ARGS="--pair 1/3"; as root)
	@$(PY) -m tests.nat.lab --runs $(or $(RUNS),3) $(ARGS)

lint: setup ## ruff, mypy --strict, shellcheck, hadolint, yamllint
	@scripts/lint.sh

format: setup ## Let ruff format the code and mend what it can
	@$(VENV)/bin/ruff format
	@$(VENV)/bin/ruff check --fix

bench: setup ## Benchmarks: a table and build/bench/NAME.json (ONLY=crypto|delivery|relay|direct|mailbox|start|images)
	@$(PY) -m benchmarks $(if $(ONLY),--only $(ONLY))

soak: setup ## Mail between two who are never there together, relays and nodes killed at random (MESSAGES=100000 FOR=3600 s)
	@$(PY) -m benchmarks.soak --messages $(or $(MESSAGES),100000) --seconds $(or $(FOR),3600)

proto: setup ## Generate the protobuf modules from the .proto files
	@PROTO_PYTHON="$(PY)" scripts/proto.sh

lock: setup ## Write requirements/*.txt anew from pyproject.toml (ARGS=--upgrade takes newer versions)
	@scripts/lock.sh $(ARGS)

images: ## Build the three images: covey-node, covey-relay, covey-bootstrap (tag: local)
	@scripts/images.sh

clean: ## Remove .venv, build output, caches, and the containers and volumes of docker-compose.yml
	@if [ -n "$(ENGINE)" ]; then docker compose --profile demo down --volumes --remove-orphans; fi
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis tests/interop/js/node_modules benchmarks/js/node_modules
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
