# make demo, make test: each makes .venv and installs what is missing. Nothing else is needed but Python >= 3.10.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help install demo test lint types assets keywords format clean

help:
	@echo "make demo    PPO teaches a small language model to please a judge (three minutes)"
	@echo "make test    the whole test suite"
	@echo "make lint    format check, lint, and the import floors"
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

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal

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
