"""One webserver and daemon for all tests of the UI."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline_tests.deployment import sample_deployment
from catalog_pipeline_tests.ui.servers import DagsterServers, dagster_servers


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterServers]:
    folder = tmp_path_factory.mktemp("ui")
    with sample_deployment(folder, products_per_store=20, paused=True) as deployment:
        with dg.DagsterInstance.from_config(str(deployment.dagster_home)) as instance:
            instance.add_dynamic_partitions(STORES, list(deployment.stores.stores))
        with dagster_servers(deployment) as started:
            yield started
