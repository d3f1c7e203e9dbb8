# Muster: `make help` lists what can be made.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
UV := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header pyproject.toml

.PHONY: help demo demo-backfill test check lint types imports unit lock bench bench-10m dist coverage clean

help: ## List the targets.
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

# One stamp a lock file: installing again is skipped until the lock or the package changes.
$(VENV)/.%: infra/lock/%.txt pyproject.toml setup.py
	@test -x $(BIN)/python || $(PYTHON) infra/new_venv.py $(VENV)
	@echo "installing $< into $(VENV)"
	@$(PIP) --require-hashes --only-binary :all: --no-binary pyspark -r $<
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

demo: $(VENV)/.demo ## Backfill a month of real data, plan first; writes below ./demo only.
	@$(BIN)/muster run solicit --program product-reviews --from 2017-03-01 --to 2017-03-31 --env local --out demo
	@$(BIN)/muster status --out demo
	@echo
	@echo "Next, try:"
	@echo "  $(BIN)/muster plan solicit --program product-reviews --from 2017-03-25 --to 2017-04-07 --out demo -o plan.json"
	@echo "  $(BIN)/muster apply plan.json"
	@echo "  $(BIN)/muster candidates by-channel --program product-reviews --channel email --limit 10 --out demo"
	@echo "  $(BIN)/muster candidates by-customer --customer 1 --out demo"
	@echo "  $(BIN)/muster run solicit --program product-reviews --from 2017-04-01 --to 2017-04-07 --out demo --json"

demo-backfill: $(VENV)/.demo ## Backfill all of 2017, 365 units; stop it and run it again as you like.
	@$(BIN)/muster run solicit --program product-reviews --from 2017-01-01 --to 2017-12-31 --env local --out demo-backfill
	@$(BIN)/muster status --out demo-backfill

test: $(VENV)/.test ## Install what the tests need and run all of them.
	@$(MAKE) --no-print-directory lint types imports
	@$(PYTEST) -n 2 --dist loadfile

check: $(VENV)/.test lint types imports unit ## What every commit must pass.

lint: $(VENV)/.test ## Style.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .

types: $(VENV)/.test ## Types, strictly.
	@$(BIN)/mypy

imports: $(VENV)/.test ## Imports point downwards only.
	@$(BIN)/lint-imports

unit: $(VENV)/.test ## Unit tests.
	@$(PYTEST) tests/unit -q -n 2

bench: $(VENV)/.bench ## Time Muster beside its peers; prints ratios from one run.
	@$(BIN)/python -m benchmarks

bench-10m: $(VENV)/.bench ## Ten million events through the whole chain.
	@$(BIN)/python -m benchmarks --only 10m

coverage: $(VENV)/.test ## Write tests/properties/COVERAGE.md anew.
	@$(BIN)/python -m tests.properties.coverage

lock: ## Resolve the lock files anew from pyproject.toml.
	@test -x $(BIN)/python || $(PYTHON) infra/new_venv.py $(VENV)
	@$(BIN)/python -m pip install --quiet uv
	@$(UV) --extra checkout --extra demo -o infra/lock/demo.txt
	@$(UV) --extra checkout --extra demo --extra train --extra bench --extra test -o infra/lock/test.txt
	@$(UV) --extra checkout --extra bench -o infra/lock/bench.txt

dist: $(VENV)/.test ## Build the source distribution that Dataflow's --setup_file uses.
	@$(BIN)/python -m build --sdist

clean: ## Remove what was built and what the demo wrote.
	@rm -rf $(VENV) demo demo-backfill build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
