PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-slow clean

demo: $(INSTALLED)
	$(BIN)/icecore demo --out demo-run

test: $(INSTALLED)
	$(BIN)/pip install --quiet --no-deps -r requirements-test.txt
	$(BIN)/python -m pytest

# The tests that take minutes.
test-slow: $(INSTALLED)
	$(BIN)/pip install --quiet --no-deps -r requirements-test.txt
	$(BIN)/python -m pytest -m slow

# requirements.txt is complete, so nothing needs to be resolved.
$(INSTALLED): requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps -r requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf $(VENV) demo-run
