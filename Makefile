# Two commands: `make demo` and `make test`. Everything is installed into .venv by the hashed lock.
SHELL := /bin/bash
PYTHON ?= python3
UV := 0.13.9
BIN := .venv/bin

.PHONY: install demo test test-full lint fix bench bench-gateway bench-judges bench-probes lock clean

install: .venv/.ready

demo: .venv/.ready
	$(BIN)/aispm demo

test: .venv/.ready
	env -u AISPM_HOME -u AISPM_CONFIG -u AISPM_INVENTORY $(BIN)/python -m pytest -q -n 3 --dist loadgroup -m "not full"

test-full: .venv/.ready
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup

lint: .venv/.ready
	$(BIN)/ruff check flows tasks gateway tests
	$(BIN)/ruff format --check flows tasks gateway tests
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: .venv/.ready
	$(BIN)/ruff check --fix flows tasks gateway tests
	$(BIN)/ruff format flows tasks gateway tests

bench: .venv/.ready
	$(BIN)/python tests/bench.py

bench-gateway: .venv/.ready
	$(BIN)/python tests/bench_gateway.py

bench-judges: .venv/.ready
	$(BIN)/python tests/bench_judges.py

bench-probes: .venv/.ready
	$(BIN)/python tests/bench_probes.py

# The lock names no index: it installs from wherever pip is set up to look.
lock: .venv/.ready
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header --all-extras pyproject.toml -o requirements.lock

.venv/.ready: pyproject.toml requirements.lock
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "the venv module is missing: install python3-venv (Debian: apt-get install python3-venv)"; exit 1; }
	@$(BIN)/pip --version >/dev/null && test -x $(BIN)/uv || $(BIN)/pip install -q --disable-pip-version-check uv==$(UV)
	UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip sync -q --compile-bytecode --require-hashes requirements.lock
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install -q --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf .venv .aispm .pytest_cache .mypy_cache .ruff_cache build ./*.egg-info
