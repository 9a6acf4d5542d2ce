# Ketenmail: each target is enough on a fresh Debian 12 with Python, git and make.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help run test lint assurance fuzz venv peers lock clean

PYTHON ?= python3
UV ?= uv
WORKERS ?= 2
FUZZ_SEED ?= 1
BIN := .venv/bin
READY := .venv/.ready
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadgroup

help:
	@echo 'make run        the gateway with a sandbox chain on loopback, until Ctrl-C'
	@echo 'make test       all tests, against real peers (installs them when root)'
	@echo 'make lint       formatting, types, import contracts, spelling'
	@echo 'make assurance  all tests in their long form, with branch coverage'
	@echo 'make fuzz       a million generated dialogues, and the grammars by atheris'
	@echo 'make venv       only the Python environment in .venv'
	@echo 'make peers      only the system packages that the tests need'
	@echo 'make lock       pin the newest dependencies in requirements.lock (needs uv)'
	@echo 'make clean      remove what the other targets made'

run: $(READY)
	exec $(BIN)/ketenmail demo

test: $(READY) peers
	$(PYTEST) -m 'not long'

assurance: $(READY) peers
	$(PYTEST) --cov=gateway --cov-branch --cov-report=term:skip-covered

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz.dialogue --dialogues 1000000 --processes $(WORKERS) \
	  --seed $(FUZZ_SEED)
	$(BIN)/python -m tests.fuzz.grammar --runs 200000 --seed $(FUZZ_SEED)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	VALIDATE_PYPROJECT_NO_NETWORK=1 $(BIN)/validate-pyproject pyproject.toml

venv: $(READY)

$(READY): requirements.lock pyproject.toml deploy/venv.sh
	bash deploy/venv.sh '$(PYTHON)' .venv
	touch $@

peers: $(READY)
	bash deploy/peers.sh $(BIN)/python

lock:
	$(UV) pip compile pyproject.toml --extra dev --generate-hashes --universal \
	  --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-config \
	  --no-annotate --no-header --upgrade --output-file requirements.lock
	$(UV) pip compile pyproject.toml -c requirements.lock --generate-hashes --universal \
	  --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-config \
	  --no-annotate --no-header --output-file deploy/requirements.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache .coverage sandbox build dist
	find gateway tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
