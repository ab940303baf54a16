# make demo DATA=PATH   scores MD tree and the baselines; PATH is a clone of the public ModelDiagnosis repository
# make test             style, types and tests
# Both make .venv first, with $(PYTHON).

PYTHON ?= python3
BIN := .venv/bin
DEMO := demo
# What landscape metrics are compared with. Without what they ask for besides (torchvision, transformers): not needed here, large.
COMPARED := pyhessian==0.1 weightwatcher==0.7.7

.PHONY: demo test clean

demo: .venv/demo
ifeq ($(DATA),)
	@echo "There are no zoos in this package yet: give the path of a clone of github.com/YefanZhou/ModelDiagnosis, make demo DATA=PATH"
else
	MDBENCH_HOME=$(DEMO)/home $(BIN)/mdbench import modeldiagnosis "$(DATA)"
	MDBENCH_HOME=$(DEMO)/home $(BIN)/mdbench evaluate md_tree md_tree_cka md_tree_exact barrier_rule landscape_tree \
	  random_forest xgboost logistic_regression nearest_neighbours validation_tree hyperparameter_validation_tree \
	  hyperparameter_tree majority random --beside "" --out $(DEMO)/result
	MDBENCH_HOME=$(DEMO)/home $(BIN)/mdbench plot budget --cases "cifar10/optimizer/*" --out $(DEMO)/budget.png
endif

test: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto

.venv/demo: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/test: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,zoo,dask]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(COMPARED)
	@touch $@ .venv/demo

clean:
	rm -rf .venv $(DEMO)
