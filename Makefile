# Two commands for a fresh machine: `make run` and `make test`. Everything is installed into .venv; nothing outside.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Not --quiet: who waits for minutes wants to see that something goes on.
INSTALL := $(BIN)/pip install --disable-pip-version-check --constraint constraints.txt

# A thousand processes of the tests, and those of Ray, would each compile all that they import.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run study test test-slow test-variants test-containers lint format bench study-docs docs charts constraints clean

run: $(INSTALLED)  ## run the quickstart sweep and write its report
	$(BIN)/energysweep run sweeps/quickstart.yaml

STUDY := baseline-images baseline-sensors pretraining multitask hardware
STUDY_FOLDER := sweeps/study
STUDY_RESULTS := results/$(subst /,-,$(STUDY_FOLDER:sweeps/%=%))
# What is to be other than in the files, as key=value without spaces; and other options of `energysweep run`.
STUDY_SET :=
STUDY_OPTIONS :=

study: $(INSTALLED)  ## run the sweeps of the study, or go on with them, and write one report over all of them
	$(BIN)/python -m energysweep.workloads.prepare $(STUDY:%=$(STUDY_FOLDER)/%.yaml) $(STUDY_SET:%=--set '%')
	for part in $(STUDY); do \
		$(BIN)/energysweep run $(STUDY_FOLDER)/$$part.yaml --output $(STUDY_RESULTS) --run-id $$part \
			$(STUDY_SET:%=--set '%') $(STUDY_OPTIONS) || exit; \
	done
	$(BIN)/energysweep compare $(STUDY:%=$(STUDY_RESULTS)/%) --html $(STUDY_RESULTS)/report.html

# Tests that wait for a sweep leave a core to others, and the slow ones wait more. Each process has its own agents, ports
# and Ray. A module is one process's, so that what its tests share is made once; tests/conftest.py says which comes first.
TEST_PROCESSES := 2
SLOW_PROCESSES := 3
PYTEST := $(BIN)/python -m pytest --dist=loadfile --no-loadscope-reorder

test: $(INSTALLED)  ## run all tests; what needs a missing program is skipped, with the reason
	$(PYTEST) --numprocesses=$(TEST_PROCESSES)

test-slow: $(INSTALLED)  ## the tests that make test leaves out (two raylets, lost hosts, ...), and many more examples for properties
	$(PYTEST) --numprocesses=$(SLOW_PROCESSES) -m '(slow or hypothesis) and not variant and not containers' \
		--hypothesis-profile=many

test-variants: $(INSTALLED)  ## what takes the way of a slow test with another setting: before a release, and where it fails
	$(PYTEST) --numprocesses=$(SLOW_PROCESSES) -m variant

test-containers: $(INSTALLED)  ## the images and the cluster of deploy/compose.yaml, in the Docker of DOCKER_HOST; needs root
	$(BIN)/python -m pytest tests/containers -m containers

lint: $(INSTALLED)  ## style, types, and documents made from code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)  ## what energysweep costs, as ratios to the alternatives
	$(BIN)/python -m benchmarks.run

study-docs: $(INSTALLED)  ## docs/study.md and its extracts, from what `make study` left
	$(BIN)/python -m study.document $(STUDY:%=$(STUDY_RESULTS)/%)

docs: $(INSTALLED)  ## documents that are made from code
	$(BIN)/python -c "from energysweep.core.metrics import markdown; print(markdown(), end='')" > docs/metrics.md
	$(BIN)/python -c "from pathlib import Path; from energysweep.cli.schemas import write; write(Path('docs/json'))"
	$(BIN)/energysweep dashboards export deploy/grafana/dashboards

charts: $(INSTALLED)  ## the dashboards and rules that the chart energysweep carries: a chart cannot read files outside of its folder
	$(BIN)/energysweep dashboards export helm/energysweep/files/dashboards
	mkdir -p helm/energysweep/files/rules && cp deploy/prometheus/rules/*.yml helm/energysweep/files/rules/
	cp helm/energysweep-agent/files/test.py helm/energysweep/files/agent-test.py

constraints: $(INSTALLED)  ## pin what is installed now
	(head -n 2 constraints.txt; $(BIN)/pip freeze --exclude-editable | grep -v -e '^torch==' -e '^setuptools==') > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) build dist *.egg-info

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "energysweep needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "installing into $(VENV), once: about 2.3 GB, which takes some minutes"
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) --editable '.[dev]'
	$(INSTALL) --no-deps aeon  # only its data files are used
	touch $@
