PYTHON ?= python3
# Another Python beside the usual one: make PYTHON=python3.12 VENV=.venv-3.12 test
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TOOLS := $(VENV)/.tools

.PHONY: help install demo test test-oldest faults fuzz

# What make faults tries: kills=200 damages=1000 disks=50 minutes=600 is the full campaign.
TRIES ?= minutes=30
# For each reader, of make fuzz.
SECONDS ?= 60

help:
	@echo 'make install       the project in .venv, or in VENV=<folder>'
	@echo 'make demo          from image-level labels to cues to masks, on the built-in data: minutes on two cores'
	@echo 'make test          lint, types, tests; builds pydensecrf, which needs a C++ compiler'
	@echo 'make test-oldest   tests in .venv-oldest, with the oldest releases that pyproject.toml allows'
	@echo 'make faults        kills, damaged files and full disks in every command, half an hour of them'
	@echo 'make fuzz          damaged files for each reader, SECONDS=60 each; on Linux alone'

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 install")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable .
	@touch $@

# Tests compare the CRF with pydensecrf, which pip builds with a C++ compiler.
$(TOOLS): $(INSTALLED)
	$(BIN)/python -m pip install --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/python src/make_cues.py localization=efficientnet_lite0_fast
	$(BIN)/python src/train.py experiment=demo data.cues=cues/shapes_efficientnet_lite0_fast/cues.safetensors
	@folder=$$(ls -dt runs/demo/*/ | head -n 1); \
	echo "Cues made from the labels:      cues/shapes_efficientnet_lite0_fast/audit/audit.html"; \
	echo "Photographs, cues, predictions: $${folder}pictures"; \
	echo "Losses and scores over time:    $${folder}curves.png"; \
	echo "Figures with their protocol:    $${folder}results.json"

test: $(TOOLS)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n auto --dist worksteal

# Not part of `make test`: it downloads another torch. Old releases warn of what is gone since, which no code of ours can
# mend, so that warnings are no errors here.
test-oldest: .venv-oldest/.installed
	.venv-oldest/bin/python -m pytest -q -n auto --dist worksteal -W default

.venv-oldest/.installed: pyproject.toml tests/oldest.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "The oldest releases install on Python 3.11 alone: make PYTHON=python3.11 test-oldest")'
	$(PYTHON) -m venv .venv-oldest
	$(PYTHON) tests/oldest.py > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --constraint .venv-oldest/constraints.txt --editable '.[dev]'
	@touch $@

faults: $(TOOLS)
	$(BIN)/python -m tests.faults $(TRIES)

fuzz: $(TOOLS)
	$(BIN)/python -m pip install --editable '.[fuzz]'
	PYTHONPATH=src $(BIN)/python -m tests.fuzz $(SECONDS)
