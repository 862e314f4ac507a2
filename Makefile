PYTHON ?= python3
# Another Python in addition to the usual one: make PYTHON=python3.12 VENV=.venv-3.12 test
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TOOLS := $(VENV)/.tools

.PHONY: help install demo test gpu test-oldest faults fuzz cluster

# Arguments of make faults; the full campaign is kills=200 damages=1000 disks=50 minutes=600.
TRIES ?= minutes=30
# Time of make fuzz for each reader.
SECONDS ?= 60

help:
	@echo 'make install       install the project in .venv, or in VENV=<folder>'
	@echo 'make demo          from image-level labels to cues and masks, on the built-in data: minutes on two cores'
	@echo 'make test          lint, check types, run the tests; builds pydensecrf, which needs a C++ compiler'
	@echo 'make gpu           measure a GPU for 8 minutes at most: equality with the CPU, times, memory; one table to send'
	@echo 'make test-oldest   run the tests in .venv-oldest, with the oldest releases that pyproject.toml allows'
	@echo 'make faults        kill commands, damage their files and fill their disks, for half an hour'
	@echo 'make cluster       sweep and train on a Slurm cluster of this machine; needs root and the packages of Slurm'
	@echo 'make fuzz          give each reader damaged files, for SECONDS=60 each; on Linux only'

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 install")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable .
	@touch $@

# The tests compare the CRF with pydensecrf, which pip builds with a C++ compiler.
$(TOOLS): $(INSTALLED)
	$(BIN)/python -m pip install --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/python src/make_cues.py localization=efficientnet_lite0_fast
	$(BIN)/python src/train.py experiment=demo data.cues=cues/shapes_efficientnet_lite0_fast/cues.safetensors
	@folder=$$(ls -dt runs/demo/*/ | head -n 1); \
	echo "Cues made from the labels:      cues/shapes_efficientnet_lite0_fast/audit/audit.html"; \
	echo "Images, cues, predictions:      $${folder}pictures"; \
	echo "Losses and scores over time:    $${folder}curves.png"; \
	echo "Figures with their protocol:    $${folder}results.json"

test: $(TOOLS)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n auto --dist worksteal

# Needs nothing that `make install` does not bring. Other options: make gpu OPTIONS='--root <VOC2012>'
gpu: install
	$(BIN)/python -m benchmarks.gpu $(OPTIONS)

# Not part of `make test`: it downloads another torch. Old releases warn of features that were removed since. Code of ours
# cannot fix this, so warnings are not errors here.
test-oldest: .venv-oldest/.installed
	.venv-oldest/bin/python -m pytest -q -n auto --dist worksteal -W default

.venv-oldest/.installed: pyproject.toml tests/oldest.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "The oldest releases need Python 3.11: make PYTHON=python3.11 test-oldest")'
	$(PYTHON) -m venv .venv-oldest
	$(PYTHON) tests/oldest.py > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --constraint .venv-oldest/constraints.txt --editable '.[dev]'
	@touch $@

faults: $(TOOLS)
	$(BIN)/python -m tests.faults $(TRIES)

fuzz: $(TOOLS)
	$(BIN)/python -m pip install --editable '.[fuzz]'
	PYTHONPATH=src $(BIN)/python -m tests.fuzz $(SECONDS)

# Not part of `make test`: it starts the daemons of a cluster, in a folder of its own, and ends them.
cluster: $(TOOLS)
	$(BIN)/python -m pytest -q -rs tests/cluster
