# make demo and make test set up everything they need in .venv (Python 3.11 or newer and a package registry).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# On a machine without a GPU, TORCH_INDEX=https://download.pytorch.org/whl/cpu saves gigabytes of CUDA packages.
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
INSTALLED := $(VENV)/.installed
VALIDATOR := $(BIN)/bids-validator-deno
export PATH := $(abspath $(BIN)):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo demo-models test test-slow test-cluster lint format docs bench clean lock

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

demo: $(INSTALLED)  ## simulate two cohorts, run the whole workflow on them, print the table
	@boldtable demo demo

demo-models: $(INSTALLED)  ## the demo's extended table: every model in its tiny size on the same cohorts
	@boldtable demo demo --models

test: $(VALIDATOR) lint  ## linters and fast tests
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive pytest -n auto --dist worksteal  # a process per core: threads would wait for each other

test-slow: $(VALIDATOR)  ## tests that take minutes, or that need real data beside the repository
	pytest -m slow -v

test-cluster: $(INSTALLED)  ## a study on a real Slurm, started on this machine (Debian, root; skips with a reason)
	pytest -m cluster -v -rs tests/cluster

lint: $(INSTALLED)  ## ruff, mypy, import-linter, snakefmt, snakemake --lint
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	snakefmt --check --compact-diff Snakefile workflow
	@mkdir -p .snakemake/lint/data/aurora/derivatives/fmriprep/sub-01 .snakemake/lint/data/borealis/derivatives/fmriprep/sub-01
	snakemake --lint --configfile config/demo/config.yaml --directory .snakemake/lint

format: $(INSTALLED)  ## format Python and rules
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

docs: $(INSTALLED)  ## write the config schema, config/README.md and config/config.yaml from the settings classes
	python -m boldtable.generate

bench: $(INSTALLED)  ## measure speed, side by side with the alternatives
	pytest -m bench -s tests/benchmarks

lock:  ## write envs/requirements.lock from this environment (after trying new versions)
	$(BIN)/pip freeze --exclude-editable | grep -viE '^(torch|triton|nvidia-[a-z0-9-]*|cuda[a-z0-9-]*|boldtable|pip|setuptools|deno|bids-validator-deno)==' > envs/requirements.lock

clean:  ## delete the demo, caches and the environment
	rm -rf demo .snakemake .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis $(VENV)

# torch first: a resolver left to itself takes the newest build; the lock leaves torch and the CUDA packages out.
$(INSTALLED): pyproject.toml envs/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a minute or two) ..."
	@$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	@$(BIN)/pip install --quiet --no-deps -r envs/requirements.lock
	@$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

# For one test alone (146 MB), so it is not in the lock; without it that test is skipped and says so.
$(VALIDATOR): $(INSTALLED)
	@$(BIN)/pip install --quiet --no-deps bids-validator-deno==3.0.2 deno==2.9.8 && touch $@ || echo "no bids-validator-deno: its test is skipped"
