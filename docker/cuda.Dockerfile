# Extraction on an NVIDIA GPU: docker build -f docker/cuda.Dockerfile -t icecore-cuda .
# It follows the documented interfaces of ONNX Runtime; nobody has built it on a GPU yet.
FROM nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04
# Python and OpenMP are the distribution's own, whichever it has.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv libgomp1 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/icecore
COPY . .
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir '.[gluon,report]' \
    && /opt/venv/bin/pip uninstall --yes onnxruntime \
    && /opt/venv/bin/pip install --no-cache-dir onnxruntime-gpu \
    && useradd --create-home --uid 1001 icecore
USER 1001
WORKDIR /work
ENTRYPOINT ["/opt/venv/bin/icecore"]
