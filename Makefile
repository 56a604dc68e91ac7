# Every target does its own set-up; all that it needs is Python 3.11 or newer and the package index.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo up check test test-kafka bench lock env-example clean

BIN := .venv/bin
READY := .venv/.ready

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name what; do printf '%-12s %s\n' "$$name" "$$what"; done

setup: $(READY) ## Make the environment with the locked dependencies

demo: $(READY) ## Run the seven stages on sample keywords and show what they made
	@$(BIN)/septet demo

up: $(READY) ## Start everything, until Ctrl-C
	@$(BIN)/septet up

check: $(READY) ## Lint, types, import contracts, rules and stages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/rules tests/stages

test: check ## check, then every other test, on the embedded broker
	$(BIN)/pytest --ignore=tests/rules --ignore=tests/stages

test-kafka: $(READY) ## The whole system on a real Apache Kafka and PostgreSQL
	bash tests/engines/run.sh

bench: $(READY) ## Run the benchmarks
	@set -e; for question in clustering pipeline; do \
		echo "== $$question" >&2; $(BIN)/python "benchmarks/$$question.py"; \
	done

lock: $(READY) ## Lock the dependencies again, with hashes and without any registry's name
	@set -eu; \
	if command -v uv >/dev/null 2>&1; then uv=uv; else uv=.uv/bin/uv; fi; \
	set -- --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --upgrade; \
	"$$uv" pip compile "$$@" --group dev pyproject.toml -o requirements-dev.lock; \
	"$$uv" pip compile "$$@" -c requirements-dev.lock pyproject.toml -o requirements.lock

env-example: $(READY) ## Write .env.example again from the settings
	$(BIN)/python -m services.cli.environment

clean: ## Remove the environment and every cache; data in .septet stays
	rm -rf .venv .uv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv is quick, so it is fetched where it is missing; where that fails, pip does the same slowly.
$(READY): pyproject.toml requirements-dev.lock
	@set -eu; \
	python=; \
	for candidate in python3.13 python3.12 python3.11 python3; do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			python=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "error: Septet needs Python 3.11 or newer, and none is on the PATH." >&2; exit 1; \
	fi; \
	make_venv() { \
		"$$python" -m venv "$$1" >/dev/null 2>&1 || { \
			echo "error: $$python cannot make environments. Try: apt-get install python3-venv" >&2; \
			exit 1; \
		}; \
	}; \
	if command -v uv >/dev/null 2>&1; then uv=uv; else \
		uv=.uv/bin/uv; \
		if [ ! -x "$$uv" ]; then \
			make_venv .uv; \
			.uv/bin/python -m pip install --quiet --disable-pip-version-check uv || uv=; \
		fi; \
	fi; \
	echo "Setting up with $$("$$python" -V), $${uv:-pip}"; \
	if [ -n "$$uv" ]; then \
		[ -x $(BIN)/python ] || "$$uv" venv --quiet --python "$$python" .venv; \
		"$$uv" pip sync --quiet --python $(BIN)/python --require-hashes requirements-dev.lock; \
		"$$uv" pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
		[ -x $(BIN)/pip ] || make_venv .venv; \
		set -- --quiet --disable-pip-version-check; \
		$(BIN)/python -m pip install "$$@" --require-hashes -r requirements-dev.lock; \
		$(BIN)/python -m pip install "$$@" --no-deps --no-build-isolation -e .; \
	fi; \
	touch $@
