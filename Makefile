# The short way to everything. `make` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup configure build program demo test bench evidence format format-check docs-check install wheels clean
.NOTPARALLEL:

# Further arguments for the program that a target runs: make demo ARGS='--seeds 1', make test ARGS='-R math'.
ARGS ?=
# The folder that `make demo` writes; what it held before is replaced.
DEMO_OUTPUT ?= runs/demo
# How long `make evidence` works; 0: to the end, which takes days.
MINUTES ?= 60
# Where `make install` installs.
PREFIX ?= /usr/local
# The releases of PyTorch that `make wheels` builds for.
TORCH ?= $(shell sed -n 's/^torch==//p' requirements.txt)
# Compilers and tests that run at once; by default as many as processors and memory allow.
JOBS ?= $(shell scripts/jobs.sh)

help:
	@echo "make demo          train with and without ANAct on handwritten digits, and write a report (minutes)"
	@echo "make test          build and run all tests"
	@echo "make bench         measure the speed; writes results/bench and the README's tables (twenty minutes)"
	@echo "make evidence      work through the plans in studies/ for MINUTES=$(MINUTES), where the last call stopped; writes results/"
	@echo "make setup         install what is missing: system packages, .venv with LibTorch, data"
	@echo "make build         compile into build/; the program is build/anact"
	@echo "make format        lay out the sources; make format-check only checks"
	@echo "make docs-check    check the links and commands in the documents"
	@echo "make install       install the program, library, headers and CMake package into PREFIX=$(PREFIX)"
	@echo "make wheels        build and test the Python package's wheels for the releases TORCH='$(TORCH)', into dist/wheels"
	@echo "make clean         remove what was compiled; .venv, data, runs and dist stay"
	@echo
	@echo "Each does the set-up it needs, and can be interrupted and run again. Variables: ARGS for the program or ctest,"
	@echo "JOBS, DEMO_OUTPUT, and TORCH_PYTHON=/path/to/python or Torch_DIR=.../share/cmake/Torch to use another LibTorch."

setup:
	@scripts/setup.sh

# Configuring takes a second, and sees a changed TORCH_PYTHON or Torch_DIR.
configure: setup
	@cmake --preset release $(if $(wildcard build/build.ninja),>/dev/null)

build: configure
	@echo "build: compiling into build/ with $(JOBS) job(s)"
	@cmake --build build --parallel $(JOBS)
	@echo "build: done: build/anact"

# Without the tests, which take as long again to compile.
program: configure
	@echo "build: compiling the program into build/ with $(JOBS) job(s)"
	@cmake --build build --parallel $(JOBS) --target anact_program

demo: program
	@echo "demo: training with and without ANAct on the handwritten digits, into $(DEMO_OUTPUT)"
	@mkdir -p "$(dir $(DEMO_OUTPUT))"
	@build/anact compare --output "$(DEMO_OUTPUT)" --overwrite $(ARGS)
	@echo "demo: done. Open the report in a browser: $(DEMO_OUTPUT)/report.html"

test: build
	@echo "test: running all tests"
	@ctest --preset release --progress --parallel $(JOBS) $(ARGS)

bench: program
	@scripts/bench.sh $(ARGS)

evidence: program
	@scripts/evidence.sh $(MINUTES)

format: setup
	@scripts/format.sh

format-check: setup
	@scripts/format.sh --check

docs-check: build
	@scripts/check_docs.py
	@scripts/update_evidence.py --check

install: build
	@echo "install: installing into $(PREFIX)"
	@cmake --install build --prefix "$(PREFIX)" >build/install.log || { cat build/install.log; exit 1; }
	@echo "install: done: $(PREFIX)/bin/anact, and find_package(anact) with -DCMAKE_PREFIX_PATH=$(PREFIX)"

wheels: setup
	@scripts/wheels.sh $(ARGS) $(TORCH)

clean:
	@echo "clean: removing build, build-debug and build-asan"
	@rm -rf build build-debug build-asan
	@echo "clean: done"
