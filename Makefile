# Two commands for users: `make demo` and `make test`. Needs Python 3.11 or newer, a C compiler and make.

PYTHON ?= python3
BIN := .venv/bin
DEMO ?=
TESTS ?=

# A server is several processes that import the same large packages: let the first one leave them compiled.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test lint types contracts environment clean

demo: ## Run the whole loop on real parts; DEMO="--keep" leaves it up to look at.
	@$(PYTHON) .ci/setup_environment.py demo
	@$(BIN)/alignd demo $(DEMO)

test: environment ## Run all tests; TESTS="tests/unit -x" runs some.
	@$(BIN)/python -m pytest $(TESTS)

lint: environment ## Style and common faults.
	@$(BIN)/ruff check .

types: environment ## Types, strictly.
	@$(BIN)/mypy

contracts: environment ## Who may import whom (docs/architecture.md).
	@$(BIN)/lint-imports

environment:
	@$(PYTHON) .ci/setup_environment.py test

clean: ## Remove what the other targets made here; models stay in the user's cache folder.
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find monitor probes remediation deploy tests .ci -name __pycache__ -type d -exec rm -rf {} +
