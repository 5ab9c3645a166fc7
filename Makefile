# Two commands do all the set-up on a bare Debian with Python 3.11, git and make: `make demo`, `make test`.
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
.DEFAULT_GOAL := help
.PHONY: help demo test check format lock bench bench-full bench-campaign clean

help: ## Show these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml requirements.lock requirements-dev.lock scripts/setup
	scripts/setup dev
	@touch $@

demo: $(STAMP) ## The main job, embedded: no server, key or download (ARGS=--once ends by itself)
	@$(VENV)/bin/distillguard demo $(ARGS)

test: $(STAMP) ## All tests; installs Debian's redis-server where it is missing
	@scripts/setup redis
	$(PY) -m pytest -n 2 --dist loadfile $(ARGS)

check: $(STAMP) ## Linters, types, layers, documents
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PY) -m pytest -q tests/test_layers.py tests/test_docs.py

format: $(STAMP) ## Format the code
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

bench: $(STAMP) ## What the gateway costs, beside nginx (needs wrk, nginx-light, redis-server; two minutes)
	$(PY) -m loadtest.bench $(ARGS)

bench-full: $(STAMP) ## The same with more and longer rounds, 5,000 streams and memory drift
	$(PY) -m loadtest.bench --full $(ARGS)

bench-campaign: $(STAMP) ## A population with a known campaign through replay (SCALE=1: the reported one)
	$(PY) -m loadtest.campaign --scale $(or $(SCALE),0.004) $(ARGS)

lock: ## Choose current releases and write the locks again
	scripts/lock --upgrade

clean: ## Remove what make made
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis dist build
