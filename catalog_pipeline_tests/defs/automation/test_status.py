"""`catalog status` tells how each store's last run went, a daemon or none."""

from __future__ import annotations

import json
import socket
from uuid import uuid4

import pytest
from click.testing import CliRunner
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from catalog_pipeline.cli.status import status
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline_tests.defs.automation.shops import Shops


@pytest.fixture(autouse=True)
def no_model(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATALOG_MODEL", f"local-dir:{shops.folder / 'absent'}")
    shops.instance.add_dynamic_partitions(STORES, ["atelier"])


def test_the_last_sync_is_shown_as_dagster_knows_it(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shops.run("atelier", **{"catalog/kind": "nightly"})
    shown = CliRunner().invoke(status, ["--json"], catch_exceptions=False)
    atelier, nordhavn = json.loads(shown.stdout)["stores"]

    assert atelier["last_sync"]["run_id"] == run.run_id
    assert atelier["last_sync"]["status"] == "success"
    assert atelier["last_sync"]["counts"]["products"]["seen"] > 5
    assert nordhavn["last_sync"] is None
    monkeypatch.setenv("DEMO_CONSUMER_KEY", "ck_wrong")
    shops.run("atelier")
    text = CliRunner().invoke(status, [], catch_exceptions=False).stdout
    assert "failed just now" in text
    assert "atelier: its last sync failed: raw_products: store atelier" in text
    assert "; run: catalog sync atelier" in text


def test_a_run_whose_command_line_was_killed_is_no_longer_going_on(shops: Shops) -> None:
    run_id = str(uuid4())
    create_run_for_test(
        shops.instance,
        run_id=run_id,
        status=DagsterRunStatus.STARTED,
        tags={
            "dagster/partition": "atelier",
            "catalog/executed_by": f"{socket.gethostname()}|1|0.00|{run_id}",
        },
    )
    shown = CliRunner().invoke(status, ["--json"], catch_exceptions=False)

    assert json.loads(shown.stdout)["stores"][0]["last_sync"]["status"] == "failure"
