# make demo   train several models at once, fairly and unfairly, and draw the result
# make results  run every experiment on all cores (two hours on two; goes on where it was stopped)
# make test   lint, types, import contracts, then every test
# make explore  the tests on examples that nobody has drawn yet
# make docs   the documentation as a site in build/site, warnings are errors
# make flower  federations of real processes on this machine (installs Flower; minutes)
# make release-check  build what would be published, and try it where the repository is not
# They set everything up themselves on the first call and reuse it afterwards.

VENV    := .venv
BIN     := $(VENV)/bin
PYTHON  ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PIP     := $(BIN)/python -m pip --disable-pip-version-check
# pip's own progress output hides what matters; its errors still show.
INSTALL := $(PIP) install --quiet --constraint constraints.txt
OUT     ?= runs/demo
# Arms and seeds that `make results` works on at a time.
JOBS    ?= $(shell $(PYTHON) -c 'import os; print(os.cpu_count())')

# Small matrices and small models: one thread is several times faster than many.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test flower explore docs lint format bench gpu-check results release-check clean

demo: $(VENV)/runtime.stamp
	$(BIN)/python -m fl_runtime run experiments/demo.toml --out $(OUT) --fresh

# Every process loads PyTorch, about half a gigabyte.
test: lint
	$(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 8 --dist loadfile

flower: $(VENV)/flower.stamp
	$(BIN)/python -m pytest -q tests/fl_runtime/flower fl_runtime/flower

explore: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 8 --dist loadfile \
		--hypothesis-profile=explore

docs: $(VENV)/docs.stamp
	NO_MKDOCS_2_WARNING=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html"

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

results: $(VENV)/runtime.stamp
	$(BIN)/python -m fl_runtime results experiments/*.toml --jobs $(JOBS) --out docs/results.md

bench: $(VENV)/peers.stamp
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

gpu-check: $(VENV)/peers.stamp
	$(BIN)/python benchmarks/peers/gpu_check.py

# Ten minutes and five gigabytes for a while: two environments with PyTorch.
release-check: $(VENV)/python.stamp
	$(BIN)/python release/check.py

clean:
	rm -rf $(VENV) runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is newer than what it was made from, so a second call installs nothing.
$(VENV)/python.stamp:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed (python3 on the path, or make PYTHON=/path/to/python)"; exit 1; }
	@echo "Creating $(VENV) with $(PYTHON)"
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/runtime.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	@echo "Installing PyTorch, pinned (the largest part: a minute or two)"
	$(INSTALL) torch==2.13.0
	@echo "Installing fairopt and its runtime"
	$(INSTALL) --editable '.[runtime]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/runtime.stamp
	@echo "Installing the test tools"
	$(INSTALL) --editable '.[dev]'
	@touch $@

$(VENV)/docs.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	@echo "Installing the tools of the documentation"
	$(INSTALL) --editable '.[docs]'
	@touch $@

$(VENV)/flower.stamp: $(VENV)/dev.stamp
	@echo "Installing Flower"
	$(INSTALL) --editable '.[dev,flower]'
	@touch $@

$(VENV)/peers.stamp: $(VENV)/dev.stamp
	@echo "Installing the packages to compare with"
	$(INSTALL) --editable '.[peers]'
	@touch $@
