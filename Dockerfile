# One image for the code location, the webserver and the daemon.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    DAGSTER_HOME=/opt/dagster

WORKDIR /opt/catalog

# The dependencies alone first, so that a change of code does not fetch PyTorch again.
COPY pyproject.toml constraints.txt README.md ./
RUN mkdir catalog_pipeline \
    && touch catalog_pipeline/__init__.py \
    && pip install --constraint constraints.txt ".[embed,ui]" \
    && pip uninstall --yes catalog-pipeline

COPY catalog_pipeline catalog_pipeline
RUN pip install --no-deps . && rm -rf /opt/catalog/*

COPY dagster.yaml /opt/dagster/dagster.yaml
# Volumes take over the owner of the folder that they are mounted on.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/catalog \
        --shell /usr/sbin/nologin catalog \
    && mkdir -p /opt/dagster/storage /var/lib/catalog \
    && chown -R catalog:catalog /opt/dagster /var/lib/catalog

USER catalog
WORKDIR /var/lib/catalog
