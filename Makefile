# The newest Python on the PATH that icecore runs on; or: make demo PYTHON=/usr/bin/python3.12
PYTHON ?= $(shell tools/pythons.sh --path | head -n 1)
VENV ?= .venv
PROCESSES ?= $(shell tools/processes.sh)
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The checkout is the package, and its folder may have a name that no package can have
# (icecore-main): pytest is to look no higher than tests/.
PYTEST := PYTHONPATH=tests/helpers $(BIN)/python -m pytest --confcutdir=tests

.PHONY: demo test test-slow test-properties test-torch test-stores types docs release-check clean

demo: $(INSTALLED)
	$(BIN)/icecore demo --out demo-run

# Order, width of the terminal and length of paths are drawn anew each time; the seed is printed.
# What cannot be tried on this machine is skipped, and why is said at the end. Several processes
# take a file each at a time, where there is room for them; PROCESSES= has one. One that dies ends the
# run: xdist would wait for ever for the rest of its file.
test: $(VENV)/.testing
	$(PYTEST) -p conditions $(if $(PROCESSES),-n $(PROCESSES) --max-worker-restart=0 --dist loadfile --no-loadscope-reorder) -r fEs $(TESTS)

# The tests that take minutes.
test-slow: $(VENV)/.testing
	$(PYTEST) -m slow -r fEs

# Every property on a thousand new examples, or on twenty times its usual number where that is less;
# one that fails becomes an @example.
test-properties: $(VENV)/.testing
	$(PYTEST) -m hypothesis --hypothesis-profile=search -r fEs $(TESTS)

# What is compared with torch and timm, which bring gigabytes on some systems.
test-torch: $(VENV)/.torch
	$(PYTEST) -r fEs tests/features/sources tests/features/weights tests/cache/sharing

# What is tried against an object store, which a package plays. That package holds others back
# (boto's wants an older python-dateutil than is pinned), so it has an environment of its own.
# Azure's is played by Microsoft's emulator where npm can install it.
STORES := $(VENV)-stores
test-stores: $(STORES)/.stores
	$(subst $(BIN)/,$(STORES)/bin/,$(PYTEST)) -r fEs tests/cache/upkeep tests/core/test_lying_stores.py tests/jobs/test_places.py tests/jobs/test_clouds.py tests/jobs/test_streams.py tests/jobs/test_read_once.py tests/jobs/test_dry_run.py tests/test_docs.py \
	  tests/examples/test_recipes.py::test_a_bucket_has_the_rows_of_a_folder
	$(subst $(BIN)/,$(STORES)/bin/,$(PYTEST)) -r fEs -m slow tests/test_docs_commands.py -k 'README or places'

# Types, by mypy; what it looks at stands in pyproject.toml. It takes the package by its name,
# whatever the checkout is called.
types: $(VENV)/.types
	@named=$$(mktemp -d) && ln -s "$(CURDIR)" "$$named/icecore" && cd "$$named" && \
	  { "$(abspath $(BIN))/python" -m mypy --config-file "$(CURDIR)/pyproject.toml"; code=$$?; rm -r "$$named"; exit $$code; }

$(VENV)/.types: $(INSTALLED)
	$(BIN)/pip install --quiet mypy==2.4.1
	touch $@

# The site of the documents, in docs/_build/index.html.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build
	@echo docs/_build/index.html

$(VENV)/.docs: $(INSTALLED) requirements-docs.txt
	$(BIN)/pip install --quiet -r requirements-docs.txt
	touch $@

# The sets are complete, so nothing needs to be resolved.
$(INSTALLED): requirements.txt pyproject.toml
	@test -x $(BIN)/python || test -n "$(PYTHON)" || { \
	  echo "icecore needs Python 3.11 or newer with venv (on Debian: apt-get install python3-venv)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps -r requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.testing: $(INSTALLED) requirements-test.txt
	$(BIN)/pip install --quiet --no-deps -r requirements-test.txt
	touch $@

$(VENV)/.torch: $(VENV)/.testing requirements-torch.txt
	$(BIN)/pip install --quiet -r requirements-torch.txt
	touch $@

$(STORES)/.stores: requirements.txt requirements-test.txt requirements-stores.txt pyproject.toml
	$(MAKE) VENV=$(STORES) $(STORES)/.testing
	$(STORES)/bin/pip install --quiet -r requirements-stores.txt
	-! command -v npm >/dev/null || npm install --silent --no-audit --no-fund --prefix $(STORES) azurite@3.35.0
	touch $@

# What is published, tried: sdist and wheel, then the three jobs from the wheel alone on each Python.
release-check: $(VENV)/.testing
	$(BIN)/pip install --quiet build twine
	rm -rf dist
	$(BIN)/python -m build --quiet --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(PYTEST) -m slow -r fEs tests/test_wheel.py

clean:
	rm -rf $(VENV) $(STORES) demo-run docs/_build docs/howto/notebook-run.rst
