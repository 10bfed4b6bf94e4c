# Checks of CR-Diff. `make test` from a fresh clone makes everything it needs in private environments.
PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3),python3)
VENV := .venv
PY := $(VENV)/bin/python
PYTEST_ARGS ?=
# Test files run side by side, each on one thread: threads that share a core only wait for one another.
WORKERS ?= 2

# A folder of a host to hold tests/host against; empty: the stand-in host of demo/webui.
WEBUI_ROOT ?=

# Every host that the tests start compiles gradio, torch and transformers unless an earlier one has left its bytecode.
export PYTHONPYCACHEPREFIX := $(CURDIR)/.cache/bytecode
unexport PYTHONDONTWRITEBYTECODE
export GRADIO_ANALYTICS_ENABLED := False
export HF_HUB_OFFLINE := 1
export CRDIFF_REQUIRE_BROWSER := 1

.PHONY: help setup browser demo screenshots test test-all test-host test-browser test-gpu lint format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/'

$(VENV)/.ready: requirements/install.py requirements/gradio3.txt requirements/gradio4.txt requirements/nodeps.txt requirements/packages.txt requirements/torch.txt
	$(PYTHON) requirements/install.py
	@touch $@

setup: $(VENV)/.ready ## make the two environments (gradio 4 and gradio 3)

browser: setup ## find or fetch a Chromium for tests/browser
	@$(PY) tests/browser/chromium.py

demo: setup ## a small WebUI with this extension on 127.0.0.1:7860; ARGS="--port 7999 --listen 127.0.0.1", ARGS=--selfcheck
	$(PY) -W ignore -m demo $(ARGS)

screenshots: setup browser ## take the images of README and docs anew
	$(PY) -W ignore -m demo.evaluate.strip --out docs/images/strip.png
	$(PY) -W ignore -m demo.screenshots docs/images

test: setup browser ## run the tests that a change must pass
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS)

test-all: setup browser ## run all tests in full: each case on each host, thousands of examples, the stand-in's own
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --dist loadgroup --full $(PYTEST_ARGS)

test-host: setup ## run tests/host in full, against WEBUI_ROOT if given
	WEBUI_ROOT="$(WEBUI_ROOT)" $(PY) -m pytest tests/host $(PYTEST_ARGS)

test-browser: setup browser ## run tests/browser
	$(PY) -m pytest tests/browser $(PYTEST_ARGS)

test-gpu: setup ## run tests/gpu, with a PyTorch that reaches a GPU; GPU_PYTHON=python3 takes another environment's
	$(or $(GPU_PYTHON),$(PY)) -m pytest tests/gpu $(PYTEST_ARGS)

lint: setup ## ruff, and mypy: strict for crdiff, plain for crdiff/webui
	$(PY) -m ruff check .
	$(PY) -m ruff format --check --quiet .
	$(PY) -m mypy

format: setup ## let ruff rewrite what it can
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean: ## remove environments, browser and caches
	rm -rf .venv .venv-gradio3 .venv-packages .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
