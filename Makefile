# `make demo` and `make test` need nothing but Python 3.11 and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
WORKERS ?= 2

# `make test COVERAGE=85` measures coverage too, and fails below that; it takes two thirds longer.
COVERAGE ?=

# `make test-pythons` runs the suite on each of these that is here.
PYTHONS ?= 3.11 3.12 3.13

# `make compat`: ends of what pyproject.toml allows, each on a Python; the tests that it runs
COMPAT ?= lowest:3.11 highest:3.13
CORE := tests/config tests/files tests/studies tests/tracking tests/scores tests/plots tests/test_databases.py \
	tests/test_face.py tests/translators/test_checkpoint.py tests/translators/test_gan.py \
	tests/retrieval/test_network.py tests/workflows/test_stores.py
EXTRAS := s3 export hed show hloc dev

.PHONY: help setup demo demo-quick test test-all test-pythons compat compat-constraints lint types layers api site pictures faults bench bench-check speedrun ui \
	constraints audit clean

help:
	@echo "make demo        the whole road on the toy city, 5 to 9 minutes on 2 free cores"
	@echo "make demo-quick  the same in 2 minutes, with weaker results"
	@echo "make test        set up, lint, type-check, test; COVERAGE=85 fails below that coverage, as CI does"
	@echo "make test-all    the same with the slow tests and those that start a PostgreSQL server"
	@echo "make test-pythons  the tests on Python $(PYTHONS), on those that are here"
	@echo "make compat      the tests' core on the lowest and the highest allowed versions ($(COMPAT))"
	@echo "make api         docs/api.md from the docstrings"
	@echo "make site        the documents as a static site in site/"
	@echo "make pictures    the pictures of docs/ui.md, from the stores of make demo (needs Chromium)"
	@echo "make audit       bandit, known faults of the dependencies, their licences, a bill of materials"
	@echo "make faults      studies under many kills, held against what docs/reliability.md promises"
	@echo "make speedrun    the whole road over three seeds: mAP with intervals, seconds of each stage"
	@echo "make bench       every figure that the documents name"
	@echo "make bench-check whether a ratio to an alternative has fallen below those that were kept"
	@echo "make ui          the MLflow UI on mlruns/"

setup: .venv/ready

.venv/ready: pyproject.toml setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no python3.11 found; install it or name one: make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "setting up .venv (once; PyTorch is the larger part of it) …"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	$(BIN)/d2n demo

demo-quick: setup
	$(BIN)/d2n demo --quick

lint: setup
	$(BIN)/ruff check d2n tests benchmarks docs
	$(BIN)/ruff format --check d2n tests benchmarks docs

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

test: lint types layers
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile $(if $(COVERAGE),--cov --cov-report=term:skip-covered --cov-fail-under=$(COVERAGE))

test-all: lint types layers
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile -m ""

faults: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 0 -m "" tests/faults

# An environment a Python, kept in .venv-VERSION; a Python that is not here is named and left out.
test-pythons:
	@failed=""; absent=""; \
	for version in $(PYTHONS); do \
	  if ! python$$version -c "" 2>/dev/null; then absent="$$absent $$version"; continue; fi; \
	  venv=.venv-$$version; \
	  echo "Python $$version: setting up $$venv …"; \
	  { [ -d $$venv ] || python$$version -m venv $$venv; } && \
	  $$venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' && \
	  OMP_NUM_THREADS=1 $$venv/bin/python -m pytest -n $(WORKERS) --dist loadfile -q || failed="$$failed $$version"; \
	done; \
	[ -z "$$absent" ] || echo "not here, not tested: Python$$absent"; \
	[ -z "$$failed" ] || { echo "failed: Python$$failed"; exit 1; }

# An environment each, kept in .venv-lowest and .venv-highest; constraints/ says what is in them.
compat:
	@failed=""; absent=""; \
	for pair in $(COMPAT); do \
	  end=$${pair%%:*}; version=$${pair##*:}; venv=.venv-$$end; \
	  if ! python$$version -c "" 2>/dev/null; then absent="$$absent $$version"; continue; fi; \
	  echo "$$end versions on Python $$version: setting up $$venv …"; \
	  { [ -d $$venv ] || python$$version -m venv $$venv; } && \
	  $$venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints/$$end.txt -e '.[dev]' && \
	  OMP_NUM_THREADS=1 $$venv/bin/python -m pytest -n $(WORKERS) --dist loadfile -q $(CORE) || failed="$$failed $$end"; \
	done; \
	[ -z "$$absent" ] || echo "not here, not tested: Python$$absent"; \
	[ -z "$$failed" ] || { echo "failed: $$failed"; exit 1; }

# Resolved anew from pyproject.toml; CUDA's companion packages are left to torch itself.
compat-constraints:
	@[ -d .venv-compat ] || { $(PYTHON) -m venv .venv-compat && .venv-compat/bin/python -m pip install --quiet --disable-pip-version-check uv; }
	@for pair in $(COMPAT); do \
	  end=$${pair%%:*}; version=$${pair##*:}; way=highest; [ $$end = highest ] || way=lowest-direct; \
	  { echo "# The $$end versions that pyproject.toml allows, together, on Python $$version: \`make compat-constraints\` resolves them."; \
	    .venv-compat/bin/uv pip compile pyproject.toml $(EXTRAS:%=--extra %) --python-version $$version \
	      --resolution $$way --no-annotate --no-header --quiet | grep -viE '^(nvidia-|cuda-|triton|pip=|setuptools=|wheel=)'; \
	  } > constraints/$$end.txt; \
	done

api: setup
	$(BIN)/python docs/api.py

site: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[site]'
	$(BIN)/python docs/site.py site

pictures: setup
	$(BIN)/python docs/pictures.py

bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	$(BIN)/pytest benchmarks -s -m "" --benchmark-columns=median,ops -p no:xdist

# Ratios to the alternatives, measured now, beside those kept in benchmarks/data/ratios.json.
bench-check: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	$(BIN)/python benchmarks/check.py

# Seeds 0, 1 and 2 of the whole road; docs/speedrun.md is its record.
speedrun: setup
	$(BIN)/python benchmarks/speedrun.py speedrun

ui: setup
	$(BIN)/d2n ui

# What this environment holds, as pins; CUDA's companion packages are left to torch itself.
constraints: setup
	$(BIN)/python -m pip freeze --exclude-editable | grep -viE '^(nvidia-|cuda-|triton|pip|setuptools|wheel)' > constraints.txt

# What bandit finds is answered in docs/security.md; pip-audit asks the package index.
audit: setup
	@[ -d .venv-audit ] || { $(PYTHON) -m venv .venv-audit && .venv-audit/bin/python -m pip install --quiet --disable-pip-version-check bandit pip-audit pip-licenses cyclonedx-bom; }
	@mkdir -p audit
	.venv-audit/bin/bandit --quiet --recursive d2n --format json --exit-zero --output audit/bandit.json
	D2N_BANDIT=audit/bandit.json $(BIN)/pytest -q -m "" tests/test_security.py
	.venv-audit/bin/pip-audit --no-deps --requirement constraints.txt
	.venv-audit/bin/pip-licenses --python $(BIN)/python --format markdown --output-file audit/licences.md
	.venv-audit/bin/cyclonedx-py environment $(BIN)/python --output-file audit/sbom.json

clean:
	rm -rf .venv .venv-3.* .venv-lowest .venv-highest .venv-compat build *.egg-info .pytest_cache .mypy_cache .ruff_cache
