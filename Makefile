# `make run` and `make test` need make and Python 3.10 to 3.14, and nothing else. PYTHON= names one; by
# default it is `python3` if that is one of them, else the newest that there is.
SUPPORTED := 3.14 3.13 3.12 3.11 3.10
IS_SUPPORTED := import sys; sys.exit("%d.%d" % sys.version_info[:2] not in "$(SUPPORTED)".split())
ifndef PYTHON
PYTHON := $(firstword $(foreach name,python3 $(SUPPORTED:%=python%),\
	$(shell $(name) -c '$(IS_SUPPORTED)' 2>/dev/null && echo $(name))))
endif
# TORCH=cuda installs torch with its CUDA libraries, into a folder of its own. Otherwise pip takes a build
# for the CPU, from where it is configured to look, or from INDEX=ADDRESS.
TORCH ?= cpu
INDEX ?=
ifeq ($(TORCH),cuda)
VENV ?= .venv-cuda
CONSTRAINTS := constraints-cuda.txt
else
VENV ?= .venv
CONSTRAINTS := constraints.txt
endif
OLDEST := .venv-oldest
INSTALLED := $(VENV)/installed
CHECK_INSTALLED := $(VENV)/check-installed
OLDEST_INSTALLED := $(OLDEST)/installed
RECBOLE := recbole==1.2.1
VERSION := 'import sys; print(sys.version)'
FROM := $(if $(INDEX),--extra-index-url $(INDEX))

# Tests at a time, each on one thread. Those marked `serial` follow, one after the other.
JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest
MKDOCS := NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs
PARALLEL := -n $(JOBS) --dist worksteal

.PHONY: run test test-fast test-random test-oldest test-pythons lint check docs site install release clean

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

# tests/compat/test_needs.py is about the environment that all tests run in.
test-oldest: $(OLDEST_INSTALLED)
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest $(PARALLEL) --ignore=tests/compat/test_needs.py tests/experiment/test_config.py \
		$(foreach room,compat options shapley enhancer metric,tests/$(room) recbole_enhance/$(room))

# The fast tests on the other Pythons of this machine for which a torch for the CPU is at hand.
test-pythons:
	$(PYTHON) .ci/pythons $(FROM)

lint: $(CHECK_INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(MKDOCS) build --strict --quiet

check: lint test

# Comments of properties/, docs/options.md and docs/command_line.md, as the program has them.
docs: $(INSTALLED)
	$(VENV)/bin/python -m recbole_enhance.experiment.option_docs
	$(VENV)/bin/python -m recbole_enhance.cli.help_page

# The documentation as a site, in site/: open site/index.html. Browsers allow its search only from a
# server: python -m http.server -d site
site: $(CHECK_INSTALLED)
	$(MKDOCS) build --strict

install: $(INSTALLED)

# sdist and wheel in dist/, checked and tried in an empty folder; nothing is uploaded.
release: $(INSTALLED)
	.ci/release $(PYTHON) $(VENV)

# What a package needs is installed first; RecBole and this package follow without their requirements,
# because RecBole's hold a ray that this package never imports and that Python 3.12 cannot have.
# $(call install,FOLDER,CONSTRAINTS,EXTRA)
# An environment of another Python is removed first: venv would leave that Python in it.
define install
	$(if $(PYTHON),,$(error no Python of $(SUPPORTED) found; PYTHON=PATH names one))
	@$(PYTHON) -c '$(IS_SUPPORTED)' || { echo "PYTHON=$(PYTHON): one of $(SUPPORTED) is needed" >&2; exit 1; }
	version=$$($(PYTHON) -c $(VERSION)) && \
		{ [ "$$($(1)/bin/python -c $(VERSION) 2>/dev/null)" = "$$version" ] || [ ! -f $(1)/pyvenv.cfg ] || rm -rf $(1); }
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m recbole_enhance.compat.needs $(3) > $(1)/needs.txt
	$(1)/bin/python -m pip install $(FROM) -c $(2) -r $(1)/needs.txt || { $(HINT); exit 1; }
	$(1)/bin/python -m pip install --no-deps $(RECBOLE) -e .
endef
HINT := echo "If pip found no torch for the CPU: PyTorch's page pytorch.org/get-started/locally shows the \
address of these builds, for Linux, Pip and CPU. Then: make run INDEX=ADDRESS, or make run TORCH=cuda" >&2

# PYTHON= on the command line that names another Python than that of the environment installs again.
ifeq ($(origin PYTHON),command line)
ifneq ($(shell $(PYTHON) -c $(VERSION)),$(shell $(VENV)/bin/python -c $(VERSION) 2>/dev/null))
$(INSTALLED): FORCE
endif
endif
FORCE:

$(INSTALLED): setup.cfg constraints.txt constraints-cuda.txt constraints-tested.txt
	$(call install,$(VENV),$(CONSTRAINTS),test)
	touch $@

$(CHECK_INSTALLED): $(INSTALLED)
	$(call install,$(VENV),$(CONSTRAINTS),test check docs)
	touch $@

$(OLDEST_INSTALLED): setup.cfg constraints-oldest.txt
	$(call install,$(OLDEST),constraints-oldest.txt,oldest)
	touch $@

clean:
	rm -rf .venv .venv-* build dist *.egg-info
