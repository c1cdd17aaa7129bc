# Two commands: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)

.PHONY: demo test lint types tests docs clean

demo: $(STAMP)
	$(BIN)/genlearn demo

test: lint types tests docs

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	rm -f $(VENV)/installed-*
	touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

# One thread per worker: two OpenMP threads beside a busy neighbour collapse.
tests: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests genlearn --doctest-modules -rs -n 2 --dist worksteal \
		--cov=genlearn --cov-report=term --cov-fail-under=90 --durations=10

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .coverage*
