"""What nothing refers to goes after a week, and nothing else ever does."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import delete, select, update

from catalog_pipeline.catalog import bulk
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.catalog.overrides import Decision, hide_product, judge_image, use_image
from catalog_pipeline.catalog.schema import (
    embeddings,
    image_attempts,
    image_overrides,
    images,
    metadata,
    points,
    product_images,
    products,
    unreferenced_files,
    variation_images,
)
from catalog_pipeline.embeddings.compact import compact_parts
from catalog_pipeline.embeddings.parts import read_vectors, write_part
from catalog_pipeline.embeddings.problems import PartError
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.blobs import blob_name, has_blob, write_blob
from catalog_pipeline.prune import prune_files
from catalog_pipeline_tests.rows import product_row
from catalog_pipeline_tests.vectors.shop import sha_of, vector_of

NOW = datetime(2026, 5, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
URL = "https://a.example/1.jpg"
OTHER = "https://a.example/2.jpg"


@pytest.fixture
def files(tmp_path: Path) -> DataFolder:
    return DataFolder(str(tmp_path / "data"))


def lists(
    database: Database, number: int, *urls: str, store: str = "atelier", **columns: Any
) -> None:
    """A product with these pictures, as the products stage would write it."""
    identity = product_id(store, str(number))
    rows = [
        {
            "product_id": identity,
            "position": position,
            "store_id": store,
            "image_id": str(position + 1),
            "url": url,
        }
        for position, url in enumerate(urls)
    ]
    with database.write() as connection:
        row = product_row(
            store, str(number), **{"removed_by": None, "left_out_by": None, **columns}
        )
        bulk.upsert(connection, products, [row])
        connection.execute(delete(product_images).where(product_images.c.product_id == identity))
        bulk.upsert(connection, product_images, rows)


def fetched(database: Database, sha: str, url: str = URL, store: str = "atelier") -> None:
    row = {
        "store_id": store,
        "url": url,
        "outcome": "fetched",
        "image_sha256": sha,
        "failures": 0,
        "attempted_at": NOW,
    }
    with database.write() as connection:
        bulk.upsert(connection, image_attempts, [row])


def shown(database: Database, sha: str, url: str = URL) -> None:
    """A product's only picture, and that it was fetched."""
    lists(database, 1, url)
    fetched(database, sha, url)


def attempts(database: Database) -> set[tuple[str, str]]:
    with database.read() as connection:
        found = connection.execute(select(image_attempts.c.store_id, image_attempts.c.url))
        return {(store, url) for store, url in found}


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
    shown(any_database, kept)
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
    shown(any_database, kept)
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
    shown(database, sha)
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
            shown(database, sha)
        return write(self)

    monkeypatch.setattr(Database, "write", late)
    assert prune_files(database, files, now=NOW + WEEK).removed_blobs == 0
    assert has_blob(files, sha)


def removed(database: Database, number: int = 1, store: str = "atelier") -> None:
    with database.write() as connection:
        of_it = products.c.product_id == product_id(store, str(number))
        connection.execute(update(products).where(of_it).values(removed_by="absent"))


def varies(database: Database, number: int, url: str) -> None:
    row = {
        "product_id": product_id("atelier", str(number)),
        "variation_id": "7",
        "store_id": "atelier",
        "image_id": "9",
        "url": url,
    }
    with database.write() as connection:
        bulk.upsert(connection, variation_images, [row])


def a_product_left_out(database: Database, sha: str) -> None:
    lists(database, 1, URL, left_out_by="statuses")


def a_hidden_product(database: Database, sha: str) -> None:
    hide_product(database, product_id("atelier", "1"), Decision("me", "recalled"))


def a_picture_behind_the_one_in_use(database: Database, sha: str) -> None:
    lists(database, 1, URL, OTHER)
    use_image(database, product_id("atelier", "1"), "2", Decision("me", "nicer"))


def a_product_that_lists_it_elsewhere(database: Database, sha: str) -> None:
    removed(database)
    fetched(database, sha, OTHER)
    lists(database, 2, OTHER)


def a_second_store(database: Database, sha: str) -> None:
    lists(database, 1, URL, store="nordhavn")
    fetched(database, sha, store="nordhavn")
    removed(database)


def a_variation(database: Database, sha: str) -> None:
    lists(database, 1, OTHER)
    varies(database, 1, URL)


def a_standing_point(database: Database, sha: str) -> None:
    lists(database, 1, OTHER)
    row = {
        "collection": "products__m-1",
        "point_id": product_id("atelier", "1"),
        "store_id": "atelier",
        "product_id": product_id("atelier", "1"),
        "slot": "",
        "image_sha256": sha,
        "payload_hash": "h",
    }
    with database.write() as connection:
        bulk.upsert(connection, points, [row])


def the_word_of_a_person(database: Database, sha: str) -> None:
    row = {
        "image_sha256": sha,
        "bytes": 3,
        "measurements": {},
        "decoder": "d",
        "measured_at": NOW,
    }
    with database.write() as connection:
        bulk.upsert(connection, images, [row])
    judge_image(database, sha, Decision("me", "ugly"), accepted=False)
    removed(database)


def a_placeholder(database: Database, sha: str) -> None:
    url = "https://a.example/woocommerce-placeholder.png"
    fetched(database, sha, url)
    removed(database)


def a_product_removed(database: Database, sha: str) -> None:
    removed(database)


def an_url_replaced(database: Database, sha: str) -> None:
    lists(database, 1, OTHER)


def two_stores_that_removed_it(database: Database, sha: str) -> None:
    a_second_store(database, sha)
    removed(database, store="nordhavn")


def another_store_that_lists_the_url(database: Database, sha: str) -> None:
    lists(database, 1, URL, store="nordhavn")
    removed(database)


def a_variation_of_a_removed_product(database: Database, sha: str) -> None:
    a_variation(database, sha)
    removed(database)


def a_word_whose_time_is_over(database: Database, sha: str) -> None:
    the_word_of_a_person(database, sha)
    with database.write() as connection:
        connection.execute(update(image_overrides).values(until=NOW))


def an_emptied_store(database: Database, sha: str) -> None:
    with database.write() as connection:
        for table in metadata.sorted_tables:
            if "store_id" in table.c:
                connection.execute(delete(table).where(table.c.store_id == "atelier"))


@pytest.mark.parametrize(
    "keeps",
    [
        a_product_left_out,
        a_hidden_product,
        a_picture_behind_the_one_in_use,
        a_product_that_lists_it_elsewhere,
        a_second_store,
        a_variation,
        a_standing_point,
        the_word_of_a_person,
        a_placeholder,
    ],
)
def test_a_picture_stays_for(
    any_database: Database, files: DataFolder, keeps: Callable[[Database, str], None]
) -> None:
    sha, _ = write_blob(files, b"kept")
    shown(any_database, sha)
    keeps(any_database, sha)
    before = attempts(any_database)
    for day in (0, 7, 14):
        report = prune_files(any_database, files, now=NOW + timedelta(days=day))
        assert (report.removed_blobs, report.waiting) == (0, 0)
    assert has_blob(files, sha)
    assert attempts(any_database) == before


@pytest.mark.parametrize(
    "frees",
    [
        a_product_removed,
        an_url_replaced,
        two_stores_that_removed_it,
        another_store_that_lists_the_url,
        a_variation_of_a_removed_product,
        a_word_whose_time_is_over,
        an_emptied_store,
    ],
)
def test_a_picture_and_the_memory_of_fetching_it_go_for(
    any_database: Database, files: DataFolder, frees: Callable[[Database, str], None]
) -> None:
    sha, _ = write_blob(files, b"lost")
    kept, _ = write_blob(files, b"kept")
    shown(any_database, sha)
    lists(any_database, 9, "https://a.example/9.jpg")
    fetched(any_database, kept, "https://a.example/9.jpg")
    embedded(any_database, files, "lost")
    frees(any_database, sha)
    if frees is an_emptied_store:
        shown(any_database, kept, "https://a.example/9.jpg")
    assert prune_files(any_database, files, now=NOW).waiting == 1
    due = prune_files(any_database, files, now=NOW + WEEK)
    assert (due.removed_blobs, due.removed_parts, due.waiting) == (1, 0, 0)
    assert not has_blob(files, sha)
    assert has_blob(files, kept)
    # Neither is it embedded anew: its vector stands where it stood.
    assert attempts(any_database) == {("atelier", "https://a.example/9.jpg")}
    with any_database.read() as connection:
        assert list(connection.scalars(select(embeddings.c.image_sha256))) == [sha]


def test_a_product_back_within_the_week_has_its_picture(
    any_database: Database, files: DataFolder
) -> None:
    sha, _ = write_blob(files, b"back")
    shown(any_database, sha)
    removed(any_database)
    assert prune_files(any_database, files, now=NOW).waiting == 1
    lists(any_database, 1, URL)
    assert prune_files(any_database, files, now=NOW + timedelta(days=6)).waiting == 0
    removed(any_database)
    assert prune_files(any_database, files, now=NOW + WEEK).waiting == 1
    assert has_blob(files, sha)
    assert attempts(any_database) == {("atelier", URL)}


def test_of_many_pictures_those_go_that_no_product_lists(
    any_database: Database, files: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog_pipeline.prune._BATCH", 2)
    kept: set[str] = set()
    gone: set[str] = set()
    for number in range(90):
        store = ("atelier", "nordhavn")[number % 2]
        sha, _ = write_blob(files, str(number).encode())
        url = f"https://a.example/{number}.jpg"
        goes = number % 3 == 0
        lists(any_database, number, url, store=store, removed_by="absent" if goes else None)
        fetched(any_database, sha, url, store)
        (gone if goes else kept).add(sha)
    assert prune_files(any_database, files, now=NOW).waiting == len(gone)
    assert prune_files(any_database, files, now=NOW + WEEK).removed_blobs == len(gone)
    assert {sha for sha in kept | gone if has_blob(files, sha)} == kept
    assert len(attempts(any_database)) == len(kept)


@pytest.mark.parametrize("brings_back", [lists, varies])
def test_a_product_that_comes_back_meanwhile_keeps_its_picture(
    any_database: Database,
    files: DataFolder,
    monkeypatch: pytest.MonkeyPatch,
    brings_back: Callable[[Database, int, str], None],
) -> None:
    sha, _ = write_blob(files, b"wanted again")
    shown(any_database, sha)
    lists(any_database, 1)
    prune_files(any_database, files, now=NOW)
    written, ended = threading.Event(), threading.Event()
    genuine = Database.write

    def bring_back() -> None:
        upsert = bulk.upsert

        def slowly(*args: Any) -> None:
            upsert(*args)
            written.set()
            # Until it is committed, no other transaction can see it.
            ended.wait(1)

        with monkeypatch.context() as patched:
            patched.setattr(bulk, "upsert", slowly)
            brings_back(any_database, 1, URL)

    returning = threading.Thread(target=bring_back)

    def late(self: Database):  # type: ignore[no-untyped-def]
        if threading.current_thread() is not returning and not written.is_set():
            returning.start()
            written.wait(5)
        return genuine(self)

    monkeypatch.setattr(Database, "write", late)
    report = prune_files(any_database, files, now=NOW + WEEK)
    ended.set()
    returning.join()
    assert report.removed_blobs == 0
    assert has_blob(files, sha)
    assert attempts(any_database) == {("atelier", URL)}


def dies_in_pruning(database: Database, files: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file goes, and with it the machine, before anything of it is recorded."""
    remove = DataFolder.remove

    def dies(self: DataFolder, name: str) -> None:
        remove(self, name)
        raise OSError("the machine is gone")

    with monkeypatch.context() as patched:
        patched.setattr(DataFolder, "remove", dies)
        with pytest.raises(OSError, match="gone"):
            prune_files(database, files, now=NOW + WEEK)


def test_where_files_went_and_their_removal_was_not_recorded_nothing_vouches_for_them(
    any_database: Database, files: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha, _ = write_blob(files, b"lost")
    shown(any_database, sha)
    removed(any_database)
    prune_files(any_database, files, now=NOW)
    dies_in_pruning(any_database, files, monkeypatch)
    assert not has_blob(files, sha)
    assert attempts(any_database) == set()
    assert prune_files(any_database, files, now=NOW + WEEK).waiting == 0


def test_a_crash_between_file_and_record_is_harmless(
    database: Database, files: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content in (b"one", b"two", b"three"):
        write_blob(files, content)
    prune_files(database, files, now=NOW)
    dies_in_pruning(database, files, monkeypatch)
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
