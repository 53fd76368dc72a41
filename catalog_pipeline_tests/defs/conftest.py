"""A deployment over the sample stores, in this process's environment."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.settings import load_settings
from catalog_pipeline_tests.deployment import Deployment, sample_deployment


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with (
        sample_deployment(tmp_path_factory.mktemp("deployment")) as made,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in made.environ.items():
            patch.setenv(name, value)
        yield made


@pytest.fixture(scope="module")
def instance(deployment: Deployment) -> Iterator[dg.DagsterInstance]:
    """The deployment's instance on disk, with a partition for each store."""
    with dg.DagsterInstance.from_config(str(deployment.dagster_home)) as opened:
        opened.add_dynamic_partitions(STORES, list(deployment.stores.stores))
        yield opened


@pytest.fixture(scope="module")
def catalogue(deployment: Deployment) -> Iterator[Database]:
    """The database that the runs write."""
    opened = Database(load_settings(deployment.environ).database)
    opened.migrate()
    yield opened
    opened.dispose()
