# Two stages: one builds the environment from the locks, one runs it without build tools or root.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/septet
COPY requirements.lock ./
RUN /opt/septet/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
RUN python -m venv /opt/builder && /opt/builder/bin/pip install --no-cache-dir "hatchling>=1.27,<2"
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY events events
COPY projections projections
COPY services services
COPY examples examples
RUN /opt/builder/bin/hatchling build -t wheel -d /dist \
    && /opt/septet/bin/pip install --no-cache-dir --no-deps /dist/*.whl

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /home/septet --create-home septet \
    && install -d -o septet -g septet /data
COPY --from=build /opt/septet /opt/septet
ENV PATH=/opt/septet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SEPTET_DATA_DIR=/data \
    SEPTET_HOST=0.0.0.0
USER septet
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["septet"]
CMD ["up"]
