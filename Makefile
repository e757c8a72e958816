# Two commands for a newcomer, from a fresh clone: `make demo` and `make test`. PYTHON picks the interpreter (3.11+).
PYTHON ?= python3
VENV ?= .venv
STAMP = $(VENV)/.installed

demo: $(STAMP)
	$(VENV)/bin/python benchmarks/demo.py

test: $(STAMP)
	$(VENV)/bin/python -m pytest

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable '.[test]'
	touch $(STAMP)

.PHONY: demo test
