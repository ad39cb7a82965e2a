# The service: answers over HTTP, and its follower, which fetches model and history. No Java, no Spark, no compiler, no pip.
# docker/compose.yaml and docker/kubernetes run it; by hand, from the project's folder:
#   docker build -t workload-forecast-service -f docker/service.Dockerfile .
#
# Nothing here needs BuildKit: engines of distributions often come without it.

# Another base image needs Python 3.10 or newer, with venv; both stages must have the same.
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE} AS builder

# Empty: pip's own. An index that asks for a password is configured in a pip.conf of the base image instead, because
# build arguments can be read from the image's history. (Docker passes HTTP_PROXY and its kin by itself.)
ARG PIP_INDEX_URL

ENV LANG=C.UTF-8 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

# With hashes in the file, pip checks every download against them.
COPY docker/service/requirements.txt /build/requirements.txt
RUN python3 -m venv /opt/environment \
 && /opt/environment/bin/python -m pip install --no-cache-dir --no-compile -r /build/requirements.txt

# The package as it is here, without its other dependencies (Spark, DuckDB, matplotlib).
COPY pyproject.toml README.md LICENSE /build/project/
COPY workload_forecast /build/project/workload_forecast
RUN /opt/environment/bin/python -m pip install --no-cache-dir --no-compile --no-deps --no-build-isolation /build/project

# What serving never opens: what installs packages, their tests, C++ headers, Arrow's RPC (which nothing else is linked to).
# Then bytecode, because the file system is read-only later on; it counts without a look at its source.
RUN cd /opt/environment/lib/python3*/site-packages \
 && rm -rf pip pip-* setuptools setuptools-* flit_core flit_core-* ../../../bin/pip* \
      pyarrow/tests pyarrow/include pyarrow/src numpy/_core/include scipy/*/tests scipy/*/*/tests \
      pyarrow/libarrow_flight.* pyarrow/_flight.* pyarrow/libarrow_python_flight.* \
 && /opt/environment/bin/python -m compileall -q -f -j 0 --invalidation-mode unchecked-hash .

FROM ${BASE_IMAGE}

LABEL org.opencontainers.image.title="workload-forecast service" \
      org.opencontainers.image.description="Forecasts of servers' load classes over HTTP, and what follows promotions" \
      org.opencontainers.image.licenses="Apache-2.0"

# HOME: the file system may be read-only but for /data and /tmp.
# GIT_PYTHON_REFRESH: MLflow asks for git on import. It is not here and not needed.
# KEYS, EXCHANGE: on one volume, so that a container without any other setting works; Kubernetes mounts keys elsewhere.
ENV PATH=/opt/environment/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LANG=C.UTF-8 \
    HOME=/tmp \
    GIT_PYTHON_REFRESH=quiet \
    MLFLOW_DISABLE_TELEMETRY=true \
    WORKLOAD_FORECAST_HOME=/data \
    WORKLOAD_FORECAST_EXCHANGE=/data/exchange \
    WORKLOAD_FORECAST_KEYS=/data/keys.json

COPY --from=builder /opt/environment /opt/environment
COPY docker/service/health.py /opt/service/health.py

# A user that owns nothing but the volume; a new named volume takes the folder's owner.
RUN mkdir /data && chown 10001:10001 /data && chmod 0700 /data
USER 10001:10001
WORKDIR /tmp
VOLUME /data
EXPOSE 8080

# Healthy: it can answer (a model and a history are loaded). With another port, set WORKLOAD_FORECAST_SERVICE_URL too.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-I", "-S", "/opt/service/health.py"]

# With `docker run --network host`, give `serve --host 127.0.0.1`: there is no port to publish, and 0.0.0.0 is everybody.
ENTRYPOINT ["workload-forecast"]
CMD ["serve", "--host", "0.0.0.0"]
