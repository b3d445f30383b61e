# Two stages: the wheel and its pinned dependencies are put together in the first, the second holds nothing else.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/agent-exporter \
 && /opt/agent-exporter/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY exporter ./exporter
COPY alert_rules ./alert_rules
COPY agentlog ./agentlog
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . ./agentlog \
 && /opt/agent-exporter/bin/pip install --no-cache-dir --no-deps /wheel/*.whl

FROM python:3.13-slim
LABEL org.opencontainers.image.title="agent-exporter" \
      org.opencontainers.image.description="Prometheus metrics and OTLP traces from the JSON lines that AI agents print" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10777 exporter \
 && useradd --uid 10777 --gid 10777 --no-create-home --shell /usr/sbin/nologin exporter \
 && install --directory --owner=10777 --group=10777 --mode=0700 /var/lib/agent-exporter
COPY --from=build /opt/agent-exporter /opt/agent-exporter
COPY docker/config.yaml /etc/agent-exporter/config.yaml
ENV PATH=/opt/agent-exporter/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10777:10777
VOLUME /var/lib/agent-exporter
EXPOSE 10777
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
    CMD ["agent-exporter", "healthcheck", "--config", "/etc/agent-exporter/config.yaml"]
ENTRYPOINT ["agent-exporter"]
CMD ["run", "--config", "/etc/agent-exporter/config.yaml"]
