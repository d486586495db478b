# make demo | test | bench | lint | format: the first of them sets up .venv.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TORCH := $(VENV)/.ready-torch

.PHONY: demo test bench lint format setup live validate-gpu
.DEFAULT_GOAL := setup

setup: $(READY)

# What live runs need; constraints.txt says which torch. NO_TORCH=1 leaves it out: their tests are skipped, and say so.
$(TORCH): $(READY)
	$(if $(NO_TORCH),,$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -c constraints.txt -e '.[torch]')
	@$(if $(NO_TORCH),true,touch $@)

$(READY): pyproject.toml constraints.txt
	@python="$${PYTHON:-}"; \
	for each in $$python $(BIN)/python python3 python3.13 python3.12 python3.11; do \
	  if "$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found="$$each"; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	  echo "error: Python 3.11 or later is needed; found: $$(python3 --version 2>&1). Set PYTHON=/path/to/python" >&2; \
	  exit 1; \
	fi; \
	[ -x $(BIN)/python ] || "$$found" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -c constraints.txt -e '.[dev]'
	@touch $@

# Policies × ways of scaling on the same jobs, then one table and figures, in demo/.
demo: $(READY)
	rm -rf demo
	$(BIN)/python -m simulator -m experiment=demo hydra.sweep.dir=demo resume=false \
	  allocation=fifo,srtf,las,fair_share scaling=static,threshold
	$(BIN)/python -m simulator.compare demo --baseline allocation=fifo,scaling=static

test: $(TORCH)
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

bench: $(TORCH)
	$(BIN)/python -m pytest -m benchmark_suite -s tests/benchmarks $(PYTEST_ARGS)

# Two policies live, on processes of this machine, against their simulation; a minute or two. Ends with a report.
live: $(TORCH)
	$(BIN)/python -m real_backend validate workload=live_tiny compute=paced profile=auto allocation=fifo,fair_share \
	  hydra.run.dir=live-demo

# All that a GPU is needed for, in under ten minutes: profile, live runs, report. DEVICE=cpu rehearses it, in one minute.
DEVICE ?= cuda
validate-gpu: $(TORCH)
	$(BIN)/python -m real_backend validate validation=$(if $(filter cpu,$(DEVICE)),gpu_rehearsal,gpu) device=$(DEVICE) allocation=fifo,srtf,fair_share hydra.run.dir=validation-$(DEVICE)

lint: $(TORCH)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
