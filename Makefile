# make demo, make test: each makes .venv and installs what is missing. Nothing else is needed but Python >= 3.11.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help install demo real material test test-fast test-long lint types assets keywords format clean

help:
	@echo "make demo    PPO trains a small language model with a learned reward model (three minutes)"
	@echo "make real    a real language model learns from real people's ratings (half an hour; python examples/real --quick takes minutes)"
	@echo "make material  only fetch what it needs; the tests on real models use it too"
	@echo "make test    the test suite (six minutes)"
	@echo "make test-fast  what takes long left out (90 seconds)"
	@echo "make test-long  what takes longer than that; its result is written to runs/reference/tests/"
	@echo "make lint    format check, lint, and the import contracts"
	@echo "make types   mypy, strict on the library"
	@echo "make assets  make the shipped models again (minutes)"
	@echo "make keywords  write the agents' keyword types from their config classes"
	@echo "make format  put the code into shape"

install: $(STAMP)

$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "setuptools>=77" wheel torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e ".[dev,control]"
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/textrlhf demo

real: $(STAMP)
	$(BIN)/python examples/real

material: $(STAMP)
	$(BIN)/python examples/real/fetch.py

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not long"

test-fast: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not long" -q

test-long: $(STAMP)
	TEXTRLHF_TEST_RECORD=runs/reference/tests/long.json $(BIN)/python -m pytest -n 2 --dist worksteal -m long -v

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(STAMP)
	mkdir -p .types && ln -sfn .. .types/textrlhf
	MYPYPATH=.types $(BIN)/mypy -p textrlhf

assets: $(STAMP)
	$(BIN)/python -m textrlhf.pipeline.assets

keywords: $(STAMP)
	$(BIN)/python tests/support/write_keywords.py

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .types .mypy_cache .ruff_cache .pytest_cache build *.egg-info
