"""The jobs: what they hold, in which order, and what the run queue is told of them."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from catalog_pipeline.catalog.removal_approvals import Approval, ApprovalRefusedError
from catalog_pipeline.definitions import build_defs
from catalog_pipeline.defs.automation import PRIORITIES, Kind, sync_request
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.defs.products import RemovalConfig
from catalog_pipeline.defs.sensors import SENSORS
from catalog_pipeline.defs.vectors import PointsConfig
from catalog_pipeline_tests.defs.automation.shops import Shops

KINDS: list[Kind] = ["incremental", "prices", "decision", "nightly", "full", "backlog", "first"]
LIGHT = {"prices": "sync_prices", "decision": "carry_out"}


def test_the_light_job_loads_points_after_the_rows_that_they_come_from() -> None:
    job = build_defs().resolve_job_def("sync_prices")

    assert [node.name for node in job.graph.nodes_in_topological_order] == [
        "raw_products",
        "products",
        "qdrant_points",
    ]


def test_the_light_job_holds_nothing_against_each_other() -> None:
    assert not build_defs().resolve_job_def("sync_prices").asset_layer.asset_graph.asset_check_keys


@pytest.mark.parametrize("name", ["sync_store", "sync_prices", "carry_out"])
def test_what_a_person_starts_goes_first(name: str) -> None:
    job = build_defs().resolve_job_def(name)

    assert job.run_tags == {"catalog/kind": "hand", "dagster/priority": "10"}


def test_a_request_overrides_the_tags_of_its_job(shops: Shops) -> None:
    request = sync_request("atelier", "first", "2026-03-01")
    shops.instance.add_dynamic_partitions(STORES, ["atelier"])
    job = build_defs().resolve_job_def("sync_store")
    resolved = request.with_resolved_tags_and_config(
        job, dynamic_partitions_requests=[], dynamic_partitions_store=shops.instance
    )

    assert {**job.run_tags, **resolved.tags} == {
        "catalog/kind": "first",
        "dagster/priority": "-5",
        "dagster/partition": "atelier",
        "dagster/partition_set": "sync_store_partition_set",
    } | {tag: value for tag, value in resolved.tags.items() if tag.startswith(".")}


@pytest.mark.parametrize("kind", KINDS)
def test_every_request_is_a_run_that_the_job_accepts(kind: Kind) -> None:
    request = sync_request("atelier", kind, "2026-03-01")

    assert request.job_name == LIGHT.get(kind, "sync_store")
    assert request.tags["catalog/kind"] == ("prices" if kind in LIGHT else kind)
    job = build_defs().resolve_job_def(request.job_name)
    assert dg.validate_run_config(job, request.run_config)
    assert request.run_key != sync_request("atelier", kind, "2026-03-02").run_key
    assert request.run_key != sync_request("nordhavn", kind, "2026-03-01").run_key


def test_both_stages_that_remove_take_an_approval_with_the_run() -> None:
    word: dict[str, Any] = {
        "approve_removals": 40,
        "approved_by": "kim",
        "approval_reason": "sale is over",
    }
    config = {"ops": {"products": {"config": word}, "qdrant_points": {"config": word}}}

    assert dg.validate_run_config(build_defs().resolve_job_def("sync_store"), config)
    approval = PointsConfig(**word).approval("r1")
    assert approval == RemovalConfig(**word).approval("r1") == Approval(40, "kim", "sale is over")
    with pytest.raises(ApprovalRefusedError, match="approval_reason is empty"):
        RemovalConfig(approve_removals=40, approval_reason=" ").approval("r1")


def test_a_person_waits_least_and_a_first_sync_most() -> None:
    ordered = sorted(PRIORITIES, key=lambda kind: -PRIORITIES[kind])

    assert ordered[0] == "hand"
    assert ordered[1] == "incremental"
    assert ordered[-1] == "first"


def test_everything_runs_by_itself() -> None:
    for sensor in SENSORS:
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    repository = build_defs().get_repository_def()
    assert {sensor.name for sensor in repository.sensor_defs} >= {s.name for s in SENSORS}
