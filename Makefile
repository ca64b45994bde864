# The one door for people; `make` alone lists what there is. Every target does its own set-up.
#
# Needs Python 3.11 or later with pip, and nothing else. Versions are those of constraints.txt.

PYTHON ?= python3
# Test processes at a time. Each starts its own servers, so more of them cost more than they give.
WORKERS ?= 2
# More arguments for the command behind a target: make test ARGS="-k codec"
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(wildcard src tests bench docs)
# Relative, and through the environment: so the build's own packages are pinned too, and spaces do no harm.
PIP := PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip
# Options of `s3discovery demo`: make demo NODES=5 KEEP=1 BROKER=nats
DEMO := $(if $(BROKER),--broker '$(BROKER)') $(if $(NODES),--nodes '$(NODES)') $(if $(filter-out 0 no,$(KEEP)),--keep)

COMMA := ,
SETTING_UP = $(if $(wildcard $@),bringing $(VENV) up to date,first run: setting up $(VENV)$(1))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test check format docs site bench screenshots soak constraints clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | while IFS='	' read -r name what; do \
		printf '  make %-12s %s\n' "$$name" "$$what"; done

install: $(VENV)/.installed-dev ## the set-up alone: .venv with everything that the other targets need
	@echo "ready: $(VENV)"

demo: $(VENV)/.installed-demo ## brokers find each other through a real S3 server (NODES=5 KEEP=1 BROKER=nats)
	@$(BIN)/python -m compileall -q src
	@$(BIN)/s3discovery demo $(DEMO) $(ARGS)

test: $(VENV)/.installed-dev ## the tests, soak tests left out
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.installed-dev ## lint, format, types, layers, documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/sphinx-build -W --keep-going -q -b html docs build/site

format: $(VENV)/.installed-dev ## rewrites the code as `make check` wants it
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.installed-dev ## writes docs/reference and the manual page from the code
	$(BIN)/python docs/generate.py

site: docs ## builds the documentation as a site: build/site/index.html
	$(BIN)/sphinx-build -W --keep-going -q -b html docs build/site
	@echo "open build/site/index.html"

bench: $(VENV)/.installed-dev ## measures s3discovery against a control in the same run
	@$(BIN)/python -m compileall -q src bench
	$(BIN)/python -m bench $(ARGS)

screenshots: $(VENV)/.installed-dev ## draws docs/images anew, with chromium
	$(BIN)/python -m pytest -m screenshots $(ARGS) tests/servers/test_page.py

soak: $(VENV)/.installed-dev ## the long tests
	$(BIN)/python -m pytest -m soak --timeout 3600 $(ARGS)

constraints: $(VENV)/.installed-dev ## renews constraints.txt (ARGS=--upgrade: the newest versions)
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --no-header --no-annotate --quiet \
		--extra demo --extra dev $(ARGS) --output-file constraints.txt pyproject.toml

clean: ## removes .venv and everything else that was made here
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "s3discovery needs Python 3.11 or later; name one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# pip compiles what it installs even where PYTHONDONTWRITEBYTECODE is set, so the first start is quick.
# -qq: errors are printed, warnings (a hundred lines about one unused index) are not.
$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "$(call SETTING_UP,$(COMMA) about a minute)"
	@$(PIP) install -qq --editable '.[demo]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "$(call SETTING_UP, with the tools of the tests$(COMMA) one or two minutes)"
	@$(PIP) install -qq --editable '.[demo,dev]'
	@touch $(VENV)/.installed-demo $@
