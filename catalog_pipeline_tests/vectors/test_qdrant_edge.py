"""What is Qdrant Edge's alone: crashes, the lock, and the files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import qdrant_edge

from catalog_pipeline.errors import PermanentError, ServiceUnavailableError
from catalog_pipeline.vectors.index import IndexBusyError
from catalog_pipeline.vectors.qdrant_edge import EdgeIndex
from catalog_pipeline_tests.vectors.engines import new_spec, simple_payload, unit_vectors

WRITER = """
import sys
from pathlib import Path
from uuid import UUID
from catalog_pipeline.vectors.qdrant_edge import EdgeIndex
from catalog_pipeline_tests.vectors.engines import simple_payload, unit_vectors

index = EdgeIndex(Path(sys.argv[1]), run="nightly")
with index.session(sys.argv[2]) as points:
    for batch in range(10_000):
        ids = [UUID(int=batch * 100 + i + 1) for i in range(100)]
        points.upsert(ids, unit_vectors(100), [simple_payload(i) for i in ids])
        print(batch, flush=True)
"""


def start_writer(folder: Path, collection: str, batches: int) -> subprocess.Popen[str]:
    """A process that holds the collection and has written some batches of 100."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), collection],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert writer.stdout is not None
    for _ in range(batches):
        assert writer.stdout.readline()
    return writer


def kill(writer: subprocess.Popen[str]) -> None:
    assert writer.stdout is not None
    writer.send_signal(signal.SIGKILL)
    writer.wait(timeout=10)
    writer.stdout.close()


@pytest.mark.parametrize("batches", [1, 7])
def test_a_kill_in_the_middle_of_writing_loses_nothing_acknowledged(
    tmp_path: Path, batches: int
) -> None:
    index = EdgeIndex(tmp_path, wait_seconds=5)
    spec = new_spec()
    index.ensure(spec, "products")
    kill(start_writer(tmp_path, spec.name, batches))
    more = uuid4()
    with index.session(spec.name) as points:
        assert points.count() >= batches * 100
        points.upsert([more], unit_vectors(1), [simple_payload(more)])
    with index.session(spec.name) as points:
        assert [p.point_id for p in points.retrieve([more])] == [more]


def test_waiting_in_vain_names_process_host_and_run(tmp_path: Path) -> None:
    spec = new_spec()
    EdgeIndex(tmp_path).ensure(spec, "products")
    writer = start_writer(tmp_path, spec.name, 1)
    try:
        with (
            pytest.raises(IndexBusyError, match=rf"process {writer.pid} on .+ \(nightly, since 20"),
            EdgeIndex(tmp_path, wait_seconds=0.2).session(spec.name),
        ):
            pass
        assert issubclass(IndexBusyError, ServiceUnavailableError)
    finally:
        kill(writer)
    # The dead one's note is still there, and in nobody's way.
    assert (tmp_path / spec.name / "lock.holder").exists()
    with EdgeIndex(tmp_path, wait_seconds=1).session(spec.name) as points:
        assert points.count() >= 100


def test_a_session_waits_for_the_one_before(tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path, wait_seconds=10)
    spec = new_spec()
    index.ensure(spec, "products")
    order: list[str] = []
    entered = threading.Event()

    def first() -> None:
        with index.session(spec.name):
            entered.set()
            time.sleep(0.3)
            order.append("first")

    other = threading.Thread(target=first)
    other.start()
    assert entered.wait(5)
    with index.session(spec.name):
        order.append("second")
    other.join()
    assert order == ["first", "second"]


def test_a_failed_session_lets_go(tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path, wait_seconds=1)
    spec = new_spec()
    index.ensure(spec, "products")
    with pytest.raises(RuntimeError, match="stop"), index.session(spec.name):
        raise RuntimeError("stop")
    assert not (tmp_path / spec.name / "lock.holder").exists()
    with index.session(spec.name) as points:
        assert points.count() == 0


def test_the_write_ahead_log_is_on(tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path)
    spec = new_spec()
    index.ensure(spec, "products")
    config = json.loads((tmp_path / spec.name / "shard" / "edge_config.json").read_text())
    assert config["wal_enabled"] is True
    assert config["payload_memory"] == "cold"


def test_payload_fields_are_indexed_with_the_store_as_tenant(tmp_path: Path) -> None:
    spec = new_spec()
    EdgeIndex(tmp_path).ensure(spec, "products")
    shard = qdrant_edge.EdgeShard.load(str(tmp_path / spec.name / "shard"))
    schema = shard.info().payload_schema
    shard.close()
    assert set(schema) == {
        "store_id",
        "product_id",
        "price",
        "currency",
        "categories",
        "in_stock",
    }
    params = schema["store_id"].params
    assert isinstance(params, qdrant_edge.KeywordIndexParams)
    assert params.is_tenant


def test_a_half_made_collection_is_made_anew(tmp_path: Path) -> None:
    spec = new_spec()
    home = tmp_path / spec.name
    (home / ".shard.dead" / "segments").mkdir(parents=True)
    (home / "collection.json").write_text("{")
    index = EdgeIndex(tmp_path)
    assert index.info(spec.name) is None
    index.ensure(spec, "products")
    assert sorted(p.name for p in home.iterdir()) == ["collection.json", "lock", "shard"]
    with index.session(spec.name) as points:
        assert points.count() == 0


def test_an_unreadable_description_is_refused_not_guessed(tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path)
    spec = new_spec()
    index.ensure(spec, "products")
    (tmp_path / spec.name / "collection.json").write_text('{"deployment_id": 5}')
    with pytest.raises(PermanentError, match=r"collection\.json cannot be read.*owner"):
        index.ensure(spec, "products")


def test_a_damaged_shard_is_a_permanent_error(tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path)
    spec = new_spec()
    index.ensure(spec, "products")
    (tmp_path / spec.name / "shard" / "edge_config.json").write_text("nonsense")
    with pytest.raises(PermanentError, match="Qdrant Edge refused"), index.session(spec.name):
        pass


def test_optimizing_keeps_every_point(tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path)
    spec = new_spec()
    index.ensure(spec, "products")
    ids = [uuid4() for _ in range(200)]
    with index.session(spec.name) as points:
        points.upsert(ids, unit_vectors(200), [simple_payload(i) for i in ids])
    index.optimize(spec.name)
    with index.session(spec.name) as points:
        assert {i for page in points.ids() for i in page} == set(ids)


def test_two_processes_create_one_collection(tmp_path: Path) -> None:
    spec = new_spec()
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from catalog_pipeline.vectors.qdrant_edge import EdgeIndex\n"
        "from catalog_pipeline_tests.vectors.engines import new_spec\n"
        "sys.stdin.readline()\n"
        "EdgeIndex(Path(sys.argv[1])).ensure(new_spec(name=sys.argv[2]), 'products')\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), spec.name],
            stdin=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
        )
        for _ in range(2)
    ]
    for process in started:
        process.communicate("go\n", timeout=60)
    assert [process.returncode for process in started] == [0, 0]
    assert EdgeIndex(tmp_path).resolve("products") == spec.name
    assert [path.name for path in (tmp_path / "aliases").iterdir()] == ["products"]


def test_a_session_is_flushed_before_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = EdgeIndex(tmp_path)
    spec = new_spec()
    index.ensure(spec, "products")
    calls: list[str] = []

    class Watched:
        def __init__(self, path: str) -> None:
            self._shard = shard_type.load(path)

        load = classmethod(lambda cls, path: cls(path))

        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            return getattr(self._shard, name)

    shard_type = qdrant_edge.EdgeShard
    monkeypatch.setattr("catalog_pipeline.vectors.qdrant_edge.edge.EdgeShard", Watched)
    one = uuid4()
    with index.session(spec.name) as points:
        points.upsert([one], unit_vectors(1), [simple_payload(one)])
    assert calls == ["update", "flush", "close"]
