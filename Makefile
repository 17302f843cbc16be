PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-slow clean

demo: $(INSTALLED)
	$(BIN)/icecore demo --out demo-run

# Order, width of the terminal and length of paths are drawn anew each time; the seed is printed.
test: $(INSTALLED)
	$(BIN)/pip install --quiet --no-deps -r requirements-test.txt
	PYTHONPATH=tests/helpers $(BIN)/python -m pytest -p conditions

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
