# Two stages: one installs with the same script as make and CI, the other carries only what runs.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md requirements.lock ./
COPY scripts/setup scripts/setup
COPY gateway gateway
COPY policies policies
RUN scripts/setup run /opt/distillguard

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin distillguard \
    && install -d -o distillguard /var/lib/distillguard
COPY --from=build /opt/distillguard /opt/distillguard
# Nothing is written outside the state folder: run with --read-only and a volume for it.
ENV PATH=/opt/distillguard/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DISTILLGUARD_HOST=0.0.0.0 \
    DISTILLGUARD_STATE_DIR=/var/lib/distillguard
VOLUME /var/lib/distillguard
USER 10001
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9090/livez', timeout=2)"]
ENTRYPOINT ["distillguard"]
CMD ["serve"]
