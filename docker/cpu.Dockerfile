# All three jobs on a CPU, with OpenVINO: docker build -f docker/cpu.Dockerfile -t icecore .
FROM python:3.13-slim
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/icecore
COPY . .
RUN pip install --no-cache-dir '.[gluon,openvino,report]'
RUN useradd --create-home icecore
USER icecore
WORKDIR /work
ENTRYPOINT ["icecore"]
