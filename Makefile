# Everything a newcomer needs. Only Python >= 3.11, git and make are assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Bytecode is kept, whatever the surroundings ask for: the tests start hundreds of processes of the same sources.
unexport PYTHONDONTWRITEBYTECODE
# Some tests wait for time to pass: two processes more than there are cores, and one for chaos, which does so for three
# minutes; at most 7.
PROCESSES ?= $(shell $(PYTHON) -c "import os; print(min(7, (os.cpu_count() or 1) + 3))")

.DEFAULT_GOAL := help
.PHONY: help demo serve test browser clients notebook check lint types cluster cluster-test soak bench transcript contracts lock audit release clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

demo: $(VENV)/runtime.stamp  ## Start a server on a free port, run one real scan over a WebSocket, show it live
	@$(BIN)/scanstream demo $(ARGS)

serve: $(VENV)/runtime.stamp  ## Start the server on http://127.0.0.1:8000
	@$(BIN)/scanstream serve $(ARGS)

test: $(VENV)/dev.stamp  ## Run the tests (what is missing on this machine is skipped, with a reason)
	@$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

browser: $(VENV)/dev.stamp  ## The tests of the page, in a real Chromium
	@$(BIN)/python -m pytest -m browser $(ARGS)

clients: $(VENV)/dev.stamp  ## The tests that need Node, of all clients on hostile networks, and of the commands
	@$(BIN)/python -m pytest -m "clients and not browser and not soak" -n 2 --dist loadfile $(ARGS)

notebook: $(VENV)/notebook.stamp  ## The tests of notebooks: a real kernel, and JupyterLab in a real Chromium
	@$(BIN)/python -m pytest -m "notebook and not soak" $(ARGS)

check: lint types test browser clients notebook cluster-test  ## What CI runs

lint: $(VENV)/dev.stamp  ## Format and lint
	@$(BIN)/ruff format --check server tests bench docs deploy
	@$(BIN)/ruff check server tests bench docs deploy

types: $(VENV)/dev.stamp  ## Strict types
	@$(BIN)/mypy

cluster: $(VENV)/dev.stamp  ## A cluster on this machine: 3 NATS, 2 web nodes, 2 workers, a proxy; Ctrl-C ends it
	@PYTHONPATH=deploy $(BIN)/python -m onemachine $(ARGS)

cluster-test: $(VENV)/dev.stamp  ## The tests that harm clusters, and the engine on NATS (some 14 minutes)
	@$(BIN)/python -m pytest -m "cluster and not soak" -n 2 --dist loadfile $(ARGS)

soak: $(VENV)/notebook.stamp  ## The long runs: 30 minutes of chaos, races of 2,000 scans, kill -9 at random moments
	@$(BIN)/python -m pytest -m soak --timeout 1800 -s $(ARGS)

bench: $(VENV)/bench.stamp  ## Figures beside its peers (some 25 minutes; ARGS=--help shows how to run a part)
	@$(BIN)/python bench/run.py $(ARGS)

transcript: $(VENV)/dev.stamp  ## Record docs/transcript.md anew, from the real commands (needs port 8000)
	@$(BIN)/python docs/record.py

contracts: $(VENV)/dev.stamp  ## Write docs/openapi.json and docs/asyncapi.json again
	@$(BIN)/python docs/contracts.py

lock: $(VENV)/dev.stamp  ## Write the hash-pinned requirements again from pyproject.toml
	@sh .ci/lock $(BIN)/python

audit: $(VENV)/bin/python  ## Ask PyPI's advisory database about every locked version (needs the network)
	@PYTHON=$(abspath $(BIN)/python) .ci/audit

release: $(VENV)/bin/python  ## Build sdist and wheel into dist/, install each into an empty environment, run its demo
	@PYTHON=$(abspath $(BIN)/python) .ci/release

clean:  ## Remove what was made here (the virtual environment, caches)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "scanstream needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime.stamp: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/notebook.stamp: requirements-notebook.lock $(VENV)/dev.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-notebook.lock
	@touch $@

$(VENV)/bench.stamp: requirements-bench.lock bench/peers/package.json $(VENV)/dev.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@npm install --prefix bench/peers --no-package-lock --no-audit --no-fund --silent || echo 'The peers on Node are left out: npm cannot install them.'
	@touch $@
