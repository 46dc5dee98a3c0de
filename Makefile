# `make demo` and `make test` do all set-up themselves; `make help` lists the rest.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# A CPU build of torch is enough; another index or version can be given here.
TORCH ?= torch==2.13.0
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
READY := $(VENV)/.ready
SYSTEM := mosquitto dataset-fashion-mnist gcc libc6-dev

.PHONY: help setup system demo test check prove prove-converter prove-engine prove-loop prove-daemon bench-agent bench bars wheelhouse format clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

setup: $(READY) system ## create .venv and install everything

$(READY): pyproject.toml requirements/constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "The venv module is missing: apt-get install python3-venv"; exit 1; }
	@echo "Installing into $(VENV): some minutes and 2.7 GB the first time"
	@$(PIP) install $(TORCH)
	@$(PIP) install -c requirements/constraints.txt -e '.[agent,converter,fleet,openvino,keras,gpio,gym,modbus,cbor,dev]'
	@touch $@

system:
	@sh requirements/apt.sh $(SYSTEM)

demo: setup ## teacher > converter > bundle > agent > broker on real data; at most 15 minutes
	$(BIN)/outrider demo

test: check system ## check, then every test that takes seconds
	$(BIN)/pytest -m 'not slow and not hardware'

check: $(READY) ## lint, types, import contracts, units
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
	@if command -v systemd-analyze >/dev/null 2>&1; then sh systemd/check.sh; else echo "systemd-analyze is not here: units not checked"; fi

prove: demo prove-converter prove-engine prove-loop prove-daemon bench-agent ## the slow proofs: the demo, then every part with its bars, then tests marked slow
	$(BIN)/pytest -m slow || test $$? -eq 5 # 5: none is marked so

prove-converter: setup ## the converter's bars on real data: about thirty-five minutes on two cores
	@sh requirements/apt.sh opencv-doc
	@$(PIP) install --no-deps -r requirements/proofs.txt
	$(BIN)/python -m proofs.converter

prove-engine: setup ## swaps and faults of the engine on real video: about ten minutes
	@sh requirements/apt.sh opencv-doc
	$(BIN)/python -m proofs.engine

prove-loop: setup ## senses, policies, actions and their safe states; the systemd container needs root: about five minutes
	@sh requirements/apt.sh opencv-doc
	@sh requirements/apt.sh systemd-container || echo "Without systemd-container a stand-in takes systemd's place, and its row says so"
	$(BIN)/python -m proofs.loop

prove-daemon: setup ## outbox, telemetry, units, safe mode and reload; power cuts and the container need root: about eight minutes
	@sh requirements/apt.sh opencv-doc
	@sh requirements/apt.sh systemd-container || echo "Without systemd-container the rows of systemd fail and say so"
	@$(PIP) install --no-deps -r requirements/proofs.txt
	$(BIN)/python -m proofs.daemon

bench-agent: setup ## the agent's loop, memory and start against bare runtimes and peers: about fifteen minutes
	@sh requirements/apt.sh opencv-doc
	$(BIN)/python -m proofs.agent

bench: $(READY) ## ratios measured side by side in one run
	@for f in benchmarks/*.py; do $(BIN)/python $$f || exit 1; done

bars: $(READY) ## every bar of every proof file in one table
	@$(BIN)/python -m outrider_bundle.bars

wheelhouse: $(READY) ## a folder that installs offline on a device: make wheelhouse ARCH=aarch64 [PYTHON_VERSION=3.11]
	@test -n "$(ARCH)" || { echo "Which machine? make wheelhouse ARCH=aarch64, armv7l or x86_64"; exit 2; }
	@PYTHON=$(BIN)/python sh requirements/wheelhouse.sh $(ARCH) $(PYTHON_VERSION)

format: $(READY) ## let ruff format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what was built
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
