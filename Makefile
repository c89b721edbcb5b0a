# Everything here makes what it needs (a .venv with uv inside it) and is quick the second time.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
INSTALL := $(UV) pip install --quiet --python $(BIN)/python -c constraints.txt -e
TARGETS := demo test test-fast check bench

.PHONY: $(TARGETS) help clean

help:
	@echo "make demo       install, train on handwritten digits, explain, attack, write a report"
	@echo "make test       install everything and run all tests"
	@echo "make test-fast  the tests that take no more than a few seconds each"
	@echo "make check      lint, format, types, architecture"
	@echo "make bench      speed and memory beside the peers a user would pick instead"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Gradus needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "uv$$(grep '^uv==' constraints.txt | cut -c3-)"

.venv/.core: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing gradus into .venv (torch is large: some minutes on a slow line)"
	$(INSTALL) .
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing gradus with its test tools and parity peers into .venv"
	$(INSTALL) '.[dev]'
	@touch $@ .venv/.core

.venv/.bench: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[dev,bench]'
	@touch $@ .venv/.dev .venv/.core

demo: .venv/.core
	$(BIN)/python -m gradus.app.demo

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: .venv/.dev
	$(BIN)/python -m pytest

test-fast: .venv/.dev
	$(BIN)/python -m pytest -m "not slow"

bench: .venv/.bench
	$(BIN)/python -m bench

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
