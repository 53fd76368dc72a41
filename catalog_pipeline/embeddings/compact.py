"""Small parts of vectors made into large ones, so that a model's folder stays a few files.

The new part is written first, then the rows point into it in one transaction; until then, and for
whoever read the rows before, the old parts stand. Removing them is `prune.py`'s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import bindparam, func, select, update

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import embeddings
from catalog_pipeline.embeddings.parts import MAX_VECTORS, read_vectors, write_part
from catalog_pipeline.files import DataFolder

# A part with fewer rows in use is small; fewer small parts than this are left alone.
SMALL = MAX_VECTORS // 2
FEWEST = 4


@dataclass(frozen=True)
class CompactReport:
    """Parts that are no longer in use, parts written in their stead, and their vectors."""

    merged: int
    written: int
    vectors: int


def compact_parts(
    database: Database, files: DataFolder, *, small: int = SMALL, fewest: int = FEWEST
) -> CompactReport:
    """Merge the small parts of each model.

    Args:
        database: the catalogue.
        files: the data folder.
        small: parts with fewer rows in use than this are merged.
        fewest: small parts of a model below which nothing is done.

    Raises:
        MissingPartError: a part's file is gone.
        PartError: a part is damaged; its rows were not touched.
        ServiceUnavailableError: the database was lost.
    """
    merged = written = vectors = 0
    for model_version, parts in _small_parts(database, small).items():
        if len(parts) < fewest:
            continue
        for group in _groups(parts):
            moved = _merge(database, files, model_version, group)
            merged += len(group)
            written += 1
            vectors += moved
    return CompactReport(merged, written, vectors)


def _small_parts(database: Database, small: int) -> dict[str, list[tuple[str, int]]]:
    used = func.count().label("used")
    statement = (
        select(embeddings.c.model_version, embeddings.c.part, used)
        .group_by(embeddings.c.model_version, embeddings.c.part)
        .having(used < small)
        .order_by(embeddings.c.model_version, embeddings.c.part)
    )
    found: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    with database.read() as connection:
        for model_version, part, rows in connection.execute(statement):
            found[model_version].append((part, rows))
    return found


def _groups(parts: Sequence[tuple[str, int]]) -> Iterator[list[str]]:
    """Parts that fit into one together, two or more."""
    group: list[str] = []
    total = 0
    for part, rows in parts:
        if total + rows > MAX_VECTORS:
            if len(group) > 1:
                yield group
            group, total = [], 0
        group.append(part)
        total += rows
    if len(group) > 1:
        yield group


def _merge(database: Database, files: DataFolder, model_version: str, group: list[str]) -> int:
    shas: list[str] = []
    arrays: list[Any] = []
    origins: list[str] = []
    for part in group:
        with database.read() as connection:
            used = connection.execute(
                select(embeddings.c.image_sha256, embeddings.c.row)
                .where(embeddings.c.part == part, embeddings.c.model_version == model_version)
                .order_by(embeddings.c.row)
            ).all()
        found, values = read_vectors(files, part, [row for _, row in used])
        shas += found
        arrays.append(values)
        origins += [part] * len(found)
    if not shas:
        return 0
    target = write_part(files, model_version, shas, np.concatenate(arrays))
    # Only rows that still stand where they were read: an image embedded again has a newer vector.
    move = (
        update(embeddings)
        .where(
            embeddings.c.image_sha256 == bindparam("sha"),
            embeddings.c.model_version == model_version,
            embeddings.c.part == bindparam("origin"),
        )
        .values(part=target, row=bindparam("position"))
    )
    # In the order of keys, so that two that write the same rows cannot deadlock.
    rows = sorted(
        (
            {"sha": sha, "origin": origin, "position": position}
            for position, (sha, origin) in enumerate(zip(shas, origins, strict=True))
        ),
        key=lambda row: str(row["sha"]),
    )
    with database.write() as connection:
        connection.execute(move, rows)
    return len(shas)
