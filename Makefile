# What people run daily. The first command makes .venv with every version of constraints.txt.

PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(if $(shell command -v $(name) 2>/dev/null),$(name))))
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The searches run one process a core; a thread pool in each would only make them wait for each other.
export OMP_NUM_THREADS ?= 1

# Named one by one: a package with __all__ hides its modules from pdoc, which warns of the others.
MODULES = $(shell find viamachinae -name '*.py' ! -name __main__.py | sed 's|/__init__.py$$||; s|.py$$||; s|/|.|g' | sort)

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all test-tap test-slurm lint format docs clean

help:
	@echo "make demo      find a stream in a made-up sky; results in demo-out/"
	@echo "make test      the tests, without those that take minutes each"
	@echo "make test-all  all tests that need no server"
	@echo "make test-tap  downloads from a TAP server on this machine; installs it (Debian, as root)"
	@echo "make test-slurm  batch scripts on Slurm clusters on this machine; installs it (Debian, as root)"
	@echo "make lint      style, formatting and types"
	@echo "make format    put the formatting right"
	@echo "make docs      the pages of docs/ and of every module, in docs/_build/"
	@echo "make clean     remove results and caches, keep .venv"

install: $(STAMP)

$(STAMP): pyproject.toml setup.py constraints.txt
	@$(if $(PYTHON),,echo "no python3.11 or python3 found: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) does not run or is older than Python 3.11: name another: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian: python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --upgrade pip setuptools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable ".[dev]"
	@touch $@

demo: $(STAMP)
	$(BIN)/viamachinae demo --out demo-out

test: $(STAMP)
	$(BIN)/python -m pytest

test-all: $(STAMP)
	$(BIN)/python -m pytest -m "not tap and not slurm"

test-tap: $(STAMP)
	$(BIN)/python tests/tap/setup run $(BIN)/python -m pytest -m tap tests/tap

test-slurm: $(STAMP)
	$(BIN)/python tests/slurm/setup run $(BIN)/python -m pytest -m slurm tests/slurm

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)
	$(BIN)/python -m viamachinae.config.reference docs/settings.md
	PYTHONWARNINGS='ignore:The module specification' $(BIN)/pdoc --docformat numpy --output-directory docs/_build $(MODULES)

clean:
	rm -rf demo-out docs/_build build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find viamachinae tests -name __pycache__ -type d -prune -exec rm -rf {} +
