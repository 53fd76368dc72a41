"""The embedding stage: every accepted image of a store gets a vector by the current model.

An image is embedded once, whatever stores show it. A part is written before the rows that point
into it, so a run that dies loses at most the vectors since its last part.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice

import numpy as np
from sqlalchemy import Connection

from catalog_pipeline.catalog.bulk import insert_missing, upsert
from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.queries import count_accepted
from catalog_pipeline.catalog.schema import embeddings, models
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.embeddings.encode import (
    DAMAGED,
    MISSING,
    Content,
    Embedder,
    EncodedBatch,
    Vectors,
)
from catalog_pipeline.embeddings.model import ModelSpec
from catalog_pipeline.embeddings.owed import count_owed, owed_images
from catalog_pipeline.embeddings.parts import MAX_VECTORS, write_part
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.blobs import read_blob
from catalog_pipeline.images.records import forget_fetches

# A laptop embeds four images a second: two minutes are as much as a crash should cost.
_SECONDS_PER_PART = 120.0

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class EmbeddingsReport:
    """What one run of the stage did.

    Attributes:
        model_version: the model's.
        dimensions: length of its vectors.
        embedded: images that got a vector now.
        reused: images of the store that had one, and kept it.
        left: images that are owed one beyond the run's limit.
        failed: images that have none, by reason; they stay owed, and those whose bytes are missing
            or damaged are fetched anew before.
        parts: files written.
        device: where the model ran, in words; None if nothing was owed.
        precision: what it computed in; None if nothing was owed.
        batch_size: images in a batch; None if nothing was owed.
        seconds: of the whole stage.
        load_seconds: of loading the model, part of `seconds`.
        images_per_second: embedded images over the seconds after loading; 0 if nothing was owed.
    """

    model_version: str
    dimensions: int
    embedded: int
    reused: int
    left: int
    failed: dict[str, int]
    parts: int
    device: str | None
    precision: str | None
    batch_size: int | None
    seconds: float
    load_seconds: float
    images_per_second: float


def embed_images(
    lease: StoreLease,
    files: DataFolder,
    embedder: Embedder,
    scope: Scope,
    *,
    limit: int | None = None,
    reembed: bool = False,
    progress: Progress | None = None,
    seconds_per_part: float = _SECONDS_PER_PART,
) -> EmbeddingsReport:
    """Embed every accepted image of the lease's store that has no vector by the embedder's model.

    Args:
        lease: the right to write the store.
        files: the data folder, with the images' bytes and the parts.
        embedder: loads its model only if something is owed.
        scope: the lease's store, or one product of it, and the pictures that are wanted.
        limit: embed no more than this many; the rest stays owed.
        reembed: embed what has a vector too, and record the new one.
        progress: called with images done and images owed after each batch.
        seconds_per_part: a part is written at the latest after this long.

    Raises:
        CheckpointError: the model cannot be found or loaded.
        ConfigurationError: its name or its device is wrong.
        LeaseLostError: another writer took the store over.
        ServiceUnavailableError: the database was lost.
    """
    if scope.store_id != lease.store_id:
        raise ValueError(f"the lease is on store {lease.store_id}, not on {scope.store_id}")
    started = time.monotonic()
    spec = embedder.spec
    known_as = None if reembed else spec.model_version
    with lease.database.read() as connection:
        all_owed = count_owed(connection, scope, known_as)
        reused = _count_reused(connection, scope, spec.model_version, all_owed, reembed=reembed)
    owed = all_owed if limit is None else min(all_owed, limit)
    writer = _PartWriter(lease, files, spec, seconds_per_part, replaces=reembed)
    failed: Counter[str] = Counter()
    loaded_at = started
    if owed:
        embedder.load()
        loaded_at = time.monotonic()
        done = 0
        contents = islice(_contents(lease, files, scope, known_as), owed)
        for batch in embedder.encode(contents):
            writer.add(batch)
            failed.update(batch.refused.values())
            lost = [sha for sha, why in batch.refused.items() if why in (MISSING, DAMAGED)]
            if lost:
                with lease.write() as connection:
                    forget_fetches(connection, lease.store_id, lost)
            done += len(batch.keys) + len(batch.refused)
            if progress is not None:
                progress(done, owed)
        writer.flush()
    ended = time.monotonic()
    model = embedder.loaded if owed else None
    return EmbeddingsReport(
        model_version=spec.model_version,
        dimensions=spec.dimensions,
        embedded=writer.embedded,
        reused=reused,
        left=all_owed - owed,
        failed=dict(failed),
        parts=writer.parts,
        device=model.device_name if model else None,
        precision=model.precision if model else None,
        batch_size=model.batch_size if model else None,
        seconds=ended - started,
        load_seconds=loaded_at - started if owed else 0.0,
        images_per_second=writer.embedded / max(ended - loaded_at, 1e-9) if owed else 0.0,
    )


def _count_reused(
    connection: Connection, scope: Scope, model_version: str, owed: int, *, reembed: bool
) -> int:
    """How many images of the store have a vector that this run leaves as it is."""
    if scope.products is None:
        return count_accepted(connection, scope) - owed
    # What is owed of some products says nothing of the others.
    whole = replace(scope, products=None)
    found = count_accepted(connection, whole) - count_owed(connection, whole, model_version)
    if reembed:
        again = count_owed(connection, scope, model_version)
        found -= count_accepted(connection, scope) - again
    return found


def _contents(
    lease: StoreLease, files: DataFolder, scope: Scope, known_as: str | None
) -> Iterator[tuple[str, Content]]:
    for sha in owed_images(lease.database, scope, known_as):
        yield sha, partial(read_blob, files, sha)


@dataclass
class _PartWriter:
    """Gathers vectors and writes them as parts, each with its rows recorded right after."""

    lease: StoreLease
    files: DataFolder
    spec: ModelSpec
    seconds_per_part: float
    replaces: bool
    embedded: int = 0
    parts: int = 0
    _shas: list[str] = field(default_factory=list)
    _vectors: list[Vectors] = field(default_factory=list)
    _since: float = field(default_factory=time.monotonic)

    def add(self, batch: EncodedBatch) -> None:
        for start in range(0, len(batch.keys), MAX_VECTORS):
            keys = batch.keys[start : start + MAX_VECTORS]
            if len(self._shas) + len(keys) > MAX_VECTORS:
                self.flush()
            self._shas += keys
            self._vectors.append(batch.vectors[start : start + MAX_VECTORS])
        if time.monotonic() - self._since >= self.seconds_per_part:
            self.flush()

    def flush(self) -> None:
        self._since = time.monotonic()
        if not self._shas:
            return
        vectors = np.concatenate(self._vectors)
        part = write_part(self.files, self.spec.model_version, self._shas, vectors)
        rows = [
            {
                "image_sha256": sha,
                "model_version": self.spec.model_version,
                "part": part,
                "row": row,
                "vector_digest": hashlib.blake2b(vectors[row].tobytes(), digest_size=8).hexdigest(),
            }
            for row, sha in enumerate(self._shas)
        ]
        with self.lease.write() as connection:
            insert_missing(connection, models, [self._model_row()])
            (upsert if self.replaces else insert_missing)(connection, embeddings, rows)
        self.embedded += len(self._shas)
        self.parts += 1
        self._shas, self._vectors = [], []

    def _model_row(self) -> dict[str, object]:
        return {
            "model_version": self.spec.model_version,
            "name": self.spec.name,
            "checkpoint_hash": self.spec.checkpoint_hash,
            "preprocessing_hash": self.spec.preprocessing_hash,
            "dimensions": self.spec.dimensions,
            "created_at": datetime.now(UTC),
        }
