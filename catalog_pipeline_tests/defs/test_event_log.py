"""What a sync costs for ever: the bytes of its events, on the database of a deployment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import dagster as dg
import psycopg
import pytest
import yaml
from sqlalchemy import make_url

from catalog_pipeline.definitions import defs
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline_tests.deployment import sample_deployment

pytestmark = pytest.mark.end_to_end

STORE = "atelier"
REPOSITORY = Path(__file__).resolve().parents[2]
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
# A run that the queue launches has these besides: enqueued, starting, launched and captured logs.
OF_THE_QUEUE = 6_000
MOST_UNCHANGED = 80_000
MOST_CHANGED = 450_000


@contextmanager
def on_postgresql(home: Path, server: str) -> Iterator[tuple[dg.DagsterInstance, str]]:
    """The instance of a deployment, and where its database is."""
    name = f"dagster_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"'.encode())
    url = make_url(server).set(drivername="postgresql+psycopg2", database=name)
    config = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    config["storage"] = {"postgres": {"postgres_url": url.render_as_string(hide_password=False)}}
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield (
            instance,
            url.set(drivername="postgresql").render_as_string(hide_password=False),
        )


def event_bytes(url: str, run_id: str) -> dict[str, int]:
    """The bytes of a run's events, by type."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT coalesce(dagster_event_type, 'log line'), sum(octet_length(event))"
            " FROM event_logs WHERE run_id = %s GROUP BY 1",
            [run_id],
        ).fetchall()
    return {str(kind): int(count) for kind, count in rows}


@pytest.mark.timeout(300)
def test_the_event_log_of_a_sync_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgresql_server: str
) -> None:
    with sample_deployment(tmp_path) as deployment:
        for name, value in deployment.environ.items():
            monkeypatch.setenv(name, value)
        with on_postgresql(deployment.dagster_home, postgresql_server) as (instance, url):
            instance.add_dynamic_partitions(STORES, [STORE])

            def cost() -> dict[str, int]:
                done = defs.resolve_job_def("sync_store").execute_in_process(
                    instance=instance, partition_key=STORE, run_config=QUIET
                )
                deployment.stores.clock.advance(minutes=30)
                return event_bytes(url, done.run_id)

            first, unchanged = cost(), cost()

    assert first["ASSET_MATERIALIZATION"] > 50_000, "no pictures were drawn"
    # What a stage tells is kept once, with its materialisation.
    for found in (first, unchanged):
        assert found["STEP_OUTPUT"] < 10_000, found
    assert sum(first.values()) + OF_THE_QUEUE <= MOST_CHANGED, first
    assert sum(unchanged.values()) + OF_THE_QUEUE <= MOST_UNCHANGED, unchanged
