# Everything this file installs lands in the checkout: uv in .uv/ (where it is absent), Python packages in .venv/.
# The system's Python is only asked to make a virtual environment.

PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := .venv/bin/
CONFIG ?= configs/quickstart.toml
ARGS ?=

.PHONY: train test check nightly mutants install format lock clean help
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

train: install  ## install what is needed and train a therapist adapter by self-play (CONFIG=..., ARGS=...)
	$(RUN)icarus train --config $(CONFIG) $(ARGS)

test: install  ## install what is needed and run the tests
	$(RUN)python -m pytest $(ARGS)

check: install  ## lint, types, import contracts
	$(RUN)ruff check .
	$(RUN)ruff format --check .
	$(RUN)mypy
	$(RUN)lint-imports

nightly: install  ## the laws with 1,000 examples each (a quarter of an hour)
	HYPOTHESIS_PROFILE=nightly $(RUN)python -m pytest tests/test_client_graph_*.py tests/test_rewards_*.py $(ARGS)

mutants: install  ## plant faults in client_graph and rewards and count how many the tests find (hours; ARGS="--only client_graph/graph.py")
	$(UV) pip install --quiet --python .venv mutmut
	$(RUN)python benchmarks/mutants.py $(ARGS)

format: install  ## rewrite the code in the house's format
	$(RUN)ruff check --fix .
	$(RUN)ruff format .

install: .venv/.installed

.venv/.installed: requirements.txt pyproject.toml | $(UV)
	@echo "installing the pinned packages into .venv/ (about 1.7 GB on disk; the first time takes a minute)"
	@$(UV) venv --quiet --allow-existing --python '>=3.11' .venv
	@$(UV) pip sync --quiet --python .venv requirements.txt
	@$(UV) pip install --quiet --no-deps --python .venv --editable .
	@touch $@

# pip writes into a folder of ours, so an externally managed Python is left alone as well.
.uv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "icarus needs Python 3.11 or newer; found $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "installing uv into .uv/"
	@$(PYTHON) -m venv .uv 2>/dev/null && .uv/bin/python -m pip install -qq --disable-pip-version-check uv \
		|| { rm -rf .uv; $(PYTHON) -m pip install -qq --disable-pip-version-check --target .uv uv; } \
		|| { rm -rf .uv; echo "could not install uv: found neither a working venv nor pip for $(PYTHON). Try: install uv by hand and put it on PATH"; exit 2; }

lock: $(UV)  ## pin every version anew (names, versions and hashes; no address)
	$(UV) pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes --no-annotate \
		--no-header --upgrade pyproject.toml --output-file requirements.txt

clean:  ## remove what was installed and built
	rm -rf .venv .uv .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
