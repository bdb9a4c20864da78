# Every target makes what it needs, the virtual environment included. `make help` lists them.

PYTHON := .venv/bin/python
BENCH := $(PYTHON) -m pytest tests/bench -s -o python_files='bench_*.py' \
	-o python_functions='bench_*' -o timeout=900
FUZZ_S := 60

.DEFAULT_GOAL := help
.PHONY: help demo test check bench fuzz format lock man packages venv clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-10s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: venv ## shows Paddock at work on a real Ollama
	@$(PYTHON) scripts/demo.py

test: venv ## runs every test; provides a real Ollama first (minutes the first time)
	@$(PYTHON) scripts/real_ollama.py >/dev/null
	@scripts/run-tests

check: venv ## lint, format, types, layers, schemas and docs: all that needs no Ollama, save the tests
	@$(PYTHON) -m ruff check
	@$(PYTHON) -m ruff format --check
	@$(PYTHON) -m mypy
	@$(PYTHON) -m pytest -q tests/unit/test_layers.py tests/docs

bench: venv ## runs the benchmarks, tests/bench/bench_*.py
	@if ls tests/bench/bench_*.py >/dev/null 2>&1; then $(BENCH); else echo "no tests/bench/bench_*.py yet"; fi

fuzz: .venv-fuzz/.stamp ## fuzzes the GGUF reader for FUZZ_S seconds (60)
	@PYTHONPATH=daemon:tests nice -n 19 .venv-fuzz/bin/python -m fuzz.fuzz_gguf --seconds $(FUZZ_S)

.venv-fuzz/.stamp: requirements-fuzz.lock | venv
	$(PYTHON) -m venv --clear .venv-fuzz
	.venv-fuzz/bin/python -m pip --disable-pip-version-check -q install \
		--no-deps --require-hashes --only-binary :all: -r requirements-fuzz.lock
	@touch $@

format: venv ## mends what ruff can mend
	@$(PYTHON) -m ruff check --fix
	@$(PYTHON) -m ruff format

lock: ## pins the dependencies again after a change of pyproject.toml (scripts/lock --upgrade: newest)
	@scripts/lock

man: venv ## writes the manual pages in man/ anew from the parser and the README
	@$(PYTHON) scripts/man_pages.py

packages: venv ## makes dist/: the wheel, the sdist and, on Debian, a .deb; the same bytes from the same commit
	@$(PYTHON) scripts/packages.py

venv: ## makes .venv; quick when it is there and current
	@scripts/bootstrap

clean: ## removes .venv, caches and packages
	rm -rf .venv .venv-fuzz .fuzz dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
