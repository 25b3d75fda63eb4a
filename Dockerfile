# Web nodes and workers in one image: no root, and a root file system that may be read-only.
#   docker build -t scanstream .
#   docker run --read-only --tmpfs /tmp -v scans:/data -p 127.0.0.1:8000:8000 scanstream
# compose.yaml runs a cluster of it. tests/deploy/test_image.py runs the commands of this file in a virtual environment.
FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /venv
COPY requirements-nats.lock ./
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-nats.lock
COPY pyproject.toml README.md LICENSE ./
COPY server ./server
COPY static ./static
COPY docs/openapi.json ./docs/openapi.json
COPY docs/asyncapi.json ./docs/asyncapi.json
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .
RUN /venv/bin/pip uninstall --yes --quiet hatchling pip

FROM python:3.11-slim
RUN groupadd --system --gid 10001 scanstream \
    && useradd --system --uid 10001 --gid scanstream --no-create-home --shell /usr/sbin/nologin scanstream \
    && install --directory --owner scanstream --group scanstream /data
COPY --from=build /venv /venv
# SCANSTREAM_INSECURE: whoever reaches the port may use the server, so publish it to those who may, as above. To ask for
# keys instead: -e SCANSTREAM_AUTH=required -e SCANSTREAM_KEYS=/keys/keys.toml -v ./keys:/keys:ro (docs/security.md).
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SCANSTREAM_HOST=0.0.0.0 \
    SCANSTREAM_INSECURE=true \
    SCANSTREAM_HEALTH_PORT=8000 \
    SCANSTREAM_DATA=/data
USER scanstream
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# Of a web node, and of a worker: SCANSTREAM_HEALTH_PORT has it answer there, too.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["scanstream"]
CMD ["serve"]
