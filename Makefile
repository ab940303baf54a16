# make demo    scores MD tree and the baselines on the selection sisters, from five of its 25 training samples; DATA=PATH, a clone
#              of the public ModelDiagnosis repository, adds the published cases
# make test    style, types and tests
# make zoos    builds and measures the zoos of the package, and writes their tables, cards and reports: hours on two cores
# make results scores every method on every case, for docs/results.md
# make docs    builds the site of the pages in docs/ and of every room's docstrings into site/
# make entries submits every baseline to the board, in the place of the entry it had there, and verifies them: once, where
#              methods or cases have changed
# All make .venv first, with $(PYTHON).

PYTHON ?= python3
BIN := .venv/bin
DEMO := demo
DEMO_HOME := MDBENCH_HOME=$(DEMO)/home
CASES := --cases sisters $(if $(DATA),--cases paper)
METHODS := md_tree md_tree_exact md_tree_quantile barrier_rule landscape_tree random_forest xgboost nearest_neighbours \
  validation_tree hyperparameter_validation_tree hyperparameter_tree majority random
ZOOS := convection-pinn digits-adamw fashion-cnn fashion-wide mnist1d-cnn mnist1d-mlp mnist1d-plain mnist1d-treated shapes-unet \
  teacher-wide text-lm
# What landscape metrics are compared with. Without what they ask for besides (torchvision, transformers): not needed here, large.
COMPARED := pyhessian==0.1 weightwatcher==0.7.7
define MAKE_VENV
@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
@echo "installing into .venv: a minute or two, and what the downloads take"
@$(PYTHON) -m venv .venv
endef
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
# Behind a command: what it says is shown where it fails, and then in full.
QUIETLY := >.venv/install.log 2>&1 || { cat .venv/install.log >&2; exit 1; }

.PHONY: demo test docs zoos results entries clean

demo: .venv/demo
ifneq ($(DATA),)
	$(DEMO_HOME) $(BIN)/mdbench import modeldiagnosis "$(DATA)"
endif
	$(DEMO_HOME) $(BIN)/mdbench evaluate $(METHODS) $(CASES) --samples 5 --beside "" --out $(DEMO)/result
	$(DEMO_HOME) $(BIN)/mdbench tabulate $(METHODS) $(CASES) --samples 5 --out $(DEMO)/results.md

zoos: .venv/test
	for zoo in $(ZOOS); do \
	  $(BIN)/mdbench zoo build zoos/$$zoo.toml --out out/$$zoo && $(BIN)/mdbench zoo measure out/$$zoo || exit 1; \
	done
	$(BIN)/mdbench zoo publish $(addprefix out/,$(ZOOS)) --to mdbench --tables-only
	for zoo in $(ZOOS); do $(BIN)/mdbench zoo report out/$$zoo --out docs/reports/$$zoo || exit 1; done

results: .venv/test
	$(BIN)/mdbench tabulate --out docs/results.md

entries: .venv/test
	for method in $(basename $(notdir $(wildcard baselines/[!_]*.py))); do \
	  slug=$$(echo $$method | tr _ -); \
	  last=$$(cd leaderboard/entries && ls -d $$slug $$slug-[0-9]* 2>/dev/null | sort -V | tail -n 1); \
	  $(BIN)/mdbench submit $$method --name $$method --authors "The mdbench authors" --selections core \
	    $${last:+--supersedes $$last} || exit 1; \
	done
	$(BIN)/mdbench leaderboard verify --all \
	  $$(cd leaderboard/entries && ls -d *-[0-9]* 2>/dev/null | sed 's/^/--allow-supersede /')

test: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/loops.py & loops=$$!; $(BIN)/mypy && wait $$loops || { kill $$loops 2>&-; exit 1; }
	$(BIN)/pytest -n auto --dist worksteal --durations 20 --durations-min 5

docs: .venv/test
	$(BIN)/mkdocs build --quiet
	@echo "site/index.html is its first page; $(BIN)/mkdocs serve shows it as it changes"

.venv/demo: pyproject.toml constraints.txt
	$(MAKE_VENV)
	@$(INSTALL) --editable ".[data,xgboost]" $(QUIETLY)
	@touch $@

.venv/test: pyproject.toml constraints.txt
	$(MAKE_VENV)
	@$(INSTALL) --editable ".[dev,docs,zoo,dask,leaderboard,xgboost]" $(QUIETLY)
	@$(INSTALL) --no-deps $(COMPARED) $(QUIETLY)
	@touch $@ .venv/demo

clean:
	rm -rf .venv $(DEMO) site
