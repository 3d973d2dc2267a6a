# `make run` and `make test` need Python 3.11 and make, and nothing else.
PYTHON ?= python3.11
VENV := .venv
OLDEST := .venv-oldest
INSTALLED := $(VENV)/installed
OLDEST_INSTALLED := $(OLDEST)/installed

.PHONY: run test test-fast test-oldest check docs install clean

run: $(INSTALLED)
	$(VENV)/bin/python run_recbole_enhance.py --model=DVR --dataset=ml-100k

test: $(INSTALLED)
	$(VENV)/bin/python -m pytest

test-fast: $(INSTALLED)
	$(VENV)/bin/python -m pytest -m "not slow"

test-oldest: $(OLDEST_INSTALLED)
	$(OLDEST)/bin/python -m pytest tests/compat tests/experiment/test_config.py tests/options tests/shapley tests/enhancer tests/metric

check: $(INSTALLED)
	$(VENV)/bin/python -m pip install -q -c constraints.txt -e ".[check]"
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest

# Comments of properties/ and docs/options.md, from the classes of options.
docs: $(INSTALLED)
	$(VENV)/bin/python -m recbole_enhance.experiment.option_docs

install: $(INSTALLED)

$(INSTALLED): setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -c constraints.txt -e ".[test]"
	touch $@

$(OLDEST_INSTALLED): setup.cfg constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install -c constraints-oldest.txt -e ".[oldest]"
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) build dist *.egg-info
