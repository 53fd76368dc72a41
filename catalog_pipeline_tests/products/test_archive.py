"""The raw archive: what is written is read back, in order, or a clear error names the file."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.archive import Archive, ArchiveError, WalkManifest, WalkWriter
from catalog_pipeline.products.source import Page, WalkOrder, WalkStart

START = WalkStart(datetime(2026, 11, 20, 6, tzinfo=UTC), True, "EUR", 3, 1)


def begin(archive: Archive, store_id: str = "atelier") -> WalkWriter:
    return archive.begin(store_id, "woocommerce", WalkOrder(), START)


def finish(writer: WalkWriter) -> None:
    writer.finish(
        WalkManifest(
            **writer.begin.model_dump(),
            finished_at=datetime.now(UTC),
            complete=True,
            reason=None,
            announced_at_end=3,
            pages=writer.pages,
            records=3,
            ids=3,
            duplicates=0,
            unreadable_ids=0,
            bytes=writer.bytes,
            requests=3,
            retries=0,
            throttles=0,
        )
    )


def test_a_walk_comes_back_as_it_was_written(archive: Archive) -> None:
    writer = begin(archive)
    bodies = [b"[1]", b"", b'\xef\xbb\xbf[{"id": 2}]', b"\x00\xff" * 1000]
    for body in bodies:
        writer.add(Page(body, ()))
    finish(writer)
    (walk_id,) = archive.walk_ids("atelier")
    walk = archive.open("atelier", walk_id)
    assert walk is not None
    assert walk.complete
    assert [body for _path, body in walk.pages()] == bodies
    names = [path.rsplit("/", 1)[1] for path, _body in walk.pages()]
    assert names[0] == "products-000001.json.zst"
    assert walk.begin.server_clock == START.server_clock
    assert walk.begin.currency == "EUR"
    assert walk.begin.source == "woocommerce"


@settings(max_examples=20)
@given(body=st.binary(max_size=5000))
def test_any_body_survives(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    archive = Archive(DataFolder(str(tmp_path_factory.mktemp("data"))))
    writer = begin(archive)
    writer.add(Page(body, ()))
    walk = archive.open("atelier", writer.begin.walk_id)
    assert walk is not None
    assert [found for _path, found in walk.pages()] == [body]


def test_a_walk_without_an_end_proves_nothing(archive: Archive) -> None:
    writer = begin(archive)
    writer.add(Page(b"[]", ()))
    walk = archive.open("atelier", writer.begin.walk_id)
    assert walk is not None
    assert walk.manifest is None
    assert not walk.complete
    assert len(list(walk.pages())) == 1


def test_walks_sort_by_time_even_if_the_clock_goes_back(archive: Archive) -> None:
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    made = []
    moments = [noon, noon, noon - timedelta(days=1), noon + timedelta(milliseconds=1), noon]
    for moment in moments:
        with time_machine.travel(moment, tick=False):
            made.append(begin(archive).begin.walk_id)
    assert archive.walk_ids("atelier") == made
    assert made[0].startswith("20261120T120000000Z-full-")
    assert all(len(walk_id) <= 64 for walk_id in made)
    assert archive.walk_ids("other") == []


def test_an_empty_folder_is_no_walk(archive: Archive, tmp_path: Path) -> None:
    walk_id = "20261120T120000000Z-full-abcdef"
    (tmp_path / "data/archive/atelier" / walk_id).mkdir(parents=True)
    assert archive.open("atelier", walk_id) is None


def walk_folder(archive: Archive, tmp_path: Path) -> Path:
    writer = begin(archive)
    for body in (b"[1]" * 100, b"[2]" * 100):
        writer.add(Page(body, ()))
    finish(writer)
    return tmp_path / "data/archive/atelier" / writer.begin.walk_id


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "junk"])
def test_a_damaged_page_is_named(archive: Archive, tmp_path: Path, damage: str) -> None:
    folder = walk_folder(archive, tmp_path)
    page = folder / "products-000002.json.zst"
    content = page.read_bytes()
    flipped = bytes([*content[:-1], content[-1] ^ 1])
    damaged = {"cut": content[:-5], "flip": flipped, "empty": b"", "junk": b"junk"}
    page.write_bytes(damaged[damage])
    walk = archive.open("atelier", folder.name)
    assert walk is not None
    with pytest.raises(ArchiveError, match=r"products-000002\.json\.zst is damaged"):
        list(walk.pages())


def test_a_missing_page_is_noticed(archive: Archive, tmp_path: Path) -> None:
    folder = walk_folder(archive, tmp_path)
    (folder / "products-000001.json.zst").unlink()
    walk = archive.open("atelier", folder.name)
    assert walk is not None
    with pytest.raises(ArchiveError, match=r"holds 1 pages, its manifest\.json says 2"):
        list(walk.pages())


def test_records_of_another_format_or_none_are_named(archive: Archive, tmp_path: Path) -> None:
    folder = walk_folder(archive, tmp_path)
    manifest = folder / "manifest.json"
    good = json.loads(manifest.read_text())
    cases = {
        json.dumps({**good, "format": 2}): "of a format that this version does not know",
        json.dumps({**good, "pages": "many"}): "pages",
        json.dumps({**good, "server_clock": "2026-11-20T06:00:00"}): "server_clock",
        "{": "is damaged",
    }
    for text, message in cases.items():
        manifest.write_text(text)
        with pytest.raises(ArchiveError, match=message) as found:
            archive.open("atelier", folder.name)
        assert "manifest.json" in str(found.value)
    manifest.write_text(json.dumps({**good, "added_later": 1}))
    assert archive.open("atelier", folder.name) is not None
    manifest.unlink()
    (folder / "begin.json").unlink()
    with pytest.raises(ArchiveError, match=r"has lost its begin\.json"):
        archive.open("atelier", folder.name)
