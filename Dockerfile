# Two stages: one builds the environment from the locks, one runs it without build tools or root.
# Both begin at the same image, so that the environment finds its interpreter where it was made.
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv --without-pip /opt/septet && python -m venv /opt/builder
COPY requirements.lock requirements-build.lock ./
RUN pip --python /opt/septet install --require-hashes -r requirements.lock \
    && pip --python /opt/builder install --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY examples/keywords.csv examples/
COPY events events
COPY projections projections
COPY services services
RUN /opt/builder/bin/hatchling build -t wheel -d /dist \
    && pip --python /opt/septet install --no-deps /dist/*.whl

FROM ${PYTHON}
LABEL org.opencontainers.image.title="Septet" \
      org.opencontainers.image.description="Seven-stage AI content pipelines, event-sourced over Kafka" \
      org.opencontainers.image.licenses="Apache-2.0"
# The number is what Kubernetes' runAsNonRoot can check; a new volume takes its owner from /data.
RUN groupadd --system --gid 10001 septet \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent septet \
    && install -d -o 10001 -g 10001 /data /data/artifacts
COPY --from=build /opt/septet /opt/septet
ENV PATH=/opt/septet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SEPTET_DATA_DIR=/data \
    SEPTET_HOST=0.0.0.0 \
    SEPTET_ALIVE_FILE=/tmp/alive
USER 10001:10001
WORKDIR /data
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["septet"]
