# Everything a newcomer needs: `make demo` runs the main job, `make test` runs every test. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo up down test lint format bench proto migration screenshots clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.installed: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Modelwright needs Python 3.11 or newer; set PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(VENV)/.installed ## Make .venv with everything in it

demo: install ## Start the platform and take 1,797 handwritten digits from pictures to a served model
	$(BIN)/python examples/01-digits/demo.py

up: install ## Start the platform and leave it running
	$(BIN)/modelwright up --detach

down: install ## Stop it
	$(BIN)/modelwright down

test: install ## Run every test
	$(BIN)/python -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

lint: install ## Check style, types, import contracts, and drift of generated code and migrations
	$(BIN)/ruff check --output-format concise .
	$(BIN)/ruff format --check --quiet . || ($(BIN)/ruff format --check .; exit 1)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	$(BIN)/python -m scripts.check_generated

format: install ## Let ruff set the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Run every benchmark; results are kept under benchmarks/results
	$(BIN)/python -m benchmarks

proto: install ## Generate proto/gen again
	$(BIN)/python -m scripts.generate_protos

migration: install ## Write a migration: make migration package=services.train_svc message="add a column"
	$(BIN)/python -m scripts.new_migration $(package) "$(message)"

clean: ## Delete the platform's data and all caches, not the virtual environment
	rm -rf .modelwright .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
