# Every target sets up what it needs; a second run installs nothing.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := $(shell cat pyproject.toml requirements/*.txt | sha256sum | cut -c1-12)
SERVE := .venv/.serve-$(STAMP)
DEV := .venv/.dev-$(STAMP)
TENSORRT_10 := 10.16.1.11
TENSORRT_11 := 11.4.0.106
QEMU := .venv/.qemu
BINDINGS := .venv/.tensorrt-$(TENSORRT_10)-$(TENSORRT_11)
TENSORRT_RTX := 1.7.1.116
RTX := .venv/.tensorrt-rtx-$(TENSORRT_RTX)
SPHINX := $(BIN)/sphinx-build -q -W --keep-going -n -c docs
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
WHEEL := $(PIP) --no-deps --upgrade --target .venv
TORCH := $(shell sed -n 's/^export = \["\(torch[^"]*\)".*/\1/p' pyproject.toml)
# A lock file names everything with its hash, so nothing is left for pip to find out
LOCKED := $(PIP) --no-deps --require-hashes -r
SESAME := $(PIP) --no-deps --no-build-isolation -e .

# Two processes of tests. Each begins with half of them in a row, so most fixtures of a file are made once; who ends first
# takes of the other's. More processes would fight for cores: a server's test takes one and a half
TWO := -n 2 --dist worksteal

# The lock files in requirements/, each from some extras of pyproject.toml
LOCKS := serve serve-openvino gpu dev
EXTRAS_serve := serve
EXTRAS_serve-openvino := serve openvino
EXTRAS_gpu := gpu
EXTRAS_dev := serve export dev
COMPILE = $(BIN)/uv pip compile --quiet pyproject.toml --group build --universal --python-version 3.11 \
  --generate-hashes --excludes requirements/torch.txt --custom-compile-command "make lock" \
  $(addprefix --extra ,$(EXTRAS_$(lock)))

# The gRPC contracts: Sesame's own, and the Open Inference Protocol
CONTRACTS := proto/sesame/v1/classifier.proto proto/inference/model_config.proto proto/inference/grpc_service.proto

.PHONY: help serve imagenet setup hooks test test-fast test-gpu test-attacks fuzz coverage check format docs lock \
  lock-check bench-parity bench-rtx proto demo clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target what; do \
	  printf '  make %-13s %s\n' "$$target" "$$what"; done

serve: $(SERVE)  ## start the server on the bundles of ./model_repository
	@exec $(BIN)/python -m server

imagenet: $(DEV)  ## fetch SE-ResNet-50 for ImageNet from the hub, convert it, and serve it
	@[ -f model_repository/imagenet/1/manifest.json ] || $(BIN)/python -m export convert --pretrained timm:seresnet50.ra2_in1k --name imagenet
	@exec $(BIN)/python -m server --default-model imagenet

setup: $(DEV) $(BINDINGS) $(RTX) $(QEMU)  ## everything for export, tests and development

test: $(DEV) $(BINDINGS) $(RTX) $(QEMU)  ## all tests that need no GPU: several minutes on two quiet cores
	$(BIN)/python -m pytest $(TWO)

test-fast: $(DEV)  ## the tests that start, export and train nothing: a minute
	$(BIN)/python -m pytest $(TWO) --fast

coverage: $(DEV) $(BINDINGS) $(RTX) $(QEMU)  ## what the tests run, by file: printed, and as pages in build/coverage
	$(BIN)/python -m pytest $(TWO) --cov --cov-report=term:skip-covered --cov-report=html:build/coverage

test-gpu: $(DEV) $(BINDINGS)  ## what needs a GPU, in an environment with PyTorch for CUDA and, for some, TensorRT
	$(BIN)/python -m pytest -m "gpu or tensorrt"

test-attacks: $(DEV)  ## every attack on a real server, ten seconds each: a quarter of an hour on a quiet machine
	$(BIN)/python -m tests.attacks

fuzz: $(DEV)  ## 100 000 nearly good requests over each face: five minutes
	$(BIN)/python -m tests.attacks.fuzz

bench-parity: $(DEV)  ## every network of every format through ONNX, beside the code it was trained by: half an hour
	$(BIN)/python -m pytest -m "slow or not slow" --durations=0 tests/models/test_oracle.py tests/models/test_caffe.py tests/export/test_matrix.py

bench-rtx: $(DEV) $(RTX)  ## every network in every precision through NVIDIA's own parser and builder: ten minutes
	$(BIN)/python -m bench.rtx

check: $(DEV)  ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(SPHINX) -b dummy . build/check

docs: $(DEV)  ## these pages as a site in build/docs; a broken link is an error
	$(SPHINX) -b html . build/docs

format: $(DEV)  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(DEV)  ## the Python of the gRPC contract, from proto/ into server/pb/
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=server/pb --pyi_out=server/pb --grpc_python_out=server/pb $(CONTRACTS)
	sed -i -E 's/^from (sesame\.v1|inference) import/from server.pb.\1 import/' $(patsubst proto/%.proto,server/pb/%_pb2*.py*,$(CONTRACTS))

lock: $(BIN)/uv  ## renew the lock files in requirements/ from pyproject.toml
	@$(foreach lock,$(LOCKS),$(COMPILE) --upgrade -o requirements/$(lock).txt >/dev/null &&) true

# As they are, they are what pyproject.toml asks for; renewed, its open ranges can still be met. Seconds, no installation.
# Without a package index nothing can be said: that is told, and is no failure
lock-check: $(DEV)  ## the lock files and the open ranges of pyproject.toml agree
	@mkdir -p build/lock && cp requirements/*.txt build/lock
	@echo pip | UV_HTTP_RETRIES=1 $(BIN)/uv pip compile --quiet --no-cache - >/dev/null || \
	{ echo "lock-check: no package index can be reached, so the lock files are NOT checked"; exit 0; }; \
	$(foreach lock,$(LOCKS),$(COMPILE) -o build/lock/$(lock).txt >/dev/null &&) \
	{ diff -r requirements build/lock || { echo "requirements/ is not what pyproject.toml asks for: make lock"; exit 1; }; } && \
	$(foreach lock,$(LOCKS),$(COMPILE) --upgrade -o build/lock/$(lock).txt >/dev/null &&) true

hooks: $(DEV)  ## run the checks before each commit
	$(BIN)/pre-commit install

$(SERVE): | .venv
	$(LOCKED) requirements/serve.txt
	$(SESAME)
	@touch $@

# PyTorch comes first, by its range: requirements/torch.txt says why
$(DEV): | .venv
	$(PIP) '$(TORCH)'
	$(LOCKED) requirements/dev.txt
	$(SESAME)
	@touch $@ $(SERVE)

$(BIN)/uv: | .venv
	$(PIP) 'uv>=0.13'

# NVIDIA's bindings without TensorRT itself, for tests, which are skipped where they are not to be had
$(BINDINGS): | .venv
	$(WHEEL)/tensorrt-10 tensorrt-cu13-bindings==$(TENSORRT_10) && \
	$(WHEEL)/tensorrt-11 tensorrt-cu13-bindings==$(TENSORRT_11) && \
	$(WHEEL)/tensorrt-lean tensorrt-lean-cu13-libs==$(TENSORRT_11) && \
	touch $@ || echo "TensorRT's bindings are not to be had: tests over them will be skipped"

# NVIDIA's parser and builder in the edition for RTX, which need no GPU, for tests and bench-rtx. Its licence lets it be
# used, not passed on: it is fetched, and never part of the repository
$(RTX): | .venv
	$(WHEEL)/tensorrt-rtx tensorrt-rtx-cu12-libs==$(TENSORRT_RTX) tensorrt-rtx-cu12-bindings==$(TENSORRT_RTX) && \
	touch $@ || echo "TensorRT for RTX is not to be had: tests over it will be skipped"

# An emulated x86 without VNNI, for tests of INT8, which are skipped where it is not to be had
$(QEMU): | .venv
	@command -v qemu-x86_64 >/dev/null || \
	{ [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq --no-install-recommends qemu-user; } >/dev/null 2>&1 || \
	echo "qemu-x86_64 is not to be had (apt-get install qemu-user): a test of INT8 without VNNI will be skipped"
	@touch $@

.venv:
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

demo: $(DEV)  ## a new version of the demo bundle: make demo CHECKPOINT=seresnet18_tiny.pth
	$(BIN)/python -m export convert $(CHECKPOINT) --name demo --stem 3x3s2 --size 64 --resize-to 64 \
	  --interpolation bilinear --labels models/recipes/tiny-imagenet-200.txt --notes models/recipes/tiny_imagenet.md
