# make demo, make test and make lint make their own environment in .venv from Python 3.11 and pip.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# small linear algebra is faster on one thread, and two cores are shared by two test processes
export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1
export MKL_NUM_THREADS = 1

# A part of the fast tests that meets every library: what lowest and newest versions are tried on
REPRESENTATIVE := tests/test_pipeline.py tests/test_foreign_run.py tests/test_export.py \
  tests/test_cli.py tests/events/test_schema.py tests/events/test_corrections.py \
  tests/execution/test_faults.py tests/execution/test_encoding.py tests/physics/test_kernels.py \
  tests/simulation/test_lhe.py tests/stats/test_signal_model.py tests/stats/test_workspace.py \
  tests/plots/test_fits.py tests/plots/test_limits.py

.PHONY: help learning demo test test-slow test-lowest test-newest docs lint bench clean

help:
	@echo "make demo       simulate, select, scan and report into out/demo"
	@echo "make test       the fast tests"
	@echo "make test-slow  the slow tests"
	@echo "make test-lowest, make test-newest"
	@echo "                some tests with the oldest libraries allowed; wheel and demonstration"
	@echo "                outside this folder with the newest, then the same tests"
	@echo "make learning   PyTorch into the environment, for the tests of training"
	@echo "make docs       the documentation site: site/index.html"
	@echo "make lint       ruff, mypy and the import contracts"
	@echo "make bench      the benchmarks, side by side with their peers"
	@echo "make clean      remove the environment and the outputs"

$(VENV)/installed: pyproject.toml requirements/pinned.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint requirements/pinned.txt --editable '.[dev]'
	touch $@

# PyTorch is large: without it, the tests of training are skipped
learning: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint requirements/pinned.txt -r requirements/learning.txt

demo: $(VENV)/installed
	$(BIN)/python -m alp_coffea.run --demo -o out/demo

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

LOWEST := $(VENV)-lowest
test-lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet -r requirements/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet --no-deps --editable .
	NUMBA_CACHE_DIR=$(abspath $(LOWEST))/numba \
	  $(LOWEST)/bin/python -m pytest -n 2 --dist worksteal --durations=10 $(REPRESENTATIVE)

test-newest:
	.ci/wheel "$(PYTHON)" $(REPRESENTATIVE)

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

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
	rm -rf $(VENV) $(LOWEST) out site
