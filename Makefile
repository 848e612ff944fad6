# make demo    look at the photographs in examples/            (sets up .venv-demo: what `pip install .` brings)
# make test    run the tests                                   (sets up .venv: torch and tools as well)
# make check   format, lint, types, imports, tests: before a review
# make clean   remove both environments and what they made
#
# Needs Python 3.11 or newer; another than the first found: make test PYTHON=/path/to/python3.12
# An environment is made anew when pyproject.toml changes, and only then.

PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& echo $$python && break; done)

# The newest torch that the code was tested with; set up before the rest, which would otherwise choose one.
TORCH := torch==2.13.0

# Tests run in so many processes at a time; each computes with one thread.
WORKERS ?= 2

STAMP := ready-$(shell cksum < pyproject.toml | cut -d' ' -f1)

.PHONY: demo test check lint types format clean
.DELETE_ON_ERROR:

demo: .venv-demo/$(STAMP)
	rm -rf demo-out
	.venv-demo/bin/foveate predict examples --out demo-out
	@echo
	@echo 'Open demo-out/index.html in a browser; pictures lie in demo-out/overlays/, the table is demo-out/summary.csv.'

test: .venv/$(STAMP)
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -n $(WORKERS)

check: lint types test

lint: .venv/$(STAMP)
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/lint-imports --no-logo

types: .venv/$(STAMP)
	.venv/bin/mypy

format: .venv/$(STAMP)
	.venv/bin/ruff format
	.venv/bin/ruff check --fix

clean:
	rm -rf .venv .venv-demo demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# --no-compile: byte code of modules that are never used would take a tenth of its 400 MB.
.venv-demo/$(STAMP):
	$(require-python)
	@echo 'Setting up .venv-demo; this takes a minute or two, once.'
	$(PYTHON) -m venv --clear .venv-demo
	.venv-demo/bin/python -m pip install --quiet --no-compile --editable .
	@touch $@

.venv/$(STAMP):
	$(require-python)
	@echo 'Setting up .venv, with torch; this takes some minutes, once.'
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet $(TORCH)
	.venv/bin/python -m pip install --quiet --editable '.[train,openvino,serve,dicom,cluster,dev]'
	@touch $@

define require-python
@test -n "$(PYTHON)" || { echo 'Foveate needs Python 3.11 or newer with venv and pip; none was found. Install one,' \
	'or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3' >&2; exit 1; }
endef
