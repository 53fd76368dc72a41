"""`catalog demo` as a person runs it: twice, and killed in the middle."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import RowMapping, Table, select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.catalog.schema import (
    embeddings,
    image_attempts,
    image_verdicts,
    images,
    points,
    product_images,
    products,
    quarantine,
    store_states,
)
from catalog_pipeline.vectors.index import PointFilter
from catalog_pipeline.vectors.qdrant_edge import EdgeIndex

pytestmark = pytest.mark.end_to_end

CATALOG = Path(sys.executable).with_name("catalog")
COMPLETION_SECONDS = 150
KILLS = 3
# Names of walks and of parts, and our own clocks, differ from run to run.
INCIDENTAL = {
    "walk_id",
    "first_walk_id",
    "watermark",
    "part",
    "vector_digest",
    "row",
    "processed_at",
    "quarantined_at",
    "attempted_at",
    "next_attempt_at",
    "measured_at",
    "judged_at",
    "failures",
}
TABLES = (
    products,
    product_images,
    quarantine,
    image_attempts,
    images,
    image_verdicts,
    embeddings,
    points,
    store_states,
)


@pytest.fixture(scope="module")
def port() -> int:
    """A free port; picture URLs hold it, so all runs of a comparison share one."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start(folder: Path, port: int, *arguments: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    # A person's settings must not reach the demo, nor the demo a person's deployment.
    environment = os.environ | {
        "CATALOG_DATABASE_URL": "postgresql+psycopg://production@127.0.0.1:9/production",
        "CATALOG_QDRANT_URL": "http://127.0.0.1:9",
    }
    return subprocess.Popen(
        [str(CATALOG), "demo", "--port", str(port), *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        # A script reads what is answered, a person both.
        stderr=subprocess.PIPE if arguments else subprocess.STDOUT,
        text=True,
    )


def complete(folder: Path, port: int) -> str:
    process = start(folder, port)
    output, _ = process.communicate(timeout=COMPLETION_SECONDS)
    assert process.returncode == 0, output
    assert "Traceback" not in output, output
    return output


def contents(folder: Path) -> dict[str, Any]:
    """All that the demo's database and collection hold, without what may differ."""
    data = folder / ".catalog" / "demo"
    database = Database(f"sqlite:///{data / 'catalog.sqlite'}")
    with database.read() as connection:
        found: dict[str, Any] = {
            table.name: sorted(
                (_essential(table, row) for row in connection.execute(select(table)).mappings()),
                key=repr,
            )
            for table in TABLES
        }
        collection = connection.scalars(select(points.c.collection).distinct()).one()
    database.dispose()
    index = EdgeIndex(data / "qdrant", run="test")
    with index.session(collection) as opened:
        ids = [one for page in opened.ids(PointFilter()) for one in page]
        found["collection"] = sorted(
            (str(point.point_id), repr(sorted(dict(point.payload or {}).items())))
            for point in opened.retrieve(ids, payload=True)
        )
    return found


def _essential(table: Table, row: RowMapping) -> dict[str, Any]:
    names = [column.name for column in table.columns]
    return {name: row[name] for name in names if name not in INCIDENTAL}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, port: int) -> tuple[Path, str]:
    """A folder in which the demo ran once, and what it printed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, complete(folder, port)


def test_a_person_is_shown_what_was_loaded(undisturbed: tuple[Path, str]) -> None:
    folder, shown = undisturbed
    for said in (
        "atelier",
        "nordhavn",
        "rejected: ",
        "161 upserted",
        "floral green shirt",
        "Floral Green Shirt",
        "search.html",
        "make dev",
    ):
        assert said in shown
    assert len(contents(folder)["collection"]) == 322


@pytest.mark.timeout(COMPLETION_SECONDS * 2)
def test_a_second_call_does_nothing_and_answers_a_script_in_one_document(
    undisturbed: tuple[Path, str], port: int
) -> None:
    folder, _ = undisturbed
    before = contents(folder)
    process = start(folder, port, "--json")
    answer, told = process.communicate(timeout=COMPLETION_SECONDS)
    assert process.returncode == 0, told
    found = json.loads(answer)
    assert [one["store"] for one in found["stores"]] == ["atelier", "nordhavn"]
    for one in found["stores"]:
        assert one["succeeded"] is True
        stages = one["stages"]
        # Scheduled products carry a date in the future, so that every walk brings them again.
        done = {name: stages["products"][name] for name in ("new", "changed", "unchanged")}
        assert done == {"new": 0, "changed": 0, "unchanged": 2}
        assert stages["products"]["live"] == 183
        assert stages["product_images"]["fetched"] == stages["image_embeddings"]["embedded"] == 0
        assert stages["product_images"]["accepted"] == stages["qdrant_points"]["points"] == 161
        assert stages["qdrant_points"]["upserted"] == 0
        assert stages["qdrant_points"]["payload_refreshed"] == 0
    assert found["query"] == "floral green shirt"
    assert "Floral Green Shirt" in found["hits"][0]["payload"]["title"]
    # Whoever waits sees how far it is.
    assert "nordhavn" in told
    assert contents(folder) == before


@pytest.mark.timeout(COMPLETION_SECONDS * 3)
def test_a_demo_killed_at_any_moment_ends_in_the_same_catalogue(
    undisturbed: tuple[Path, str], tmp_path: Path, port: int
) -> None:
    moments = random.Random(7)
    for _ in range(KILLS):
        process = start(tmp_path, port)
        time.sleep(moments.uniform(2.0, 9.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        # Not read to its end: Dagster's follower of a step's output may outlive the process.
        assert process.stdout is not None
        process.stdout.close()
    complete(tmp_path, port)
    expected, found = contents(undisturbed[0]), contents(tmp_path)
    for name, rows in expected.items():
        assert found[name] == rows, name


@pytest.mark.timeout(COMPLETION_SECONDS)
def test_a_script_is_told_of_a_demo_that_failed(tmp_path: Path, port: int) -> None:
    data = tmp_path / ".catalog" / "demo"
    data.mkdir(parents=True)
    database = Database(f"sqlite:///{data / 'catalog.sqlite'}")
    database.migrate()
    with (
        hold_store(database, "atelier", "somebody else"),
        hold_store(database, "nordhavn", "somebody else"),
    ):
        process = start(tmp_path, port, "--json")
        answer, told = process.communicate(timeout=COMPLETION_SECONDS)
    database.dispose()
    assert process.returncode == 1, told
    found = json.loads(answer)
    assert [(one["store"], one["succeeded"]) for one in found["stores"]] == [
        ("atelier", False),
        ("nordhavn", False),
    ]
    assert all("somebody else" in "".join(one["failures"]) for one in found["stores"])
    assert found["query"] is found["hits"] is None


def test_a_port_in_use_is_named_and_another_is_asked_for(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(tmp_path, taken.getsockname()[1])
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "is not free" in output
    assert "--port" in output
    assert "Traceback" not in output
