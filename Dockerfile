# One image for Lambda (the default entry point) and for a long-running host:
#   docker run --init --entrypoint agent-worker IMAGE run
# Pin the base for a release: --build-arg BASE=public.ecr.aws/lambda/python@sha256:...
ARG BASE=public.ecr.aws/lambda/python:3.12

FROM ${BASE} AS builder
WORKDIR /build
COPY infra/build-venv infra/make-sbom infra/
COPY requirements/lambda.txt requirements/uv.txt requirements/audit.txt requirements/
# With the bill of materials (CycloneDX) of exactly what was installed.
RUN infra/build-venv /var/lang/bin/python3.12 /opt/agent-worker /opt/uv \
    && infra/make-sbom /opt/uv/bin/uv /opt/agent-worker

FROM ${BASE}
# Node.js runs MCP servers (npx), uv runs those in Python (uvx). No versions (DL3041): Amazon Linux
# 2023 locks its repository to the base image's release, so the base's digest pins them.
# hadolint ignore=DL3041
RUN dnf install -y nodejs24 nodejs24-npm \
    && dnf clean all \
    && node --version && npm --version
COPY --from=builder /opt/uv/bin/uv /opt/uv/bin/uvx /usr/local/bin/
# The large layer (the CLI is 380 MB), apart from the code, so that a change of code is small.
COPY --from=builder /opt/agent-worker /opt/agent-worker
ENV PATH=/opt/agent-worker/bin:$PATH \
    PYTHONPATH=/var/task \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp/home \
    CLAUDE_CONFIG_DIR=/tmp/home/.claude \
    WORK_DIR=/tmp/agent-worker \
    AGENT_PROFILE=/var/task/profile
# A user of its own for the host; Lambda uses its own in any case. The Claude CLI refuses some
# modes to root, and a name for the uid is what some MCP servers ask for.
RUN --mount=type=bind,source=infra/check_cli_version.py,target=/build/check_cli_version.py \
    ln -s /opt/agent-worker/lib/python3.12/site-packages/claude_agent_sdk/_bundled/claude \
        /usr/local/bin/claude \
    && python /build/check_cli_version.py \
    && printf '#!/bin/sh\nexec /opt/agent-worker/bin/python -m worker "$@"\n' \
        > /usr/local/bin/agent-worker \
    && chmod 755 /usr/local/bin/agent-worker \
    && echo 'worker:x:10001:10001::/tmp/home:/sbin/nologin' >> /etc/passwd \
    && install -d -o 10001 -g 10001 -m 700 /tmp/home
WORKDIR /var/task
COPY contracts contracts
COPY worker worker
COPY profile profile
RUN python -m compileall -q --invalidation-mode unchecked-hash contracts worker \
    && chmod -R a+rX contracts worker profile
USER 10001:10001
ENTRYPOINT ["/opt/agent-worker/bin/python", "-m", "awslambdaric"]
CMD ["worker.entrypoints.lambda_handler.handler"]
