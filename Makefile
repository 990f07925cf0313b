# make demo    the whole job on the embedded lab: two servers audited, reports written
# make test    lint, types and every test
# make audit   the audit of the shipped policy, as `pytest` runs it
#
# Each target sets up what it needs first: a virtual environment with pinned packages, and the Debian packages
# of tools/setup (installed through apt when run as root, named in one line otherwise).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test audit lint unit sample clean
.DEFAULT_GOAL := demo

demo: $(VENV)/run.stamp
	@$(BIN)/fwproof demo

audit: $(VENV)/run.stamp
	@$(BIN)/fwproof audit checks --inventory fixtures/inventory.yaml

test: $(VENV)/dev.stamp lint
	@$(BIN)/pytest

lint: $(VENV)/dev.stamp
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

unit: $(VENV)/dev.stamp
	@$(BIN)/pytest -m "not lab"

sample: $(VENV)/dev.stamp
	@FWPROOF_UPDATE_SAMPLE=1 $(BIN)/pytest -q tests/report

$(VENV)/run.stamp: requirements/run.txt pyproject.toml tools/setup
	@PYTHON="$(PYTHON)" sh tools/setup $(VENV) requirements/run.txt
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp requirements/dev.txt
	@PYTHON="$(PYTHON)" sh tools/setup $(VENV) requirements/dev.txt
	@touch $@

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache
