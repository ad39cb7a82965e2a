# GNU make 3.81 or newer. `make` alone lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
VENV35 ?= .venv-spark35
PORT ?= 5000
DURATION ?= ONE_MONTH

# Runs and UI use one store, wherever MLflow's own default would point; a server's address in the environment wins.
MLFLOW_TRACKING_URI ?= sqlite:///$(CURDIR)/mlflow.db
MLFLOW_DISABLE_TELEMETRY ?= true
export MLFLOW_TRACKING_URI MLFLOW_DISABLE_TELEMETRY

BIN = $(CURDIR)/$(VENV)/bin
ACTIVATED = PATH="$(BIN):$$PATH" VIRTUAL_ENV="$(CURDIR)/$(VENV)"
PYTEST_OPTIONS ?=
BENCHMARK_OPTIONS ?=

# $(call make_venv,folder,candidates): a virtual environment with the first candidate that is Python 3.10 or newer.
define make_venv
	@for python in $(2); do \
	  "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || continue; \
	  echo "Making $(1) with $$("$$python" --version)"; \
	  exec "$$python" -m venv --clear "$(1)"; \
	done; \
	echo "No Python 3.10 or newer with venv was found (looked for: $(2))." >&2; \
	echo "Install one, like 'sudo apt-get install -y python3 python3-venv' or 'brew install python@3.12'," >&2; \
	echo "or name yours: make $(MAKECMDGOALS) PYTHONS=/path/to/python3" >&2; \
	exit 1
endef

# $(call install,folder,lock): exactly what the lock lists, then this checkout.
# uv is used where it is on PATH, because it is several times faster; pip does the same.
define install
	@echo "Installing $(2) into $(1) (some minutes the first time)"
	@if command -v uv >/dev/null; then \
	  uv pip install --compile-bytecode --python "$(1)/bin/python" --require-hashes -r "$(2)" && \
	  uv pip install --python "$(1)/bin/python" --no-deps --no-build-isolation -e .; \
	else \
	  "$(1)/bin/python" -m pip install --disable-pip-version-check --require-hashes -r "$(2)" && \
	  "$(1)/bin/python" -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
endef

PYTHONS ?= python3.13 python3.12 python3.11 python3.10 python3
PYTHONS35 ?= python3.11 python3.10 python3.12 python3.13 python3

.PHONY: help
help: ## Show this list
	@echo "workload_forecast: make forecast runs the main job, make test proves it."; echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: $(VENV)/.installed ## Make the virtual environment with the pinned requirements

$(VENV)/bin/python:
	$(call make_venv,$(VENV),$(PYTHONS))

$(VENV)/.installed: requirements.txt pyproject.toml | $(VENV)/bin/python
	$(call install,$(VENV),requirements.txt)
	@touch $@

# The tools of test and check come on top, so that `make forecast` does not wait for them.
$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(call install,$(VENV),requirements-dev.txt)
	@touch $@

.PHONY: setup-dev
setup-dev: $(VENV)/.installed-dev ## The same with the tools for test and check

.PHONY: forecast
forecast: setup ## Run the main job on a synthetic month (DURATION=FULL for all of it)
	@$(ACTIVATED) mlflow run . --env-manager local --experiment-name workload-forecast -e main -P duration=$(DURATION)

.PHONY: ui
ui: setup ## Open MLflow's UI on this machine's runs (PORT=5000)
	@case "$(MLFLOW_TRACKING_URI)" in \
	  http*) echo "The runs are on $(MLFLOW_TRACKING_URI): open it in a browser."; exit 0 ;; \
	esac; \
	echo "MLflow's UI: http://127.0.0.1:$(PORT) (Ctrl-C ends it)"; \
	$(ACTIVATED) mlflow ui --workers 1 --host 127.0.0.1 --port $(PORT) --backend-store-uri "$(MLFLOW_TRACKING_URI)"

.PHONY: serve
serve: setup ## Answer forecasts over HTTP with the champion (PORT=8080)
	@$(ACTIVATED) workload-forecast serve --port $(if $(filter file,$(origin PORT)),8080,$(PORT)) --duration $(DURATION)

.PHONY: test
test: setup-dev ## Run the tests (PYTEST_OPTIONS='-k etl')
	@$(ACTIVATED) python -m pytest -m "not e2e and not release and not stack and not targets" $(PYTEST_OPTIONS)

.PHONY: test-e2e
test-e2e: setup-dev ## Run the project through `mlflow run`, README's commands among them (minutes)
	@$(ACTIVATED) python -m pytest tests/e2e -m e2e $(PYTEST_OPTIONS)

.PHONY: test-stack
test-stack: setup-dev ## Run the main job on the tracking stack, and what needs a browser (minutes; Debian)
	@bash tests/stack/machines/install.sh
	@$(ACTIVATED) python -m pytest tests/stack tests/report -m stack $(PYTEST_OPTIONS)

.PHONY: test-targets
test-targets: setup-dev ## Run jobs on Docker, over SSH and on a Spark cluster, which the suite starts (Debian, as root)
	@bash tests/targets/machines/install.sh
	@bash tests/stack/machines/install.sh database
	@$(ACTIVATED) python -m pytest tests/targets -m targets $(PYTEST_OPTIONS)

.PHONY: test-release
test-release: setup-dev ## Run what is too long for each change: MLflow's own image of the model (minutes; Debian, as root)
	@bash tests/targets/machines/install.sh
	@$(ACTIVATED) python -m pytest tests/targets -m release $(PYTEST_OPTIONS)

.PHONY: bench
bench: setup ## Measure the ETL beside peers on 2 GB, as one table of ratios (quiet machine; Linux)
	@mkdir -p outputs
	@$(ACTIVATED) python -m benchmarks.etl --gigabytes 2 --runs 3 --json outputs/bench.json $(BENCHMARK_OPTIONS)

.PHONY: bench-scale
bench-scale: setup ## Measure what a gigabyte costs at 1 to 8 GB and 100 to 10,000 servers (quiet machine; Linux)
	@mkdir -p outputs
	@$(ACTIVATED) python -m benchmarks.etl.scale --json outputs/bench-scale.json --plot outputs/bench-scale.png $(BENCHMARK_OPTIONS)

.PHONY: bench-training
bench-training: setup ## Measure the training of a forest beside that of 2017 (quiet machine; Linux)
	@mkdir -p outputs
	@$(ACTIVATED) python -m benchmarks.training --json outputs/bench-training.json $(BENCHMARK_OPTIONS)

.PHONY: benchmark-serving
benchmark-serving: setup ## Measure the service beside MLflow's own scoring server (quiet machine; Linux)
	@mkdir -p outputs
	@$(ACTIVATED) python -m benchmarks.serving --output outputs/benchmark-serving.json $(BENCHMARK_OPTIONS)

.PHONY: soak-serving
soak-serving: setup ## Ask the service for ten minutes while models, history and keys change (Linux)
	@mkdir -p outputs
	@$(ACTIVATED) python -m benchmarks.serving.soak --output outputs/soak-serving.json $(BENCHMARK_OPTIONS)

.PHONY: check
check: setup-dev ## Check format, lint, types and layers
	@$(ACTIVATED) ruff format --check .
	@$(ACTIVATED) ruff check .
	@$(ACTIVATED) mypy
	@$(ACTIVATED) lint-imports

.PHONY: format
format: setup-dev ## Format the code and fix what lint can fix
	@$(ACTIVATED) ruff check --fix-only --quiet .
	@$(ACTIVATED) ruff format .

$(VENV35)/bin/python:
	$(call make_venv,$(VENV35),$(PYTHONS35))

$(VENV35)/.installed: requirements-spark35.txt pyproject.toml | $(VENV35)/bin/python
	$(call install,$(VENV35),requirements-spark35.txt)
	@touch $@

.PHONY: test-spark35
test-spark35: VENV := $(VENV35)
test-spark35: $(VENV35)/.installed ## Run the tests of what depends on Spark's version on Spark 3.5
	@$(ACTIVATED) python -m pytest -m "spark and not azurite and not e2e and not release and not stack and not targets" $(PYTEST_OPTIONS)

# Each lock holds for Python 3.10 and newer on every platform; no address of any index gets into it.
COMPILE_ALONE = $(ACTIVATED) uv pip compile --no-config --universal --python-version 3.10 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" --quiet $(LOCK_OPTIONS)
COMPILE = $(COMPILE_ALONE) pyproject.toml

.PHONY: lock
lock: setup-dev ## Renew the locks from pyproject.toml (LOCK_OPTIONS=--upgrade for newer versions)
	@$(COMPILE) --extra build -P pyspark==4.2.0 -o requirements.txt
	@$(COMPILE) --extra build --extra dev --extra server -c requirements.txt -o requirements-dev.txt
	@cp requirements-dev.txt requirements-spark35.txt  # uv keeps the versions that it finds in the output file
	@$(COMPILE) --extra build --extra dev --extra server requirements-spark35.in -o requirements-spark35.txt
	@$(COMPILE_ALONE) docker/tracking/requirements.in -c requirements-dev.txt -o docker/tracking/requirements.txt
	@$(COMPILE_ALONE) docker/service/requirements.in -c requirements-dev.txt -o docker/service/requirements.txt
	@digest=$$(python3 -c 'import hashlib; print(hashlib.sha256(open("requirements.txt", "rb").read()).hexdigest())') \
	  && sed -i.old "s/^# requirements.txt sha256 .*/# requirements.txt sha256 $$digest/" conda.yaml && rm conda.yaml.old

.PHONY: clean
clean: ## Remove environments and caches (runs, models and data stay)
	rm -rf $(VENV) $(VENV35) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
