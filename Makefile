# `make run` and `make test` need Python 3.11 and make, and nothing else.
PYTHON ?= python3.11
VENV := .venv
OLDEST := .venv-oldest
INSTALLED := $(VENV)/installed
OLDEST_INSTALLED := $(OLDEST)/installed

CHECK_INSTALLED := $(VENV)/check-installed
# Tests at a time, each on one thread. Those marked `serial` follow, one after the other.
JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest
PARALLEL := -n $(JOBS) --dist worksteal

.PHONY: run test test-fast test-random test-oldest lint check docs install clean

run: $(INSTALLED)
	$(VENV)/bin/python run_recbole_enhance.py --model=DVR --dataset=ml-100k

test: $(INSTALLED)
	$(PYTEST) $(PARALLEL) -m "not serial"
	$(PYTEST) -m serial

test-fast: $(INSTALLED)
	$(PYTEST) $(PARALLEL) -m "not slow and not serial"

# No test may lean on what ran before it.
test-random: $(INSTALLED)
	$(PYTEST) $(PARALLEL) -m "not serial" -p randomly --randomly-dont-reset-seed

test-oldest: $(OLDEST_INSTALLED)
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest $(PARALLEL) tests/experiment/test_config.py \
		$(foreach room,compat options shapley enhancer metric,tests/$(room) recbole_enhance/$(room))

lint: $(CHECK_INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

check: lint test

# Comments of properties/, docs/options.md and docs/command_line.md, as the program has them.
docs: $(INSTALLED)
	$(VENV)/bin/python -m recbole_enhance.experiment.option_docs
	$(VENV)/bin/python -m recbole_enhance.cli.help_page

install: $(INSTALLED)

$(INSTALLED): setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -c constraints.txt -e ".[test]"
	touch $@

$(CHECK_INSTALLED): $(INSTALLED)
	$(VENV)/bin/python -m pip install -c constraints.txt -e ".[check]"
	touch $@

$(OLDEST_INSTALLED): setup.cfg constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install -c constraints-oldest.txt -e ".[oldest]"
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) build dist *.egg-info
