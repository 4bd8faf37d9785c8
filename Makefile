# Every target sets up what it needs; a second run installs nothing.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := $(shell sha256sum pyproject.toml | cut -c1-12)
SERVE := .venv/.serve-$(STAMP)
DEV := .venv/.dev-$(STAMP)
TENSORRT_10 := 10.16.1.11
TENSORRT_11 := 11.4.0.106
QEMU := .venv/.qemu
BINDINGS := .venv/.tensorrt-$(TENSORRT_10)-$(TENSORRT_11)
TENSORRT_RTX := 1.7.1.116
RTX := .venv/.tensorrt-rtx-$(TENSORRT_RTX)
WHEEL := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv

.PHONY: serve setup test test-gpu test-attacks fuzz check format bench-parity bench-rtx proto demo clean

serve: $(SERVE)  ## start the server on the bundles of ./bundles
	@exec $(BIN)/python -m server

setup: $(DEV) $(BINDINGS) $(RTX) $(QEMU)  ## everything for export, tests and development

test: $(DEV) $(BINDINGS) $(RTX) $(QEMU)
	$(BIN)/python -m pytest

test-gpu: $(DEV) $(BINDINGS)  ## what needs a GPU, in an environment with PyTorch for CUDA and, for some, TensorRT
	$(BIN)/python -m pytest -m "gpu or tensorrt"

test-attacks: $(DEV)  ## every attack on a real server, ten seconds each: a quarter of an hour on a quiet machine
	$(BIN)/python -m tests.attacks

fuzz: $(DEV)  ## 100 000 nearly good requests over each face: five minutes
	$(BIN)/python -m tests.attacks.fuzz

bench-parity: $(DEV)  ## every network of every format through ONNX, beside the code it was trained by: half an hour
	$(BIN)/python -m pytest -m "slow or not slow" --durations=0 tests/models/test_oracle.py tests/export/test_matrix.py

bench-rtx: $(DEV) $(RTX)  ## every network in every precision through NVIDIA's own parser and builder: ten minutes
	$(BIN)/python -m bench.rtx

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(DEV)  ## the Python of the gRPC contract, from proto/ into server/pb/
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=server/pb --pyi_out=server/pb --grpc_python_out=server/pb proto/sesame/v1/*.proto
	sed -i 's/^from sesame\.v1 import/from server.pb.sesame.v1 import/' server/pb/sesame/v1/*_pb2_grpc.py

$(SERVE): | .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[serve]'
	@touch $@

$(DEV): | .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[serve,export,dev]'
	@touch $@ $(SERVE)

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
