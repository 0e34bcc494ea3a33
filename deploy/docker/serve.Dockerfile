# serve_svc: deployments; and the inference server, which holds no training framework.
# Build from the repository's root: docker build -f deploy/docker/serve.Dockerfile -t modelwright-serve .
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY proto ./proto
COPY services ./services
COPY gateway ./gateway
COPY modelwright ./modelwright
RUN python -m venv /opt/modelwright \
 && /opt/modelwright/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt ".[serve]"

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home modelwright
COPY --from=build /opt/modelwright /opt/modelwright
ENV PATH=/opt/modelwright/bin:$PATH PYTHONUNBUFFERED=1 MODELWRIGHT_HOST=0.0.0.0 MODELWRIGHT_LOG_FORMAT=json \
    MODELWRIGHT_HOME=/home/modelwright/state
USER 10001
WORKDIR /home/modelwright
ENTRYPOINT ["python", "-m"]
CMD ["services.serve_svc"]
