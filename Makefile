# Everything happens in .venv, and nothing but pip uses the network; a run on Ray listens while it goes on.
PYTHON ?= python3
SCENARIO := scenarios/quickstart.py
# Tests side by side: each worker begins with files of its own, and takes tests from the other when it has done them, so that no long file is
# left to one alone at the end. Each that tests Ray starts a cluster of its own.
WORKERS ?= 2
ORACLES := byzfl==0.0.11 dp-accounting==0.6.0 absl-py

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: demo setup test fast lint clean

## make demo: train clean and attacked on the embedded population, and print where the report is
demo: setup
	$(BIN)/raysplit run $(SCENARIO) --overwrite

setup: $(READY)

# torch and torchvision come as a pair, so everything is one command. ByzFL and dp-accounting are oracles of some tests, which skip
# without them; they go without their dependencies, which would bring plotting libraries and pin numpy and attrs.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14) and "RaySplit needs Python 3.10 to 3.13: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt -e '.[dev]'
	$(PIP) install --no-deps $(ORACLES) || echo '$(ORACLES): not available here; their tests will be skipped'
	touch $@

## make test: style, types and all tests; RAYSPLIT_TEST_DATA=DIR adds those on real data
test: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

## make fast: the tests that take seconds
fast: setup
	$(BIN)/python -m pytest -m 'not slow'

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist raysplit.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
