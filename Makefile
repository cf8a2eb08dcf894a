# Every target sets up what it needs, in this folder only, and says so in one line. An environment is filled once per
# lock file, so a second run starts at once. All that must be on the machine is Python 3.11 or newer, and make.

MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo serve test test-python test-go test-typescript test-compat check static format lint types protos \
        breaking gen gen-check test-fast fix docs docs-check lock bench bench-quick setup clean

ifndef PYTHON
PYTHON := $(shell for each in python3.11 python3 python3.12 python3.13 python; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
endif
ifeq ($(PYTHON),)
$(error Python 3.11 or newer was not found; name one with PYTHON=...)
endif
WORKERS ?= 2
SOURCES := $(wildcard src clients/python tests tools examples benchmarks)
GENERATORS := .venv/.ready .venv-gen/.ready .tools/bin/protoc-gen-go clients/typescript/node_modules/.ready
# Tools of this folder come before those of the machine. Go fetches no other Go by itself and needs no C compiler.
export PATH := $(CURDIR)/.tools/bin:$(CURDIR)/.venv/bin:$(PATH)
export GOTOOLCHAIN := local
export CGO_ENABLED := 0
export PYTHON

help: ## List the commands
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-24s %s\n", $$1, $$2 }'

demo: .venv/.ready ## Run the main job: train, push, crash, resume, pull, predict; tend; decide by a policy
	@python examples/main_job.py

serve: .venv/.ready ## Start a server to keep, on 127.0.0.1:7433 (options: ARGS="--listen ...")
	@exec steelyard serve $(ARGS)

test: test-python test-compat test-go test-typescript ## Run all tests, of every language

check: static test-fast ## Format, lint, types, protos, generated code, fast tests: about 11 minutes
	@echo "check: all good"

static: $(GENERATORS) ## The part of check that runs no tests: about a minute
	@$(MAKE) --jobs=2 --output-sync=target --keep-going format lint types protos breaking gen-check docs-check

fix: .venv/.ready ## Format everything and repair what the linters can
	@ruff check --fix --quiet $(SOURCES) ; ruff format $(SOURCES)
	@buf format --write

gen: $(GENERATORS) ## Generate the stubs of all languages from protos/
	@python tools/generate.py && python tools/client_reasons.py

gen-check: $(GENERATORS) ## Fail when committed stubs differ from what protos/ gives
	@python tools/generate.py --check && python tools/client_reasons.py --check

docs: .venv/.ready ## Generate docs/api.md and docs/errors.md from protos/
	@python tools/document.py

bench: .venv/.ready .venv-bench/.ready ## Measure against floor and MLflow, write benchmarks/results.md
	@python -m benchmarks $(ARGS)

bench-quick: .venv/.ready ## Measure without MLflow, in under three minutes
	@python -m benchmarks --quick $(ARGS)

lock: .tools/uv/bin/uv ## Refresh requirements/*.txt to the newest versions allowed
	@tools/lock.sh

clean: ## Remove environments, tools and caches
	@rm -rf .venv .venv-* .tools clients/typescript/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# Parts of check and test.

format: .venv/.ready
	@ruff format --check --quiet $(SOURCES) || { ruff format --diff $(SOURCES); exit 1; }
	@buf format --diff --exit-code

lint: .venv/.ready
	@ruff check --quiet $(SOURCES)

types: .venv/.ready
	@mypy

protos: .venv/.ready
	@buf lint

breaking: .venv/.ready
	@python tools/breaking.py

docs-check: .venv/.ready
	@python tools/document.py --check

test-fast: .venv/.ready
	@python -m pytest -q -n $(WORKERS) tests/unit tests/contracts tests/test_architecture.py

test-python: .venv/.ready .tools/bin/grpcurl
	@python -m pytest -n $(WORKERS) $(ARGS) tests

test-compat: .venv-compat/.ready
	@.venv-compat/bin/python -m pytest -c tests/compat/pytest.ini tests/compat

test-go: .venv/.ready .tools/bin/.ready
	@cd clients/go && go vet ./... && go test -count=1 ./...

test-typescript: .venv/.ready clients/typescript/node_modules/.ready
	@cd clients/typescript && npm test

# Set-up: one stamp per environment.

setup: $(GENERATORS) .tools/bin/grpcurl .venv-compat/.ready

.tools/uv/bin/uv: requirements/uv.txt
	@echo "set-up: uv, which installs everything else, into .tools/uv"
	@$(PYTHON) -m venv --clear .tools/uv
	@.tools/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.venv/.ready: requirements/dev.txt pyproject.toml clients/python/pyproject.toml | .tools/uv/bin/uv
	@echo "set-up: server, client, test and lint tools into .venv"
	@tools/environment.sh .venv $< clients/python .

.venv-gen/.ready: requirements/gen.txt | .tools/uv/bin/uv
	@echo "set-up: the Python code generator into .venv-gen"
	@tools/environment.sh .venv-gen $<

.venv-compat/.ready: requirements/compat.txt clients/python/pyproject.toml | .tools/uv/bin/uv
	@echo "set-up: the client beside mlflow-skinny, kfp and tritonclient into .venv-compat"
	@tools/environment.sh .venv-compat $< clients/python

.venv-bench/.ready: requirements/bench.txt | .tools/uv/bin/uv
	@echo "set-up: MLflow, to compare with, into .venv-bench"
	@tools/environment.sh .venv-bench $<

.venv-toolchains/.ready: requirements/toolchains.txt | .tools/uv/bin/uv
	@echo "set-up: Go and Node into .venv-toolchains"
	@tools/environment.sh .venv-toolchains $<

.tools/bin/.ready: .venv-toolchains/.ready tools/toolchains.sh
	@tools/toolchains.sh
	@touch $@

.tools/bin/protoc-gen-go: .tools/bin/.ready tools/go/go.mod tools/go/go.sum
	@echo "set-up: the Go code generators into .tools/bin"
	@tools/go_install.sh google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	@touch $@

.tools/bin/grpcurl: .tools/bin/.ready tools/go/go.mod tools/go/go.sum
	@echo "set-up: grpcurl, built from source, into .tools/bin"
	@tools/go_install.sh github.com/fullstorydev/grpcurl/cmd/grpcurl
	@touch $@

clients/typescript/node_modules/.ready: clients/typescript/package-lock.json | .tools/bin/.ready
	@echo "set-up: TypeScript and the client's packages into clients/typescript/node_modules"
	@cd clients/typescript && npm ci --loglevel=error >/dev/null
	@touch $@
