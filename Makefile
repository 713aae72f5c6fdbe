# The verbs a person types. Nothing but Python 3.11 and make is needed: the first target that needs it makes .venv.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2

.PHONY: help demo test check lint types fast bench soak exports faults clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/:/' | column -t -s:

# Editable, so that the scenarios and the package are those of the checkout.
.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# A minute or two: one isolation level, and of large contests the orders with the fewest preemptions.
demo: .venv/installed  ## the five incidents explored at READ COMMITTED: verdicts, and the worst witness of each
	$(BIN)/harness explore --isolation read_committed --orders 60 --witnesses worst-per-scenario \
	  purchases oauth_installations waba_accounts qbo_tokens platform_connections
	@echo "the rest, every order at every isolation level: .venv/bin/harness explore"

test: .venv/installed  ## every test; those that find no server are skipped with the reason
	$(BIN)/python -m pytest -n $(WORKERS) -q

check: lint types fast  ## lint, types and the tests that need no server: before every commit

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

fast: .venv/installed
	$(BIN)/python -m pytest -n $(WORKERS) -q -m 'not server'

bench: .venv/installed  ## speed, against bare libpq and isolationtester: bench.json; what schedulers find: docs/schedulers.md, docs/shrinking.md
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.schedulers
	$(BIN)/python -m tests.bench.shrinking

# Twenty minutes: the first half for cells that are known to be broken, each until it was found, ten seconds at most.
soak: .venv/installed  ## the incidents hammered: every broken cell is to be found, no safe one condemned
	$(BIN)/python -m tests.quality.soak

# An hour: some 800 findings, each run by isolationtester, psql and pytest. PostgreSQL 18.4: all 801 shown by all three.
exports: .venv/installed  ## every finding of the incidents exported, and run by the tools that the exports are for
	$(BIN)/harness explore --server embedded:18 --orders 60 --no-store --json exports.json \
	  purchases oauth_installations waba_accounts qbo_tokens platform_connections single_statements || test $$? -eq 1
	$(BIN)/python -m tests.exports.sweep exports.json embedded:18

# 20 of each kind in each of ten cells; eight minutes, in which the server is restarted 400 times.
EACH ?= 20
faults: .venv/installed  ## safe strategies of two scenarios, hurt 200 times in each of nine ways: nothing may be lost
	$(BIN)/harness hammer --faults --each $(EACH) --seconds 1h --server embedded:18 \
	  --isolation read_committed --layout partial --json faults.json \
	  purchases::on_conflict_with_predicate purchases::advisory_lock \
	  oauth_installations::on_conflict_with_predicate oauth_installations::lock_table

clean:  ## remove what make made
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist bench.json exports.json faults.json
