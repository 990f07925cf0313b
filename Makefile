# make demo    the whole job on the embedded lab: two servers audited, reports written
# make test    linters, types and every test
# make differential TABLES=2000 SEED=7
#              the model against this machine's kernel on so many random tables of each kind; without SEED another run
#              each time, and the seed is printed, so that what was found can be found again
# make docs    the documentation site
# make dist    wheel and sdist, built twice and compared; make sbom: the bill of materials
# make audit   the audit of the shipped policy, as `pytest` runs it
#
# Each target sets up what it needs first: a virtual environment with pinned packages, and the system packages
# of tools/setup (installed through apt when run as root, named in one line otherwise).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# where Debian keeps ip, iptables and nft, which an ordinary user's search path leaves out
export PATH := $(PATH):/usr/sbin:/sbin
SETUP := tools/setup pyproject.toml requirements/run.txt requirements/build.txt

TABLES ?= 1000
SEED := $(or $(SEED),$(shell od -An -N3 -tu4 /dev/urandom | tr -d ' '))

.PHONY: demo audit test lint types pytest unit differential sample sample-from-latest pictures pins docs sbom dist bench clean
.DEFAULT_GOAL := demo

demo: $(VENV)/run.stamp
	@$(BIN)/fwproof demo

audit: $(VENV)/run.stamp
	@$(BIN)/fwproof audit checks --inventory fixtures/inventory.yaml

test: lint types pytest

lint: $(VENV)/dev.stamp
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(VENV)/dev.stamp
	@$(BIN)/mypy

# fewer random tables than the tests have by themselves: `make differential` looks at thousands
pytest: export FWPROOF_SET_TABLES := 30
pytest: export FWPROOF_LINT_TABLES := 12
# a thousand commands of fwproof start: where an image forbids it to keep compiled modules, each would compile them again
pytest: export PYTHONDONTWRITEBYTECODE :=
pytest: $(VENV)/dev.stamp
	@$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

unit: $(VENV)/dev.stamp
	@$(BIN)/pytest -m "not lab"

differential: export FWPROOF_TABLES := $(TABLES)
differential: export FWPROOF_SET_TABLES := $(shell expr $(TABLES) / 4 + 1)
differential: export FWPROOF_SEED := $(SEED)
differential: $(VENV)/dev.stamp
	@echo "the same run again: make differential TABLES=$(TABLES) SEED=$(SEED)"
	@$(BIN)/pytest tests/differential || \
	  { echo "found with: make differential TABLES=$(TABLES) SEED=$(SEED)"; exit 1; }

# reports/sample: rendered again from its results.json after a change of a format; recorded anew from reports/latest
sample: $(VENV)/dev.stamp
	@FWPROOF_UPDATE_SAMPLE=1 $(BIN)/pytest -q tests/report/test_sample.py

sample-from-latest: $(VENV)/run.stamp
	@$(BIN)/python tools/record_sample.py

# docs/pictures, drawn from reports/sample; needs chromium and pngquant; make pictures PICTURES=report-matrix
pictures: $(VENV)/dev.stamp
	@$(BIN)/python tools/pictures.py $(PICTURES)

# the documentation site, in docs/_build/html; a link that leads nowhere is an error
docs: $(VENV)/dev.stamp
	@$(BIN)/python -m sphinx -q -E -W --keep-going docs docs/_build/html
	@echo "docs/_build/html/index.html"

# a bill of materials (CycloneDX) with the licence of each package that is needed
sbom: $(VENV)/dev.stamp
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python tools/sbom.py dist/fwproof.cdx.json
	@echo "dist/fwproof.cdx.json"

# wheel and sdist of the last commit, built twice and compared
dist: $(VENV)/dev.stamp
	@$(BIN)/python tools/dist.py dist

# the newest releases that pyproject.toml allows; run it with the oldest Python that is supported
pins: $(VENV)/run.stamp
	@$(BIN)/python tools/pin.py

$(VENV)/run.stamp: $(SETUP)
	@PYTHON="$(PYTHON)" sh tools/setup $(VENV) run
	@touch $@

$(VENV)/dev.stamp: $(SETUP) requirements/dev.txt requirements/docs.txt requirements/distributed.txt
	@PYTHON="$(PYTHON)" sh tools/setup $(VENV) dev
	@touch $(VENV)/run.stamp $@

# what the benchmarks compare with has an environment of its own, so that nothing of fwproof can come to need it
$(VENV)/bench.stamp: $(VENV)/run.stamp requirements/bench.txt
	@$(PYTHON) -m venv --clear $(VENV)/bench
	@$(VENV)/bench/bin/python -m pip --quiet --disable-pip-version-check install --only-binary :all: --no-deps \
		--requirement requirements/bench.txt
	@touch $@

# all sizes, kinds and families take an hour; make bench BENCH="--rules 100 1000" takes minutes
bench: $(VENV)/dev.stamp $(VENV)/bench.stamp
	@$(BIN)/python tests/benchmarks/bench.py $(BENCH)

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache docs/_build docs/reference
