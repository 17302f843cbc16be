# All three jobs on a CPU, with OpenVINO: docker build -f docker/cpu.Dockerfile -t icecore .
FROM python:3.13-slim
# OpenMP is the distribution's own, whichever it has.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/icecore
COPY . .
# What is installed is this checkout; pyproject.toml bounds the rest.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir '.[gluon,openvino,report]' \
    && useradd --create-home --uid 1000 icecore
USER 1000
WORKDIR /work
ENTRYPOINT ["icecore"]
