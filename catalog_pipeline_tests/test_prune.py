"""What nothing refers to goes after a week, and nothing else ever does."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import delete, select, update

from catalog_pipeline.catalog import bulk
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import embeddings, image_attempts, unreferenced_files
from catalog_pipeline.embeddings.compact import compact_parts
from catalog_pipeline.embeddings.parts import read_vectors, write_part
from catalog_pipeline.embeddings.problems import PartError
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.blobs import blob_name, has_blob, write_blob
from catalog_pipeline.prune import prune_files
from catalog_pipeline_tests.vectors.shop import sha_of, vector_of

NOW = datetime(2026, 5, 1, tzinfo=UTC)
WEEK = timedelta(days=7)


@pytest.fixture
def files(tmp_path: Path) -> DataFolder:
    return DataFolder(str(tmp_path / "data"))


def fetched(database: Database, sha: str, url: str = "https://a.example/1.jpg") -> None:
    row = {
        "store_id": "atelier",
        "url": url,
        "outcome": "fetched",
        "image_sha256": sha,
        "failures": 0,
        "attempted_at": NOW,
    }
    with database.write() as connection:
        bulk.upsert(connection, image_attempts, [row])


def embedded(database: Database, files: DataFolder, *pictures: str) -> str:
    shas = [sha_of(picture) for picture in pictures]
    part = write_part(files, "m-1", shas, np.stack([vector_of(sha) for sha in shas]))
    rows = [
        {"image_sha256": sha, "model_version": "m-1", "part": part, "row": row}
        for row, sha in enumerate(shas)
    ]
    with database.write() as connection:
        bulk.upsert(connection, embeddings, rows)
    return part


def test_a_picture_goes_a_week_after_its_last_reference(
    any_database: Database, files: DataFolder
) -> None:
    kept, _ = write_blob(files, b"kept")
    lost, _ = write_blob(files, b"lost")
    fetched(any_database, kept)
    first = prune_files(any_database, files, now=NOW)
    assert (first.removed_blobs, first.waiting) == (0, 1)
    early = prune_files(any_database, files, now=NOW + WEEK - timedelta(hours=1))
    assert (early.removed_blobs, early.waiting) == (0, 1)
    due = prune_files(any_database, files, now=NOW + WEEK)
    assert (due.removed_blobs, due.waiting) == (1, 0)
    assert has_blob(files, kept)
    assert not has_blob(files, lost)
    with any_database.read() as connection:
        assert connection.execute(select(unreferenced_files)).all() == []


def test_what_a_killed_writer_left_goes_after_a_week(
    any_database: Database, files: DataFolder
) -> None:
    kept, _ = write_blob(files, b"kept")
    fetched(any_database, kept)
    root = Path(str(files))
    places = (blob_name(kept), "embeddings/m-1/1.parquet", "archive/atelier/w1/begin.json")
    for age, name in ((age, name) for age in (6, 8) for name in places):
        draft = root / name
        draft = draft.with_name(f".{draft.name}.{uuid4().hex}")
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(b"half")
        written_at = (NOW - timedelta(days=age)).timestamp()
        os.utime(draft, (written_at, written_at))
    assert [prune_files(any_database, files, now=NOW).removed_drafts for _ in range(2)] == [3, 0]
    last = prune_files(any_database, files, now=NOW + timedelta(days=2))
    assert (last.removed_drafts, last.removed_blobs, last.waiting) == (3, 0, 0)
    assert [path.name for path in root.rglob("*") if path.is_file()] == [kept]


def test_a_reference_in_between_begins_the_week_anew(database: Database, files: DataFolder) -> None:
    sha, _ = write_blob(files, b"comes back")
    prune_files(database, files, now=NOW)
    fetched(database, sha)
    assert prune_files(database, files, now=NOW + WEEK).waiting == 0
    with database.write() as connection:
        connection.execute(delete(image_attempts))
    assert prune_files(database, files, now=NOW + 2 * WEEK).removed_blobs == 0
    assert prune_files(database, files, now=NOW + 3 * WEEK).removed_blobs == 1


def test_a_reference_made_at_the_last_moment_keeps_the_file(
    database: Database, files: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha, _ = write_blob(files, b"wanted again")
    prune_files(database, files, now=NOW)
    write = Database.write
    armed = [True]

    def late(self: Database):  # type: ignore[no-untyped-def]
        if armed:
            armed.clear()
            fetched(database, sha)
        return write(self)

    monkeypatch.setattr(Database, "write", late)
    assert prune_files(database, files, now=NOW + WEEK).removed_blobs == 0
    assert has_blob(files, sha)


def test_a_crash_between_file_and_record_is_harmless(
    database: Database, files: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content in (b"one", b"two", b"three"):
        write_blob(files, content)
    prune_files(database, files, now=NOW)
    remove = DataFolder.remove

    def dies(self: DataFolder, name: str) -> None:
        remove(self, name)
        raise OSError("the machine is gone")

    with monkeypatch.context() as patched:
        patched.setattr(DataFolder, "remove", dies)
        with pytest.raises(OSError, match="gone"):
            prune_files(database, files, now=NOW + WEEK)
    report = prune_files(database, files, now=NOW + WEEK)
    assert (report.removed_blobs, report.waiting) == (2, 0)


def test_small_parts_become_one_and_go_later(any_database: Database, files: DataFolder) -> None:
    pictures = [f"p{number}" for number in range(10)]
    old = [embedded(any_database, files, *pictures[start : start + 2]) for start in range(0, 10, 2)]
    stray = write_part(files, "m-1", [sha_of("stray")], vector_of(sha_of("stray"))[None])
    first = prune_files(any_database, files, now=NOW)
    assert (first.compacted.merged, first.compacted.written, first.compacted.vectors) == (5, 1, 10)
    assert (first.removed_parts, first.waiting) == (0, 6)
    last = prune_files(any_database, files, now=NOW + WEEK)
    assert (last.compacted.written, last.removed_parts) == (0, 6)
    assert not any(files.exists(part) for part in [*old, stray])
    with any_database.read() as connection:
        rows = connection.execute(
            select(embeddings.c.image_sha256, embeddings.c.part, embeddings.c.row)
        ).all()
    assert len(rows) == 10
    for sha, part, row in rows:
        found, vectors = read_vectors(files, part, [row])
        assert found == [sha]
        assert np.allclose(vectors[0], vector_of(sha))


def test_large_parts_and_few_small_ones_are_left_alone(
    database: Database, files: DataFolder
) -> None:
    for number in range(3):
        embedded(database, files, f"p{number}")
    assert compact_parts(database, files).written == 0
    assert compact_parts(database, files, small=1, fewest=2).written == 0
    assert compact_parts(database, files, fewest=2).merged == 3


def test_a_damaged_part_is_never_merged(database: Database, files: DataFolder) -> None:
    parts = [embedded(database, files, f"p{number}") for number in range(4)]
    files.write(parts[1], b"broken")
    with pytest.raises(PartError):
        compact_parts(database, files)
    with database.read() as connection:
        assert set(connection.scalars(select(embeddings.c.part))) == set(parts)


def test_a_vector_made_anew_meanwhile_is_not_overwritten(
    database: Database, files: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        embedded(database, files, f"p{number}")
    written = write_part

    def meanwhile(*args, **named):  # type: ignore[no-untyped-def]
        with database.write() as connection:
            changed = update(embeddings).where(embeddings.c.image_sha256 == sha_of("p2"))
            connection.execute(changed.values(part="newer", row=7))
        return written(*args, **named)

    monkeypatch.setattr("catalog_pipeline.embeddings.compact.write_part", meanwhile)
    compact_parts(database, files)
    with database.read() as connection:
        found = connection.execute(
            select(embeddings.c.part, embeddings.c.row).where(
                embeddings.c.image_sha256 == sha_of("p2")
            )
        ).one()
    assert tuple(found) == ("newer", 7)
