# The commands work on a fresh clone; the first one sets up what is missing (.ci/with.py says where).
# PYTHON chooses the interpreter, ARGS goes to the command: make train ARGS="--epochs 3 --dtype bfloat16"

PYTHON ?= $(shell command -v python3 || command -v python3.11)
WITH = $(PYTHON) .ci/with.py
# One worker a core, where pytest-xdist is there.
WORKERS = $$($(WITH) -c "import importlib.util as u; print('-n auto --maxprocesses 8 --dist worksteal' if u.find_spec('xdist') else '')")

.PHONY: help train test targets lint clean

help:
	@echo "make train    train a small network on handwritten digits, save it, draw what it misread"
	@echo "make test     run the tests (ARGS=\"-k conv2d\" for some of them)"
	@echo "make targets  compile every kernel for eight GPUs, and look for spills"
	@echo "make lint     ruff and mypy"
	@echo "make clean    remove what these commands made: .venv, .deps, runs, caches"

train:
	@$(WITH) examples/digits.py $(ARGS)

test:
	@$(WITH) -m pytest $(WORKERS) $(ARGS)

targets:
	@$(WITH) -m tests.targets $(ARGS)

lint:
	@$(WITH) -m ruff check .
	@$(WITH) -m ruff format --check .
	@$(WITH) -m mypy

clean:
	rm -rf .venv .deps .targets runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
