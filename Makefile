# Muster: `make help` lists what can be made.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
SPARK35 := .spark35
MINISTACK := .ministack
UV := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header pyproject.toml

.PHONY: help demo demo-query demo-backfill test check lint types imports unit lock bench bench-10m dist coverage clean

help: ## List the targets.
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

# One stamp a lock file: installing again is skipped until the lock or the package changes.
$(VENV)/.%: infra/lock/%.txt pyproject.toml setup.py
	@test -x $(BIN)/python || $(PYTHON) infra/new_venv.py $(VENV)
	@echo "installing $< into $(VENV)"
	@$(PIP) --require-hashes --only-binary :all: --no-binary pyspark -r $<
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# Glue 5 and EMR 7 have Spark 3.5. Put before the tests' packages, pyspark is all that it changes.
$(SPARK35)/.done: infra/lock/spark35.txt | $(VENV)/.test
	@echo "installing $< into $(SPARK35)"
	@rm -rf $(SPARK35)
	@$(PIP) --require-hashes --no-deps --no-build-isolation --only-binary :all: --no-binary pyspark \
		--target $(SPARK35) -r $<
	@touch $@

# A server of Athena's interface for tests; it asks for older packages than ours.
$(MINISTACK)/.done: infra/lock/ministack.txt | $(VENV)/.test
	@echo "installing $< into $(MINISTACK)"
	@rm -rf $(MINISTACK)
	@$(PIP) --require-hashes --no-deps --only-binary :all: --target $(MINISTACK) -r $<
	@touch $@

demo: $(VENV)/.demo ## Backfill a month of real data, merge it, query it; writes below ./demo only.
	@$(BIN)/muster run solicit --program product-reviews --from 2017-03-01 --to 2017-03-31 --env local --out demo
	@$(BIN)/muster merge daily --from 2017-03-01 --to 2017-03-31 --out demo
	@$(BIN)/muster merge monthly --month 2017-03 --out demo
	@$(BIN)/muster status --out demo
	@if java -version >/dev/null 2>&1; then $(MAKE) --no-print-directory demo-query; \
	  else echo "Java 17 is not there: with it, 'make demo-query' queries the merged files in Spark."; fi
	@echo
	@echo "Next, try:"
	@echo "  $(BIN)/muster plan solicit --program product-reviews --from 2017-03-25 --to 2017-04-07 --out demo -o plan.json"
	@echo "  $(BIN)/muster apply plan.json"
	@echo "  $(BIN)/muster candidates by-channel --program product-reviews --channel email --limit 10 --out demo"
	@echo "  $(BIN)/muster candidates by-customer --customer 1 --out demo"
	@echo "  $(BIN)/muster run solicit --program product-reviews --from 2017-04-01 --to 2017-04-07 --out demo --json"
	@echo "  $(BIN)/muster merge daily --from 2017-04-01 --to 2017-04-07 --plan --out demo"
	@echo "  $(BIN)/muster athena ddl --type candidate --partitions --out demo"

demo-query: $(VENV)/.bench ## Query what the demo merged, by the printed DDL, in Spark (needs Java 17).
	@$(BIN)/python infra/query_with_spark.py --out demo 2>/dev/null || \
	  $(BIN)/python infra/query_with_spark.py --out demo

demo-backfill: $(VENV)/.demo ## Backfill all of 2017, 365 units; stop it and run it again as you like.
	@$(BIN)/muster run solicit --program product-reviews --from 2017-01-01 --to 2017-12-31 --env local --out demo-backfill
	@$(BIN)/muster status --out demo-backfill

test: $(VENV)/.test $(SPARK35)/.done $(MINISTACK)/.done ## Install what the tests need and run all of them.
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
	@$(UV) --extra checkout --extra demo --extra train --extra bench --extra test -o infra/lock/test.txt
	@$(UV) --constraints infra/lock/test.txt --extra checkout --extra demo -o infra/lock/demo.txt
	@$(UV) --constraints infra/lock/test.txt --extra checkout --extra bench -o infra/lock/bench.txt
	@printf '%s\n' 'ministack>=1.5' 'duckdb-extension-avro>=1.5' 'duckdb-extensions>=1.5' | \
	  $(UV:pyproject.toml=-) -o infra/lock/ministack.txt
	@echo 'pyspark>=3.5,<3.6' | $(UV:pyproject.toml=-) -o infra/lock/spark35.txt

dist: $(VENV)/.test ## Build the source distribution that Dataflow's --setup_file uses.
	@$(BIN)/python -m build --sdist

clean: ## Remove what was built and what the demo wrote.
	@rm -rf $(VENV) $(SPARK35) $(MINISTACK) demo demo-backfill build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
