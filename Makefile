# make demo, make test and make lint make their own environment in .venv from Python 3.11 and pip.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# small linear algebra is faster on one thread, and two cores are shared by two test processes
export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1
export MKL_NUM_THREADS = 1

.PHONY: help demo test test-slow lint bench clean

help:
	@echo "make demo       simulate, select, scan and report into out/demo"
	@echo "make test       the fast tests"
	@echo "make test-slow  the slow tests"
	@echo "make lint       ruff, mypy and the import contracts"
	@echo "make bench      the benchmarks, side by side with their peers"
	@echo "make clean      remove the environment and the outputs"

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/python -m alp_coffea.run --demo -o out/demo

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# the other files in benchmarks/ are the peers that these run side by side
BENCHMARKS := simulation reading throughput engine scaling
bench: $(VENV)/installed demo
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit 1; done
	$(BIN)/python benchmarks/validation.py out/demo

clean:
	rm -rf $(VENV) out
