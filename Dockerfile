# The command and the flows. Targets: lite (the last one, so the default), asr with speech, gpu with both and CUDA.
# Packages are wheels by their hashes, so that no stage has a compiler.
ARG PYTHON=python:3.11.14-slim-bookworm

FROM ${PYTHON} AS tools
ARG UV_VERSION=0.13.9
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/asset-pipeline
RUN pip install --no-cache-dir uv==${UV_VERSION}
WORKDIR /src
COPY requirements/image-build.txt ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv venv /opt/tools && uv pip sync --python /opt/tools --require-hashes image-build.txt && \
    uv venv "${VIRTUAL_ENV}"

FROM tools AS wheel
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY schemas ./schemas
COPY operators ./operators
COPY sources ./sources
COPY sinks ./sinks
COPY dataflows ./dataflows
RUN uv build --wheel --no-build-isolation --python /opt/tools --out-dir /wheel

FROM tools AS packages-lite
COPY requirements/image-lite.txt ./
RUN --mount=type=cache,target=/root/.cache/uv uv pip sync --require-hashes image-lite.txt
COPY --from=wheel /wheel /wheel
RUN uv pip install --no-deps /wheel/*.whl && \
    /opt/tools/bin/cyclonedx-py environment --output-reproducible --output-file /opt/asset-pipeline/sbom.cdx.json \
    /opt/asset-pipeline

FROM tools AS packages-asr
COPY requirements/image-asr.txt ./
RUN --mount=type=cache,target=/root/.cache/uv uv pip sync --require-hashes image-asr.txt
COPY --from=wheel /wheel /wheel
RUN uv pip install --no-deps /wheel/*.whl && \
    /opt/tools/bin/cyclonedx-py environment --output-reproducible --output-file /opt/asset-pipeline/sbom.cdx.json \
    /opt/asset-pipeline

FROM tools AS packages-gpu
COPY requirements/image-gpu.txt ./
RUN --mount=type=cache,target=/root/.cache/uv uv pip sync --require-hashes image-gpu.txt
COPY --from=wheel /wheel /wheel
RUN uv pip install --no-deps /wheel/*.whl && \
    /opt/tools/bin/cyclonedx-py environment --output-reproducible --output-file /opt/asset-pipeline/sbom.cdx.json \
    /opt/asset-pipeline

FROM ${PYTHON} AS runtime
ARG PYTHON
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="asset-pipeline" \
      org.opencontainers.image.description="Takes media assets from upload to publication." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON}" \
      org.cyclonedx.sbom="/opt/asset-pipeline/sbom.cdx.json"
# what is written goes to mounts: /work (scratch), /recovery and /tmp
ENV PATH=/opt/asset-pipeline/bin:${PATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp ASSET_PIPELINE_OUT=/work
WORKDIR /opt/asset-pipeline
USER 10001:10001
ENTRYPOINT ["asset-pipeline"]
CMD ["--help"]

FROM runtime AS gpu
COPY --from=packages-gpu /opt/asset-pipeline /opt/asset-pipeline

FROM runtime AS asr
COPY --from=packages-asr /opt/asset-pipeline /opt/asset-pipeline

FROM runtime AS lite
COPY --from=packages-lite /opt/asset-pipeline /opt/asset-pipeline
