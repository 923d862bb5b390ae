# What to Keep: set-up and the commands. `make help` lists them.
ifeq ($(filter oneshell,$(.FEATURES)),)
$(error GNU make 3.82 or newer is needed, and this is $(MAKE_VERSION); on macOS: brew install make, then gmake instead of make)
endif
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3# the interpreter that makes .venv
SCALE  ?= quick# quick | full | long | gpu | paper
CORES  ?= $(shell nproc 2>/dev/null || echo 2)# notebooks and tests side by side
TORCH  ?=# cpu: torch's CPU build, where the platform's default would bring gigabytes of CUDA
PORT   ?= 8000# of the local web server

BIN   := .venv/bin
READY := .venv/.ready
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(CORES) --dist worksteal
# $(call took,step): the last word of a step of `make test`; each line of a recipe has its own bash, and its own SECONDS.
took = echo "== $(1) ($$SECONDS s)"

.PHONY: help book test refresh serve bench clean distclean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12
	@echo; echo "Variables: SCALE=quick|full|long|gpu|paper  CORES=n  TORCH=cpu  PYTHON=python3.11  PORT=8000"

book: $(READY) ## run the notebooks at SCALE and build the site; only what changed is run again
	@$(BIN)/python workflow/alone.py _build/.lock \
	  $(BIN)/snakemake book --quiet host rules --cores $(CORES) --config scale=$(SCALE)
	@echo "The site is at $(CURDIR)/_build/html/index.html"

test: $(READY) tools ## lint, types, tests, doctests, notebooks against their stored outputs, site in a real browser
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(call took,lint and types)
	@$(PYTEST) -m oracle --jaxtyping-packages=selectlib,sparing.checker tests && \
	  $(call took,oracles with shapes and types checked at run time)
	@OMP_NUM_THREADS=1 $(BIN)/python workflow/alone.py _build/test/.lock \
	  $(BIN)/snakemake book --quiet host rules --cores $(CORES) --config build=_build/test && $(call took,notebooks and site)
	@$(PYTEST) -m "not oracle" --doctest-modules tests selectlib && \
	  $(call took,all other tests: doctests$(comma) stored outputs of notebooks$(comma) the site in a browser)

refresh: $(READY) ## run the source notebooks in place; keep the outputs that are checked, drop all others
	$(BIN)/python workflow/refresh.py

serve: ## serve the built site at http://localhost:PORT
	@test -f _build/html/index.html || { echo "make serve: no site yet; run 'make book' first." >&2; exit 1; }
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

bench: ## every benchmark beside its peers, in an environment of its own; to try it: make bench BENCH=--quick
	@test -x .venv-bench/bin/python || { echo "Setting up .venv-bench (once; a few minutes, 2.2 GB) ..."; $(PYTHON) -m venv .venv-bench; }
	@$(call install,.venv-bench,bench$(comma)book$(comma)hf$(comma)test)
	@# The index's torchvision is for CUDA; beside a CPU torch it does not load, and transformers stumbles over it.
	@.venv-bench/bin/python -c "import torchvision" 2>/dev/null || .venv-bench/bin/pip uninstall --quiet --yes torchvision
	.venv-bench/bin/python benchmarks/_all.py $(BENCH)

clean: ## remove what was built; the environment stays
	rm -rf _build .snakemake

distclean: clean ## remove the environments too
	rm -rf .venv .venv-bench

# $(call install,environment,extras): pinned packages and selectlib itself. With TORCH=cpu the pinned torch is first looked
# for on this machine, then fetched from torch's own index of CPU builds.
define install
{ $(if $(filter cpu,$(TORCH)),{ $(1)/bin/pip install --quiet --no-deps --no-index -c constraints.txt torch 2>/dev/null || \
    $(1)/bin/pip install --quiet --no-deps --index-url https://download.pytorch.org/whl/cpu -c constraints.txt torch; } &&) \
  $(1)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(2)]'; } || { \
  echo "make: the packages could not be installed; pip's reason stands above. Is the network there (a proxy: HTTPS_PROXY), the disk not full? Then run the same command again: it goes on from here." >&2; exit 1; }
endef

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON) here. Install Python 3.11 or newer, or name yours: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) workflow/before_setup.py . $(TORCH)
	@echo "Setting up .venv (once; a few minutes) ..."
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	@$(call install,.venv,book$(comma)test$(comma)hf$(comma)minilm$(comma)triton$(comma)slurm); touch $@; $(call took,set-up of .venv)
comma := ,

# The tests need a Chromium for the site and a C++ compiler for what is compiled on the CPU. They are installed where that
# is allowed, and named where it is not.
.PHONY: tools
tools:
	@missing=; \
	{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null || missing=chromium; \
	command -v $${CXX:-c++} >/dev/null || missing="$$missing g++"; \
	missing=$$(echo $$missing); test -z "$$missing" || { \
	  if command -v apt-get >/dev/null && { [ "$$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then \
	    echo "Installing for the tests: $$missing ..."; \
	    as_root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	    { $$as_root apt-get update -qq && $$as_root apt-get install -y -qq $$missing >/dev/null; } || { \
	      echo "make test: $$missing could not be installed; apt's reason stands above. Install it (Google Chrome serves as well as chromium) and try again." >&2; exit 1; }; \
	  else echo "make test: the tests need $$missing: install it (Google Chrome serves as well as chromium) and try again." >&2; exit 1; fi; }
