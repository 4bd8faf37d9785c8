# Every target sets up what it needs; a second run installs nothing.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := $(shell sha256sum pyproject.toml | cut -c1-12)
SERVE := .venv/.serve-$(STAMP)
DEV := .venv/.dev-$(STAMP)
TENSORRT_10 := 10.16.1.11
TENSORRT_11 := 11.4.0.106
BINDINGS := .venv/.tensorrt-$(TENSORRT_10)-$(TENSORRT_11)
WHEEL := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv

.PHONY: serve setup test test-gpu check format bench-parity proto demo clean

serve: $(SERVE)  ## start the server on the bundles of ./bundles
	@exec $(BIN)/python -m server

setup: $(DEV) $(BINDINGS)  ## everything for export, tests and development

test: $(DEV) $(BINDINGS)
	$(BIN)/python -m pytest

test-gpu: $(DEV) $(BINDINGS)  ## what needs a GPU, in an environment with PyTorch for CUDA and, for some, TensorRT
	$(BIN)/python -m pytest -m "gpu or tensorrt"

bench-parity: $(DEV)  ## every network of every format through ONNX, beside the code it was trained by: half an hour
	$(BIN)/python -m pytest -m "slow or not slow" --durations=0 tests/models/test_oracle.py tests/export/test_matrix.py

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

.venv:
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

demo: $(DEV)  ## a new version of the demo bundle: make demo CHECKPOINT=seresnet18_tiny.pth
	$(BIN)/python -m export convert $(CHECKPOINT) --name demo --stem 3x3s2 --size 64 --resize-to 64 \
	  --interpolation bilinear --labels models/recipes/tiny-imagenet-200.txt --notes models/recipes/tiny_imagenet.md
