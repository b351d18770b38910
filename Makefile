# Everything a newcomer needs. `make` alone lists the targets.
#
#   TORCH        which torch pip installs           default torch==2.13.0
#   TORCH_INDEX  package index to take torch from   default: pip's own
#   PYTHON       interpreter that makes the .venv   default python3
#   ARGS         more arguments for demo and test   e.g. make test ARGS="-k sketch -x"

PYTHON ?= python3
TORCH ?=
TORCH_INDEX ?=
ARGS ?=

BIN := .venv/bin
READY := .venv/.ready

PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

.DEFAULT_GOAL := help
.SILENT:
.PHONY: help setup demo test rehearse stress check format hooks clean

help:  ## list the targets
	grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(READY)  ## make .venv with everything in it (TORCH, TORCH_INDEX choose the torch build)

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("janus4o needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	test -x $(BIN)/python || { echo "making .venv"; $(PYTHON) -m venv .venv; }
	echo "installing $(or $(TORCH),torch==2.13.0)"
	$(PIP) install "$(or $(TORCH),torch==2.13.0)" $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)")
	echo "installing janus4o and what it needs"
	$(PIP) install -e ".[model,train,eval,openai,google,data,postgres,ray,dev]"
	touch $(READY)

demo: $(READY)  ## the whole loop on the offline world: synthesize, fine-tune, generate, score, report
	$(BIN)/janus4o run recipes/sketch.yaml $(ARGS)

test: $(READY)  ## the tests, a process a core (ARGS="-n 0": all in one)
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal $(ARGS)

rehearse: $(READY)  ## the real path at Janus-Pro-1B's size with random weights, no GPU (17 GB of disk, ARGS="--keep")
	$(BIN)/python tests/rehearsal.py $(ARGS)

stress: $(READY)  ## the full fault campaigns: every crash point, full disks, kills, odd pictures and prompts
	$(BIN)/python -m pytest -m stress -rA $(ARGS)

check: $(READY)  ## format, lint, types, layers
	$(BIN)/ruff format --check --quiet . || { echo "not formatted: run make format"; exit 1; }
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

format: $(READY)  ## format the code and mend what ruff can mend
	$(BIN)/ruff check --quiet --fix-only . ; $(BIN)/ruff format --quiet .

hooks: $(READY)  ## run `make check` before every commit (pre-commit)
	$(BIN)/pre-commit install

clean:  ## remove .venv, builds and caches; runs/ stays
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
