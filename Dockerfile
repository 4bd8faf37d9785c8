# The server on a CPU: no torch, no compiler, no root.
FROM python:3.11-slim-bookworm

RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
# "serve,openvino" adds a second engine, of 180 MB
ARG EXTRAS=serve
RUN pip install --no-cache-dir ".[${EXTRAS}]"
COPY bundle bundle
COPY server server
COPY bundles/demo bundles/demo

ENV SESAME_HOST=0.0.0.0 SESAME_CACHE_DIR=/cache
RUN install -d -o 10001 /cache
VOLUME /cache
EXPOSE 8000 8001
USER 10001
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
CMD ["python", "-m", "server"]
