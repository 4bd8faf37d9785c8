# Every target sets up what it needs; a second run installs nothing.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := $(shell sha256sum pyproject.toml | cut -c1-12)
SERVE := .venv/.serve-$(STAMP)
DEV := .venv/.dev-$(STAMP)

.PHONY: serve setup test check format bench-parity proto demo clean

serve: $(SERVE)  ## start the server on the bundles of ./bundles
	@exec $(BIN)/python -m server

setup: $(DEV)  ## everything for export, tests and development

test: $(DEV)
	$(BIN)/python -m pytest

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

.venv:
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

demo: $(DEV)  ## a new version of the demo bundle: make demo CHECKPOINT=seresnet18_tiny.pth
	$(BIN)/python -m export convert $(CHECKPOINT) --name demo --stem 3x3s2 --size 64 --resize-to 64 \
	  --interpolation bilinear --labels models/recipes/tiny-imagenet-200.txt --notes models/recipes/tiny_imagenet.md
