# OPC Market: `make run` opens the shop, `make test` checks everything. See `make help`.

# The newest Python of at least 3.11 that is on the machine.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
export ORT_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run test lint types bench fuzz assets setup constraints clean
.DEFAULT_GOAL := help

help: ## List what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

run: setup ## Set everything up and open the shop on http://127.0.0.1:8000
	@exec $(BIN)/market serve

setup: .venv/.ready web/static/vendor/.ready

.venv/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed (Debian: apt-get install python3-venv)." >&2; exit 1; }
	@echo "Setting up .venv with $(PYTHON): a few minutes the first time, nothing the next."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

# The shop works without these for browsing; without network it opens all the same.
web/static/vendor/.ready: web/package-lock.json | .venv/.ready
	@command -v npm >/dev/null || $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[node]' || true
	@$(BIN)/python -m marketplace.assets && touch $@ || echo "The browser assets could not be fetched: pages work without them, but not live. Run make again when the network is back." >&2

.venv/.ready-dev: .venv/.ready
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

test: setup .venv/.ready-dev lint types ## Lint, check types and run all tests (T=path for some, REQUIRE_ALL=1 to allow no skip)
	@$(BIN)/python -m pytest $(T)

lint: .venv/.ready-dev ## Check style and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache

types: .venv/.ready-dev ## Check types
	@$(BIN)/mypy

bench: setup .venv/.ready-dev ## Print the figures as ratios measured in one run (B=serving for all of the server's, B=optimizing for the optimiser's, B=packaging for the packager's, B=catalogue for a million listings, B=soak for a long run)
	@$(BIN)/python -m tests.benchmarks $(B)

fuzz: setup .venv/.ready-dev ## Fuzz the server's decoders for a minute each
	@FUZZ_SECONDS=60 $(BIN)/python -m pytest tests/deployer/server/test_fuzz.py

assets: ## Fetch the browser assets again
	@rm -f web/static/vendor/.ready
	@$(MAKE) --no-print-directory web/static/vendor/.ready

constraints: .venv/.ready-dev ## Pin the newest versions that fit, for every platform
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --no-emit-index-url --no-header --python-version 3.11 --extra dev --extra node --extra convert-sklearn --upgrade pyproject.toml --output-file constraints.txt

clean: ## Remove what was made here; the shop's home stays
	@rm -rf .venv web/node_modules web/static/vendor build *.egg-info
