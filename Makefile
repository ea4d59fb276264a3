# Everything a contributor or a machine runs here. `make` alone lists the targets.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(PY) -m pip --quiet

# The interpreter .venv is made with; `make setup PYTHON=/path/to/python3` names one.
PYTHON ?=
# More arguments for pytest or the benchmarks: `make test ARGS="-k retry -x"`.
ARGS ?=

# What .venv was made from, so that it is only renewed when that changes.
PACKAGES_INSTALLED := $(VENV)/.packages-installed
PROJECT_INSTALLED := $(VENV)/.project-installed

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: $(PROJECT_INSTALLED) ## Make .venv with everything pinned; needs Python 3.11 or later
	@echo "Ready. Next: make demo, or .venv/bin/tenure --help"

.PHONY: demo
demo: $(PROJECT_INSTALLED) ## See a job run, lose its worker, resume, be extended and be cancelled (about a minute)
	@$(VENV)/bin/tenure demo

# One worker more than processors, at most four; whole files, in the order that tests/conftest.py gives them.
.PHONY: test
test: $(PROJECT_INSTALLED) ## Run the tests
	@$(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

# The long forms of all proofs. The simulation keeps a time of its own, so it takes what the others leave of the
# processors; those follow one another and wait for nobody. Then docs/proof.md is made again from their records, also
# when one of them failed. Where sessions share the processors evenly, a nice value counts only within its own.
PROVING := TENURE_PROVE=full TENURE_PROOF_DIR=build/proof $(PY) -m pytest -n 0 -m "" --timeout 14400 $(ARGS)
ASIDE := setsid nice -n 19 sh -c '{ echo 19 > /proc/self/autogroup; } 2> /dev/null; exec "$$@"' sh env

.PHONY: prove
prove: $(PROJECT_INSTALLED) ## Run the long proofs and write docs/proof.md (root, about two hours)
	@mkdir -p build/proof; $(ASIDE) $(PROVING) tests/simulation > build/proof/simulation.log 2>&1 & \
	  aside=$$!; trap 'kill -- -$$aside 2> /dev/null' EXIT; trap 'exit 130' INT TERM; \
	  $(PROVING) tests/faults tests/hostile; others=$$?; \
	  echo "Waiting for the simulation: build/proof/simulation.log"; \
	  wait $$aside; seeds=$$?; tail -n 20 build/proof/simulation.log; \
	  $(PY) -m tests.proof.report build/proof; report=$$?; \
	  for ended in $$others $$seeds; do test $$ended = 5 || test $$ended = 0 || exit $$ended; done; exit $$report

.PHONY: node
node: $(PROJECT_INSTALLED) ## Test the client for Node (needs Node and npm; installs two packages into build/node)
	@TENURE_NODE=required $(PY) -m pytest -n 0 tests/node $(ARGS)

# Every part runs even when an earlier one failed: `make -k check`.
.PHONY: check
check: check-style check-types check-protos check-imports check-compose check-house ## Lint, types, protos, import rules, layout

.PHONY: check-style
check-style: $(PROJECT_INSTALLED)
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check --quiet || { $(PY) -m ruff format --check; exit 1; }

.PHONY: check-types
check-types: $(PROJECT_INSTALLED)
	@$(PY) -m mypy services/tenure tests benchmarks protos/generate.py docs/generate_state_machine.py

.PHONY: check-protos
check-protos: $(PROJECT_INSTALLED)
	@$(VENV)/bin/buf lint
	@$(VENV)/bin/buf format --diff --exit-code

.PHONY: check-imports
check-imports: $(PROJECT_INSTALLED)
	@$(VENV)/bin/lint-imports --no-cache --no-logo

.PHONY: check-compose
check-compose: $(PROJECT_INSTALLED)
	@$(VENV)/bin/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

.PHONY: check-house
check-house: $(PROJECT_INSTALLED)
	@$(PY) -m pytest -q -n 0 tests/house

.PHONY: format
format: $(PROJECT_INSTALLED) ## Format code and protos, and mend what the linter can
	@$(PY) -m ruff check --fix --quiet || true
	@$(PY) -m ruff format
	@$(VENV)/bin/buf format --write

.PHONY: generate
generate: $(PROJECT_INSTALLED) ## Make services/tenure/v1 and events/v1 from protos/
	@$(PY) protos/generate.py services
	@$(PY) docs/generate_state_machine.py

.PHONY: bench
bench: $(PROJECT_INSTALLED) ## Run the benchmarks (minutes; a quiet machine)
	@$(PY) benchmarks/run.py $(ARGS)

.PHONY: bench-smoke
bench-smoke: $(PROJECT_INSTALLED) ## Run every benchmark once, small: do they still work?
	@$(PY) benchmarks/run.py --smoke $(ARGS)

# Only for those who change dependencies; needs uv (https://docs.astral.sh/uv/). Pins already there are kept;
# `make requirements ARGS=--upgrade` takes what is newest.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header $(ARGS)
UV = $(firstword $(wildcard $(VENV)/bin/uv) uv)

.PHONY: requirements
requirements: ## Pin requirements/*.txt again after a change in pyproject.toml
	@$(COMPILE) pyproject.toml -o requirements/runtime.txt
	@$(COMPILE) --all-extras --group dev pyproject.toml -o requirements/dev.txt
	@$(COMPILE) --constraints requirements/dev.txt --group browser -o requirements/browser.txt
	@$(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	  | $(COMPILE) --constraints requirements/dev.txt --no-annotate - -o requirements/build.txt

.PHONY: fresh
fresh: ## Do setup, checks and tests in a copy of the tree that has nothing installed
	@copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT && \
	  git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from - | tar --extract --directory "$$copy" && \
	  "$$copy/.ci/run"

.PHONY: clean
clean: ## Remove .venv and every cache
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A name that exists is not enough: it may be too old, a shim without an interpreter behind it, or lack venv.
$(PY):
	@found=; for candidate in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    found=$$candidate; break; fi; done; \
	if [ -z "$$found" ]; then \
	  echo "tenure: no usable Python found (tried: $(or $(PYTHON),python3.13 python3.12 python3.11 python3))." >&2; \
	  echo "It needs Python 3.11 or later with the venv module; on Debian and Ubuntu: apt install python3 python3-venv" >&2; \
	  echo "Name another interpreter with: make setup PYTHON=/path/to/python3" >&2; \
	  exit 1; fi; \
	echo "Making $(VENV) with $$("$$found" --version)"; \
	"$$found" -m venv --clear $(VENV)

$(PACKAGES_INSTALLED): requirements/dev.txt | $(PY)
	@echo "Installing the pinned packages into $(VENV) (about a minute, 500 MB)"
	@$(PIP) install --require-hashes --only-binary :all: --requirement requirements/dev.txt
	@touch $@

$(PROJECT_INSTALLED): pyproject.toml $(PACKAGES_INSTALLED)
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
