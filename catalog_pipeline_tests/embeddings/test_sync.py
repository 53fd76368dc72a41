"""The stage: each accepted picture is embedded once, and what is not done stays owed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import Connection, select

from catalog_pipeline.catalog.contents import embeddings_content
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.catalog.lease import StoreLease, hold_store
from catalog_pipeline.catalog.schema import (
    embeddings,
    image_attempts,
    image_verdicts,
    models,
    product_images,
    products,
)
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.embeddings.compact import compact_parts
from catalog_pipeline.embeddings.encode import Content, Embedder, EncodedBatch
from catalog_pipeline.embeddings.parts import read_vectors
from catalog_pipeline.embeddings.sync import EmbeddingsReport, embed_images
from catalog_pipeline.exhibits.vector_map import vector_map
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.blobs import blob_name, write_blob
from catalog_pipeline_tests.embeddings.conftest import picture, write_checkpoint
from catalog_pipeline_tests.rows import product_row
from catalog_pipeline_tests.vectors.shop import store_config

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def files(tmp_path: Path) -> DataFolder:
    return DataFolder(str(tmp_path / "data"))


@pytest.fixture
def embedder(checkpoint: Path) -> Embedder:
    return Embedder(f"local-dir:{checkpoint}", device="cpu", batch_size=4)


def _show(
    database: Database,
    store: str,
    shas: Sequence[str],
    *,
    accepted: bool = True,
    removed: bool = False,
) -> None:
    """Products of a store, each with one of the images as its main one."""
    with database.write() as connection:
        for sha in shas:
            external = uuid4().hex
            url = f"https://{store}.example/{external}.jpg"
            identity = product_id(store, external)
            connection.execute(
                products.insert().values(
                    **product_row(store, external, removed_by="absent" if removed else None)
                )
            )
            connection.execute(
                product_images.insert().values(
                    product_id=identity, position=0, store_id=store, image_id="1", url=url
                )
            )
            connection.execute(
                image_attempts.insert().values(
                    store_id=store,
                    url=url,
                    outcome="fetched",
                    image_sha256=sha,
                    failures=0,
                    attempted_at=NOW,
                )
            )
        known = set(
            connection.scalars(
                select(image_verdicts.c.image_sha256).where(image_verdicts.c.store_id == store)
            )
        )
        for sha in sorted(set(shas) - known):
            connection.execute(
                image_verdicts.insert().values(
                    store_id=store,
                    image_sha256=sha,
                    gate_version="g",
                    accepted=accepted,
                    issues=[],
                    judged_at=NOW,
                )
            )


def _blobs(files: DataFolder, seeds: range) -> list[str]:
    return [write_blob(files, picture(seed))[0] for seed in seeds]


def _embed(
    database: Database, files: DataFolder, embedder: Embedder, store: str = "atelier"
) -> EmbeddingsReport:
    with hold_store(database, store, "run") as lease:
        return embed_images(lease, files, embedder, Scope(store))


def _recorded(database: Database) -> dict[str, tuple[str, int]]:
    with database.read() as connection:
        rows = connection.execute(
            select(embeddings.c.image_sha256, embeddings.c.part, embeddings.c.row)
        )
        return {sha: (part, row) for sha, part, row in rows}


def test_each_accepted_image_gets_its_vector(
    database: Database, files: DataFolder, embedder: Embedder
) -> None:
    shas = _blobs(files, range(10))
    _show(database, "atelier", shas[:6])
    # The same picture on a second product, a refused one, and one of a removed product.
    _show(database, "atelier", shas[:1])
    _show(database, "atelier", shas[6:8], accepted=False)
    _show(database, "atelier", shas[8:], removed=True)
    seen: list[tuple[int, int]] = []
    with hold_store(database, "atelier", "run") as lease:
        report = embed_images(
            lease,
            files,
            embedder,
            Scope("atelier"),
            progress=lambda done, total: seen.append((done, total)),
        )
    assert (report.embedded, report.reused, report.failed, report.parts) == (6, 0, {}, 1)
    assert report.model_version == embedder.spec.model_version
    assert (report.dimensions, report.precision, report.batch_size) == (24, "fp32", 4)
    assert report.images_per_second > 0
    assert seen == [(4, 6), (6, 6)]
    recorded = _recorded(database)
    assert sorted(recorded) == sorted(shas[:6])
    for seed, sha in enumerate(shas[:6]):
        part, row = recorded[sha]
        (found,), vectors = read_vectors(files, part, [row])
        assert found == sha
        np.testing.assert_allclose(vectors[0], embedder.encode_image(picture(seed)), atol=1e-5)
    with database.read() as connection:
        model = connection.execute(select(models)).one()
    assert model.model_version == embedder.spec.model_version
    assert model.dimensions == 24


def test_an_image_is_embedded_once_across_stores(
    database: Database, files: DataFolder, embedder: Embedder
) -> None:
    shas = _blobs(files, range(5))
    _show(database, "atelier", shas[:3])
    _show(database, "brocante", shas[1:])
    assert _embed(database, files, embedder).embedded == 3
    report = _embed(database, files, embedder, "brocante")
    assert (report.embedded, report.reused) == (2, 2)
    again = _embed(database, files, embedder)
    assert (again.embedded, again.reused, again.parts, again.device) == (0, 3, 0, None)


def test_other_vectors_are_other_content_and_moved_ones_are_not(
    database: Database, files: DataFolder, embedder: Embedder, checkpoint: Path
) -> None:
    class Broken(Embedder):
        def encode(self, items: Iterable[tuple[str, Content]]) -> Iterator[EncodedBatch]:
            for batch in super().encode(items):
                yield replace(batch, vectors=batch.vectors[:, ::-1])

    version, store = embedder.spec.model_version, store_config("atelier")

    def shown() -> tuple[str, str]:
        drawn = vector_map(database, files, store, version)
        assert drawn is not None
        return embeddings_content(database, Scope("atelier"), version).digest, drawn.digest

    broken = Broken(f"local-dir:{checkpoint}", device="cpu", batch_size=4)
    for seeds in (range(3), range(3, 5)):
        _show(database, "atelier", _blobs(files, seeds))
        _embed(database, files, broken)
    first = shown()

    assert compact_parts(database, files, fewest=2).vectors == 5
    assert shown() == first

    with hold_store(database, "atelier", "run") as lease:
        embed_images(lease, files, embedder, Scope("atelier"), reembed=True)
    mended = shown()
    assert all(after != before for after, before in zip(mended, first, strict=True))


def test_another_model_embeds_everything_again(
    tmp_path: Path, database: Database, files: DataFolder, embedder: Embedder
) -> None:
    _show(database, "atelier", _blobs(files, range(3)))
    _embed(database, files, embedder)
    changed = write_checkpoint(
        tmp_path / "changed", change=lambda weights: weights["visual.proj"].mul_(2)
    )
    report = _embed(database, files, Embedder(f"local-dir:{changed}", device="cpu"))
    assert (report.embedded, report.reused) == (3, 0)
    with database.read() as connection:
        assert len(list(connection.scalars(select(models.c.model_version)))) == 2


def test_what_cannot_be_read_is_fetched_anew_and_what_cannot_be_decoded_stays_owed(
    database: Database, files: DataFolder, embedder: Embedder
) -> None:
    shas = [*_blobs(files, range(3)), "0" * 64, write_blob(files, b"\xff\xd8\xff no picture")[0]]
    # Another good picture in its place: its vector would be a lie.
    files.write(blob_name(shas[2]), picture(3))
    _show(database, "atelier", shas)
    _show(database, "nordhavn", shas[2:4])
    report = _embed(database, files, embedder)
    assert report.embedded == 2
    assert report.failed == {"missing": 1, "undecodable": 1, "damaged": 1}
    with database.read() as connection:
        left = select(image_attempts.c.store_id, image_attempts.c.image_sha256)
        told = {tuple(row) for row in connection.execute(left)}
    assert told == {
        *(("atelier", sha) for sha in (shas[0], shas[1], shas[4])),
        # Nothing of the other store was asked for.
        *(("nordhavn", sha) for sha in shas[2:4]),
    }
    again = _embed(database, files, embedder)
    assert (again.embedded, again.reused, again.parts) == (0, 2, 0)
    assert again.failed == {"undecodable": 1}
    write_blob(files, picture(2))
    assert _embed(database, files, embedder, store="nordhavn").embedded == 1


@pytest.mark.parametrize("where", [0, 5, 300, -2])
def test_bytes_that_rotted_end_as_a_reason_whatever_they_say_now(
    database: Database, files: DataFolder, embedder: Embedder, where: int
) -> None:
    shas = _blobs(files, range(2))
    rotten = bytearray(picture(0))
    rotten[where] ^= 0x10
    files.write(blob_name(shas[0]), bytes(rotten))
    _show(database, "atelier", shas)
    report = _embed(database, files, embedder)
    assert (report.embedded, report.failed) == (1, {"damaged": 1})
    assert list(_recorded(database)) == shas[1:]


def test_parts_are_written_as_time_goes_by(
    database: Database, files: DataFolder, embedder: Embedder
) -> None:
    shas = _blobs(files, range(9))
    _show(database, "atelier", shas)
    with hold_store(database, "atelier", "run") as lease:
        report = embed_images(lease, files, embedder, Scope(lease.store_id), seconds_per_part=0.0)
    assert (report.embedded, report.parts) == (9, 3)
    recorded = _recorded(database)
    assert len({part for part, _ in recorded.values()}) == 3
    assert all(
        read_vectors(files, part, [row])[0] == [sha] for sha, (part, row) in recorded.items()
    )


def test_what_a_run_that_died_left_is_done_by_the_next(
    database: Database,
    files: DataFolder,
    embedder: Embedder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shas = _blobs(files, range(9))
    _show(database, "atelier", shas)
    writes = 0
    genuine = StoreLease.write

    @contextmanager
    def dies_at_the_second_part(lease: StoreLease) -> Iterator[Connection]:
        nonlocal writes
        writes += 1
        if writes == 2:
            raise KeyboardInterrupt
        with genuine(lease) as connection:
            yield connection

    monkeypatch.setattr(StoreLease, "write", dies_at_the_second_part)
    with hold_store(database, "atelier", "run") as lease, pytest.raises(KeyboardInterrupt):
        embed_images(lease, files, embedder, Scope(lease.store_id), seconds_per_part=0.0)
    assert len(_recorded(database)) == 4
    report = _embed(database, files, embedder)
    assert (report.embedded, report.reused) == (5, 4)
    assert sorted(_recorded(database)) == sorted(shas)


def test_pages_of_owed_images_lose_none(
    database: Database, files: DataFolder, embedder: Embedder
) -> None:
    from catalog_pipeline.embeddings.owed import owed_images

    shas = _blobs(files, range(7))
    _show(database, "atelier", shas)
    version = embedder.spec.model_version
    for page in (1, 2, 7, 100):
        assert list(owed_images(database, Scope("atelier"), version, page)) == sorted(shas)


def test_nothing_owed_imports_no_torch(
    tmp_path: Path, checkpoint: Path, database: Database, files: DataFolder, embedder: Embedder
) -> None:
    _show(database, "atelier", _blobs(files, range(2)))
    _embed(database, files, embedder)
    code = (
        "import sys\n"
        "from catalog_pipeline.catalog.database import Database\n"
        "from catalog_pipeline.catalog.lease import hold_store\n"
        "from catalog_pipeline.catalog.wanted import Scope\n"
        "from catalog_pipeline.embeddings.encode import Embedder\n"
        "from catalog_pipeline.embeddings.sync import embed_images\n"
        "from catalog_pipeline.files import DataFolder\n"
        "url, data, model = sys.argv[1:]\n"
        "with hold_store(Database(url), 'atelier', 'another') as lease:\n"
        "    files, embedder = DataFolder(data), Embedder(model)\n"
        "    report = embed_images(lease, files, embedder, Scope('atelier'))\n"
        "print(report.embedded, report.reused, {'torch', 'open_clip'} & set(sys.modules))\n"
    )
    url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    done = subprocess.run(
        [sys.executable, "-c", code, url, str(tmp_path / "data"), f"local-dir:{checkpoint}"],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "2", "set()"]
