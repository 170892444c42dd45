# make help lists the targets. Each makes the .venv it needs; a stamp file lets the next call skip the installation.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?= -n 3 --dist loadfile --no-loadscope-reorder
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -c constraints.txt

# Nothing of the calling shell's environment may reach into .venv.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: help demo test docs axe lint format clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## search the embedded portrait model; pictures and the study go to demo-out/
	$(BIN)/surrogate-ax demo

test: $(VENV)/.dev ## run the tests; PYTEST_ARGS="-k charts" passes arguments on
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

docs: $(VENV)/.dev ## the site of the documentation, into site/; it needs no server and no network
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

axe: .axe/node_modules/axe-core/axe.min.js ## fetch axe-core, which checks pages in the tests; needs npm

.axe/node_modules/axe-core/axe.min.js:
	npm install --prefix .axe --silent --no-audit --no-fund --ignore-scripts axe-core@4.14.1

lint: $(VENV)/.dev ## ruff's rules and format, mypy strict
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.dev ## let ruff mend and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove .venv, caches, builds, the site and the demo's output
	rm -rf $(VENV) .axe .notebooks build dist demo-out site .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find surrogate_ax integrations tests examples -name __pycache__ -prune -exec rm -rf {} +

# torch comes first and alone: whoever needs another build (CUDA, ROCm) installs it into .venv before this step.
$(VENV)/.torch: constraints.txt
	@echo "Making $(VENV) and installing torch (a minute or two, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) torch
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	@echo "Installing what the demo needs"
	@$(PIP_INSTALL) -e '.[optuna,diffusers,cli,web]'
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	@echo "Installing every extra and the tools for tests"
	@$(PIP_INSTALL) -e '.[all,dev]'
	@touch $@
