# The server: no torch, no compiler, no root. `docker build .` is for CPUs, `docker build --target gpu .` for NVIDIA's GPUs.
FROM python:3.11-slim-bookworm AS base

RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY requirements requirements

ENV SESAME_HOST=0.0.0.0 SESAME_CACHE_DIR=/cache
RUN install -d -o 10001 /cache
VOLUME /cache
EXPOSE 8000 8001
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-m", "server", "ready"]
# What it leaves in order on: docs/operating.md
STOPSIGNAL SIGTERM
CMD ["python", "-m", "server"]


# With the export's builder of TensorRT plans, which the server starts where a plan is missing. CUDA 13: drivers from 580.
FROM base AS gpu

RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements/gpu.txt \
    && pip install --no-cache-dir --no-deps --no-build-isolation .
COPY bundle bundle
COPY trt trt
COPY explain explain
COPY remote remote
COPY models/__init__.py models/errors.py models/
COPY export export
COPY server server
COPY model_repository/demo model_repository/demo
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility TRITON_CACHE_DIR=/cache/triton \
    CUDA_CACHE_PATH=/cache/cuda HOME=/cache
USER 10001


FROM base

# "serve,openvino" adds a second engine, of 180 MB; "serve,remote" adds S3, GCS and Azure, of 16 MB
ARG EXTRAS=serve
# Neither side of the pipe fails
# hadolint ignore=DL4006
RUN pip install --no-cache-dir --no-deps --require-hashes -r "requirements/$(echo "${EXTRAS}" | tr , -).txt" \
    && pip install --no-cache-dir --no-deps --no-build-isolation .
COPY bundle bundle
COPY trt trt
COPY explain explain
COPY remote remote
COPY server server
COPY model_repository/demo model_repository/demo
USER 10001
