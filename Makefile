# The three commands: make setup, make demo, make test. The environment is .venv, its exact versions are in requirements/.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# uv trusts the system's certificates then, as pip does: needed behind a company's proxy.
export UV_NATIVE_TLS := true
LOCK_FLAGS := --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	--no-emit-index-url --no-annotate --no-header --quiet

.PHONY: setup demo test lint format clean lock

setup: $(VENV)/.dev

demo: $(VENV)/.runtime
	@$(BIN)/worldshift demo

test: lint
	@$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build src/*.egg-info .pytest_cache .ruff_cache .hypothesis

# For maintainers, needs uv: resolve anew (add --upgrade to LOCK_FLAGS to move every version).
lock:
	uv pip compile pyproject.toml $(LOCK_FLAGS) -o requirements/runtime.txt
	uv pip compile pyproject.toml --extra dev -c requirements/runtime.txt $(LOCK_FLAGS) -o requirements/dev.txt

# The locked files list every package, so nothing is resolved (--no-deps) and nothing unlocked can come in.
$(VENV)/.%: requirements/%.txt pyproject.toml | $(BIN)/python
	@echo "worldshift: installing the $* packages into $(VENV) (once; a minute or two)"
	@if command -v uv >/dev/null 2>&1; then \
		uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r $< && \
		uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $< && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
	@touch $@

$(BIN)/python:
	@for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			if command -v uv >/dev/null 2>&1; then uv venv --quiet --python "$$(command -v $$python)" $(VENV); \
			else $$python -m venv $(VENV); fi && exit 0; \
			rm -rf $(VENV); \
			echo "worldshift: $$python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
			exit 1; \
		fi; \
	done; \
	echo "worldshift: no Python 3.11 or newer found; install one, or name it: make PYTHON=/path/to/python3.12" >&2; \
	exit 1
