# Each target is one documented command. PYTHON may name another interpreter: make test PYTHON=python3.12
PYTHON ?= python3
PY := .venv/bin/python
export OMP_WAIT_POLICY ?= PASSIVE
export HF_HUB_DISABLE_PROGRESS_BARS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help env lab test model build check grade bench book claims real gpu clean
help:            ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

env:             ## make or update .venv (nothing to do: a fraction of a second)
	@$(PYTHON) -m utils.bootstrap

lab: env         ## set everything up and open the course in JupyterLab
	@$(PY) -m utils.cli lab

test: env        ## set everything up and run all that CI runs
	@$(PYTHON) -m utils.bootstrap book cluster evaluate grading parallel ragas serving tracking
	@$(PY) -m utils.cli model || echo "Going on without the real model."
	@$(PY) -m tests

model: env       ## fetch the real model of the lectures once (93 MB)
	@$(PY) -m utils.cli model

build: env       ## make notebooks, labs and solutions from their sources
	@$(PY) -m utils.build

check: env       ## compare the committed notebooks with their sources, without running them
	@$(PY) -m utils.build --check

grade: env       ## grade a class: make grade LAB=02_attention FROM=submissions OUT=grades
	@$(PY) -m utils.cli grade "$(LAB)" "$(FROM)" --out "$(OUT)"

bench: env       ## one table of speed ratios against peers, each row measured in one run
	@$(PY) -m tests.bench

book: env        ## a site of all lectures to read, and a PDF, in artifacts/book
	@$(PYTHON) -m utils.bootstrap book
	@$(PY) -m utils.cli book

claims: env      ## measure the claims over several seeds whose code has changed, and record them
	@$(PY) -m tests.claims

real: env        ## train the real model in the experiments whose code has changed, and record them
	@$(PY) -m utils.experiments

gpu:             ## run the course and its bench on a CUDA GPU; what is installed must do
	@$(if $(wildcard $(PY)),$(PY),$(PYTHON)) -m tests.gpu

clean:           ## remove the environment and caches; your work/ and artifacts/ stay
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis *.egg-info
