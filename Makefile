# Every target sets up what it needs; requirements/*.txt are the versions locked by uv (`make lock`).
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
export UV_COMPILE_BYTECODE := 1

.PHONY: setup demo test test-all services services-down smoke-services chaos lint bench bench-long bench-stream notebooks lock clean

.venv/bin/uv:
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v in ((3, 11), (3, 12)) else f"Python 3.11 or 3.12 is needed, not {v[0]}.{v[1]}: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.run: requirements/run.txt pyproject.toml .venv/bin/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/run.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: requirements/dev.txt .venv/.run
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

setup: .venv/.run

demo: setup
	$(BIN)/asset-pipeline run samples --out out

test: .venv/.dev lint
	$(BIN)/python -m pytest -n auto --maxprocesses 2 --dist loadfile --no-loadscope-reorder -m "not services"

test-all: test
	services/services.sh fetch
	SERVICES=demanded services/services.sh during $(BIN)/python -m pytest -m services

services:
	services/services.sh up

services-down:
	services/services.sh down

smoke-services: setup
	services/services.sh during scripts/smoke_services.sh

chaos: .venv/.dev
	services/services.sh during $(BIN)/python -m chaos

tests/%/node_modules/.package-lock.json: tests/%/package-lock.json
	cd tests/$* && npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@

lint: .venv/.dev
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/lint-imports --no-logo >/dev/null || $(BIN)/lint-imports
	$(BIN)/mypy

bench: .venv/.dev
	$(BIN)/python -m bench

bench-long: .venv/.dev
	$(BIN)/python -m bench --long --out bench-long.json

.venv-rivals/.done: requirements/rivals.txt .venv/bin/uv
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .venv-rivals
	$(BIN)/uv pip install --quiet --python .venv-rivals/bin/python --require-hashes -r requirements/rivals.txt
	@touch $@

bench-stream: .venv/.dev .venv-rivals/.done
	services/services.sh during $(BIN)/python -m bench.stream

notebooks: .venv/.dev
	$(BIN)/python -m notebooks

COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header

lock: .venv/bin/uv
	$(COMPILE) pyproject.toml --extra asr --group build -o requirements/run.txt
	$(COMPILE) pyproject.toml --extra asr --extra export --extra jxl --extra notebooks --extra raw --group build --group dev -c requirements/run.txt -o requirements/dev.txt
	$(COMPILE) pyproject.toml -c requirements/run.txt -o requirements/image-lite.txt
	$(COMPILE) pyproject.toml --extra asr -c requirements/run.txt -o requirements/image-asr.txt
	$(COMPILE) pyproject.toml --extra asr --group gpu -c requirements/run.txt --no-emit-package onnxruntime -o requirements/image-gpu.txt
	$(COMPILE) --group image -c requirements/dev.txt -o requirements/image-build.txt
	$(COMPILE) --group rivals -o requirements/rivals.txt

clean: services-down
	rm -rf .venv .venv-rivals .services tests/producers/node_modules tests/web/node_modules out build bench.json bench-long.json bench-stream.json
