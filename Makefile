# One environment, .venv, installed once and again whenever its description changes.
#   make demo   the main job on two sample stores      make test         what must hold, in minutes
#   make dev    the Dagster UI with those stores       make end-to-end   the rest: whole deployments
# PYTHON=/path/to/python chooses the interpreter; WORKERS=4 the number of test processes.

.DEFAULT_GOAL := help
.SUFFIXES:

BIN := .venv/bin
INSTALLED := .venv/.installed
WORKERS ?= 2
KILLS ?= 50
SEED ?= 1
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14)

# dg asks which environment it stands in.
export VIRTUAL_ENV := $(CURDIR)/.venv
export PYTHONUNBUFFERED := 1
# Without bytecode, every process that a test starts would compile the house anew.
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install demo dev lint validate unit test end-to-end crash mutants clean

help:
	@sed -n '2,4s/^# *//p' Makefile

install: $(INSTALLED)

# An interrupted installation leaves no stamp, so the next call finishes it.
$(INSTALLED): pyproject.toml constraints.txt
	@set -e; \
	if ! $(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		python=; \
		for candidate in $(CANDIDATES); do \
			if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; \
			then python=$$candidate; break; fi; \
		done; \
		if [ -z "$$python" ]; then \
			echo "make: Python 3.11 to 3.14 is needed; install it, or name it: make PYTHON=/path/to/python3" >&2; \
			exit 1; \
		fi; \
		if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
			echo "make: $$python has no venv module; install it (Debian, Ubuntu: apt install python3-venv)" >&2; \
			exit 1; \
		fi; \
		echo "Creating .venv with $$("$$python" --version)"; \
		"$$python" -m venv --clear .venv; \
	fi; \
	echo "Installing into .venv; the first time this takes minutes, because PyTorch is large"; \
	$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[embed,ui,dev]'; \
	touch $(INSTALLED)

demo: $(INSTALLED)
	@$(BIN)/catalog demo

dev: $(INSTALLED)
	@$(BIN)/catalog demo --ui

lint: $(INSTALLED)
	@echo "ruff"; $(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "make: run $(BIN)/ruff format ." >&2; exit 1; }
	@echo "mypy"; $(BIN)/mypy --no-error-summary
	@echo "lint-imports"; $(BIN)/lint-imports --no-logo

# In a home of its own: without DAGSTER_HOME, Dagster takes the dagster.yaml of the working directory,
# which is that of a deployment and wants its PostgreSQL.
validate: $(INSTALLED)
	@set -e; home=$$(mktemp -d); trap 'rm -rf "$$home"' EXIT; \
	cp catalog_pipeline/dagster_local.yaml "$$home/dagster.yaml"; export DAGSTER_HOME="$$home"; \
	echo "dagster definitions validate"; \
	PYTHONWARNINGS="ignore:Function" \
		$(BIN)/dagster definitions validate --workspace workspace.yaml --log-level warning; \
	echo "dg check defs"; $(BIN)/dg check defs

# Whole files to a process, so that what a module sets up once is set up once; in the order that
# conftest.py chooses.
PYTEST := $(BIN)/python -m pytest --quiet --numprocesses $(WORKERS) --dist loadfile \
	--no-loadscope-reorder

unit: $(INSTALLED)
	@echo "pytest"; $(PYTEST) -m "not end_to_end"

test: lint validate unit

# Whole commands and servers, a browser, and processes killed: as long again as the rest together.
end-to-end: $(INSTALLED)
	@echo "pytest, end to end"; $(PYTEST) -m end_to_end

# Processes killed, full disks, lost connections and a refusing Qdrant, at every kind of write.
# KILLS and SEED choose how many, and which moments.
crash: $(INSTALLED)
	@CATALOG_TESTS_CRASH=1 $(BIN)/python -m pytest --quiet catalog_pipeline_tests/crash
	@$(BIN)/python -m catalog_pipeline_tests.crash --kills $(KILLS) --seed $(SEED)
	@$(BIN)/python -m catalog_pipeline_tests.crash --servers --kills 10 --seed $(SEED)

# One expression changed at a time in what guards, retries, pages and removes: which changes does no
# test notice? An hour and more in all; GROUPS="guard paging" chooses.
mutants: $(INSTALLED)
	@nice $(BIN)/python -m catalog_pipeline_tests.mutation $(GROUPS)

clean:
	rm -rf .venv .catalog build dist *.egg-info .mypy_cache .ruff_cache .hypothesis .import_linter_cache
