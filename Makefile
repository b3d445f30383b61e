# What can be done here. `make` alone lists it.
PYTHON ?= python3
FAULTS ?= loop budget silent cascade drift
PORT ?= 10777
VENV := .venv
BIN := $(VENV)/bin
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header

.DEFAULT_GOAL := help
.PHONY: help demo boards test test-quick coverage test-stack test-kill test-nightly lint format bench lock prices image clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed ## ten agents that misbehave, and the page that shows it; FAULTS= for health, FAULTS="loop drift" for some
	@$(BIN)/agent-exporter demo --port $(PORT) $(addprefix --fault ,$(FAULTS)) > /dev/null

test: $(VENV)/installed ## all tests; those of servers that are not on PATH say so and are skipped
	$(BIN)/pytest -n 2 --dist worksteal -m "not stack and not alone and not nightly"
	$(BIN)/pytest -m "alone and not stack"

test-quick: $(VENV)/installed ## the tests that take no more than a few seconds each
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow and not stack"

coverage: $(VENV)/installed ## the lines that the quick tests do not run in their own process; a report, no bar to clear
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow and not stack" --cov --cov-report=term:skip-covered

test-stack: $(VENV)/installed ## docker-compose.yml on a real engine: faults become alerts, each service is killed; ten minutes
	$(BIN)/pytest -m stack tests/stack

test-kill: $(VENV)/installed ## the exporter is killed 100 times while it stops a session; four minutes
	KILLS=100 $(BIN)/pytest -s -k any_moment tests/test_kill.py

test-nightly: $(VENV)/installed ## what takes too long for every change: a million agent ids, 100 kills, weeks of drift, 100 fleets with planted failures, more examples of each property
	AGENT_IDS=1000000 $(BIN)/pytest -k flood_of_agent_ids tests/test_hostile.py
	KILLS=100 $(BIN)/pytest -s -k any_moment tests/test_kill.py
	$(BIN)/pytest -m nightly
	INCIDENT_SEEDS=100 $(BIN)/pytest -n 2 tests/test_incidents.py
	HYPOTHESIS_PROFILE=thorough $(BIN)/pytest -n 2 -m "not stack and not slow"

boards: $(VENV)/installed ## write dashboards/json from its Python
	$(BIN)/python -m dashboards.build

lint: $(VENV)/installed ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed ## have ruff put things in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed ## throughput against mtail and others, latency, sessions, scrapes; about twenty-five minutes
	env -u PYTHONPATH $(BIN)/python benchmarks/throughput.py
	env -u PYTHONPATH $(BIN)/python benchmarks/live.py
	env -u PYTHONPATH $(BIN)/python benchmarks/sessions.py
	env -u PYTHONPATH $(BIN)/python benchmarks/breaker.py
	env -u PYTHONPATH $(BIN)/python benchmarks/agentlog.py
	env -u PYTHONPATH $(BIN)/python benchmarks/formats.py

lock: $(VENV)/installed ## pin every dependency anew, with hashes and without the name of an index
	$(COMPILE) -o requirements.lock pyproject.toml agentlog/pyproject.toml
	$(COMPILE) --group build -o requirements-build.lock
	$(COMPILE) --group dev -o requirements-dev.lock pyproject.toml agentlog/pyproject.toml

prices: ## write the price table anew, from a package that follows the vendors' pages
	$(PYTHON) -m venv --clear $(VENV)-prices
	$(VENV)-prices/bin/pip install --quiet --disable-pip-version-check --upgrade genai-prices
	$(VENV)-prices/bin/python exporter/agent_exporter/prices/refresh.py > exporter/agent_exporter/prices/default.json.new
	mv exporter/agent_exporter/prices/default.json.new exporter/agent_exporter/prices/default.json
	rm -rf $(VENV)-prices

image: ## the container image agent-exporter:dev
	docker build -t agent-exporter:dev .

clean: ## remove what was made here
	rm -rf $(VENV) .coverage .pytest_cache .hypothesis .mypy_cache .ruff_cache dist

$(VENV)/installed: requirements-dev.lock pyproject.toml agentlog/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("agent-exporter needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . --editable ./agentlog
	@touch $@
