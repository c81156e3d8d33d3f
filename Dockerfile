# The command rqsqs: gateway, workers, and everything else.
#
#   docker build --tag rqsqs .
#   docker run --rm --publish 127.0.0.1:9324:9324 --volume ./keys:/etc/rqsqs:ro \
#       --env RQSQS_URL=redis://redis.example.com:6379/0 rqsqs
#   docker run --rm rqsqs doctor --url redis://redis.example.com:6379/0
#
# The root file system can be read-only. deploy/ has Compose and Kubernetes.

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY rqsqs rqsqs
COPY lua lua
RUN python -m venv /opt/rqsqs \
    && /opt/rqsqs/bin/pip install --no-cache-dir --disable-pip-version-check '.[gateway,cli,embedded]' \
    && /opt/rqsqs/bin/python -m compileall -q /opt/rqsqs \
    && /opt/rqsqs/bin/pip uninstall --yes --quiet pip

FROM python:3.13-slim
LABEL org.opencontainers.image.title="rqsqs" \
      org.opencontainers.image.description="Amazon SQS on Redis or Valkey" \
      org.opencontainers.image.source="https://github.com/rqsqs/rqsqs" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/rqsqs /opt/rqsqs
RUN useradd --uid 10001 --user-group --home-dir /var/lib/rqsqs --create-home --shell /usr/sbin/nologin rqsqs
ENV PATH=/opt/rqsqs/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/rqsqs
EXPOSE 9324
# A worker or another command in this image has no gateway to ask: start it with --no-healthcheck.
HEALTHCHECK --interval=10s --timeout=10s --start-period=10s --retries=3 CMD ["rqsqs", "gateway", "--check"]
ENTRYPOINT ["rqsqs"]
CMD ["gateway", "--host", "0.0.0.0", "--keys", "/etc/rqsqs/keys.toml"]
