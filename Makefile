# What a clone is good for. `make resnet50` and `make test` start from nothing but Python.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# torch goes first and pinned: its version decides the exporter, so everybody's ONNX files agree, and
# the open range in pyproject.toml would fetch the newest with all of its CUDA packages. For another
# build of it:  make test TORCH="torch>=2.12"  (after `make distclean`, if there is a .venv).
TORCH  ?= torch==2.13.0
EXTRAS ?= cpu,rtx,dev

MODELS := $(basename $(notdir $(wildcard configs/*.yaml)))
# Needs a torchvision from the same build as torch, which is the user's to install.
OPTIONAL := torchvision_resnet50

.DEFAULT_GOAL := help
.PHONY: help venv all-models test slow faults check lint format schema docs captures seal bench browser clean distclean $(MODELS)

help:
	@echo "make resnet50     build configs/resnet50.yaml into build/resnet50/"
	@echo "make MODEL        the same for: $(MODELS)"
	@echo "make all-models   every recipe of configs/, what is fresh from the cache, and one summary"
	@echo "make test         run the tests, but for the slow ones; ARGS are pytest's"
	@echo "make slow         run the slow ones: kills, audits, a browser, every block of the documents, examples"
	@echo "make check        everything: lint, the tests, the slow ones"
	@echo "make faults       kill builds at 200 moments"
	@echo "make lint         ruff, mypy, import-linter"
	@echo "make format       rewrite the code as ruff formats it"
	@echo "make schema       write schemas/recipe.schema.json"
	@echo "make docs         write docs/recipe.md and docs/diagnostics.md"
	@echo "make captures     write what terminals show, for docs/captures/, anew"
	@echo "make seal         say that the steps' versions are right for the code as it is now"
	@echo "make bench        measure: cold and null builds, one change, diff, the fp16 simulation, the search, int8 (an hour)"
	@echo "make browser      fetch a headless browser into build/browser, for the tests of the report"
	@echo "make clean        remove what was built; make distclean: the environment too"

# The environment is made again only when what it holds may have changed.
venv: $(READY)
$(READY): pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "modelbuild needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install "$(TORCH)"
	$(BIN)/python -m pip install --editable ".[$(EXTRAS)]"
	@touch $@

$(MODELS): $(READY)
	$(BIN)/modelbuild build configs/$@.yaml

all-models: $(READY)
	@recipes="$(patsubst %,configs/%.yaml,$(filter-out $(OPTIONAL),$(MODELS)))"; \
	if $(BIN)/python -c "import torchvision" 2>/dev/null; \
	then recipes="$$recipes $(patsubst %,configs/%.yaml,$(OPTIONAL))"; \
	else echo "skipped $(OPTIONAL): install a torchvision from the same build as torch"; fi; \
	echo "$(BIN)/modelbuild build --keep-going $$recipes"; $(BIN)/modelbuild build --keep-going $$recipes

# Two files at once: a build keeps one core busy while it imports, and both while it computes.
PYTEST = $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: $(READY)
	$(PYTEST) -m "not slow" $(ARGS)

# Only the files that have some: to look for them in all costs each of the processes ten seconds.
SLOW = $(or $(ARGS),$(sort $(shell grep -rlE --include='test_*.py' 'mark\.slow' tests)))

slow: $(READY)
	$(PYTEST) -m slow $(SLOW)

# More of what the tests do in part: builds killed at 200 moments. Other ones: MODELBUILD_SEED=1.
faults: $(READY)
	MODELBUILD_KILLS=$${MODELBUILD_KILLS:-200} $(BIN)/python -m pytest tests/builds/test_kills.py

check: lint test slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Through a draft, so that a failure leaves the old schema.
schema: $(READY)
	@mkdir -p build schemas
	$(BIN)/modelbuild schema > build/recipe.schema.json
	mv build/recipe.schema.json schemas/recipe.schema.json

docs: $(READY)
	$(BIN)/python docs/generate.py

# After a change of code that decides results: it says whose versions stand, and when that is wrong.
captures: $(READY)
	$(BIN)/python -m tests.cli.captures

seal: $(READY)
	$(BIN)/python -m tests.seal

bench: $(READY)
	$(BIN)/python bench/cold_build.py
	$(BIN)/python bench/null_build.py
	$(BIN)/python bench/one_change.py
	$(BIN)/python bench/diff.py
	$(BIN)/python bench/fp16_fidelity.py
	$(BIN)/python bench/fp16_search.py
	$(BIN)/python bench/int8.py
	$(BIN)/python bench/calibration.py

# For the tests of the report where there is no chromium: fetches one with npm.
browser:
	.ci/browser

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
