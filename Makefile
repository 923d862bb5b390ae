# What to Keep: set-up and the commands. `make help` lists them.
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
# One build at a time: Snakemake's own lock survives a SIGKILL and then refuses to go on; this one dies with its holder.
LOCKED := mkdir -p _build && flock --nonblock --conflict-exit-code 75 _build/.lock

.PHONY: help book test refresh serve bench clean distclean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12
	@echo; echo "Variables: SCALE=quick|full|long|gpu|paper  CORES=n  TORCH=cpu  PYTHON=python3.11  PORT=8000"

book: $(READY) ## run the notebooks at SCALE and build the site; only what changed is run again
	@$(LOCKED) $(BIN)/snakemake book --cores $(CORES) --config scale=$(SCALE) || { code=$$?; \
	  if [ $$code = 75 ]; then echo "make book: another build is running in this folder; wait for it or stop it." >&2; fi; exit $$code; }
	@echo "The site is at $(CURDIR)/_build/html/index.html"

test: $(READY) browser ## lint, types, tests, doctests, notebooks against their stored outputs, site in a real browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(CORES) -m oracle --jaxtyping-packages=selectlib,beartype.beartype tests
	OMP_NUM_THREADS=1 $(BIN)/snakemake book --quiet --cores $(CORES) --config build=_build/test
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(CORES) --dist loadfile --doctest-modules --nbval-lax tests selectlib notebooks

refresh: $(READY) ## run the source notebooks in place; keep the outputs that are checked, drop all others
	$(BIN)/python workflow/refresh.py

serve: ## serve the built site at http://localhost:PORT
	@test -f _build/html/index.html || { echo "make serve: no site yet; run 'make book' first." >&2; exit 1; }
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

bench: ## every benchmark beside its peers, in an environment of its own
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	$(call install,.venv-bench,bench$(comma)book$(comma)hf$(comma)test)
	for script in benchmarks/[!_]*.py; do .venv-bench/bin/python $$script --device cpu; done

clean: ## remove what was built; the environment stays
	rm -rf _build .snakemake

distclean: clean ## remove the environments too
	rm -rf .venv .venv-bench

# $(call install,environment,extras): pinned packages and selectlib itself. With TORCH=cpu the pinned torch is first looked
# for on this machine, then fetched from torch's own index of CPU builds.
define install
$(if $(filter cpu,$(TORCH)),$(1)/bin/pip install --quiet --no-deps --no-index -c constraints.txt torch 2>/dev/null || \
  $(1)/bin/pip install --quiet --no-deps --index-url https://download.pytorch.org/whl/cpu -c constraints.txt torch)
$(1)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(2)]'
endef

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@echo "Setting up .venv (once; a few minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(call install,.venv,book$(comma)test$(comma)hf$(comma)minilm$(comma)triton)
	@touch $@
comma := ,

# The site's tests need a Chromium. It is installed where that is allowed, and named where it is not.
.PHONY: browser
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  if command -v apt-get >/dev/null && { [ "$$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then \
	    echo "Installing Chromium for the tests of the site ..."; \
	    as_root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	    $$as_root apt-get update -qq && $$as_root apt-get install -y -qq chromium >/dev/null; \
	  else echo "make test: the tests of the site need Chromium: install the package 'chromium' (or Google Chrome) and try again." >&2; exit 1; fi; }
