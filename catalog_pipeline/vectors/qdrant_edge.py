"""Qdrant Edge: the Qdrant engine in this process, one folder for each collection.

A collection's folder holds the shard, a description (size, model, owner) that the engine has no
place for, and the lock. Its write-ahead log is always on: without it the engine takes no lock of
its own and a killed process loses what it wrote.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import qdrant_edge as edge

from catalog_pipeline.errors import PermanentError
from catalog_pipeline.vectors.edge_points import EdgePoints, refusals
from catalog_pipeline.vectors.index import (
    INDEXED_FIELDS,
    TENANT_FIELD,
    CollectionInfo,
    CollectionMissingError,
    CollectionSpec,
    Points,
    check_collection,
)
from catalog_pipeline.vectors.lock import hold

LOCK_WAIT_SECONDS = 120.0
_SHARD = "shard"
_DESCRIPTION = "collection.json"
_ALIASES = "aliases"
_DISTANCE = "Cosine"


class EdgeIndex:
    """Collections in a local folder; nothing is held open between sessions."""

    def __init__(
        self, folder: Path, *, run: str = "command line", wait_seconds: float = LOCK_WAIT_SECONDS
    ) -> None:
        """Prepare an index; nothing is touched before it is used.

        Args:
            folder: on a local disk; made on demand.
            run: the name that the lock shows to others.
            wait_seconds: how long to wait for another process.
        """
        self._folder = folder
        self._run = run
        self._wait_seconds = wait_seconds

    def __repr__(self) -> str:
        return f"EdgeIndex({self._folder})"

    def ensure(self, spec: CollectionSpec, alias: str) -> None:
        """See `VectorIndex.ensure`."""
        home = self._folder / spec.name
        home.mkdir(parents=True, exist_ok=True)
        if not (home / _SHARD).is_dir():
            with self._lock(spec.name):
                if not (home / _SHARD).is_dir():
                    self._create(home, spec)
        check_collection(_info(home), spec)
        self._create_alias(alias, spec.name)

    def adopt(self, collection: str, deployment_id: UUID) -> None:
        """See `VectorIndex.adopt`."""
        home = self._existing(collection)
        with self._lock(collection):
            description = _read_description(home)
            _write_description(home, {**description, "deployment_id": str(deployment_id)})

    def resolve(self, alias: str) -> str | None:
        """See `VectorIndex.resolve`."""
        try:
            return (self._folder / _ALIASES / alias).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None

    def info(self, collection: str) -> CollectionInfo | None:
        """See `VectorIndex.info`."""
        home = self._folder / collection
        if not (home / _SHARD).is_dir():
            return None
        return _info(home)

    @contextmanager
    def session(self, collection: str) -> Iterator[Points]:
        """See `VectorIndex.session`."""
        home = self._existing(collection)
        with self._lock(collection):
            dimensions = int(_read_description(home)["dimensions"])
            with _open_shard(home) as shard:
                yield EdgePoints(shard, dimensions)
                with refusals():
                    shard.flush()

    def optimize(self, collection: str) -> bool:
        """Merge segments and build the search graph; whether anything was done.

        Holds the lock and the interpreter for long (about a minute for 40,000 points on two
        cores), so it belongs in a process of its own and never in a sync.
        """
        home = self._existing(collection)
        with self._lock(collection), _open_shard(home) as shard, refusals():
            optimized = shard.optimize()
            shard.flush()
            return optimized

    def _existing(self, collection: str) -> Path:
        home = self._folder / collection
        if not (home / _SHARD).is_dir():
            raise CollectionMissingError(f"there is no collection {collection} in {self._folder}")
        return home

    def _lock(self, collection: str) -> Any:
        path = self._folder / collection / "lock"
        return hold(path, run=self._run, wait_seconds=self._wait_seconds)

    def _create(self, home: Path, spec: CollectionSpec) -> None:
        # Built aside and renamed: a process killed in between leaves no half a collection.
        for draft in home.glob(f".{_SHARD}.*"):
            shutil.rmtree(draft)
        draft = home / f".{_SHARD}.{uuid.uuid4().hex}"
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=spec.dimensions, distance=edge.Distance.Cosine),
            payload_memory=edge.Memory.Cold,
            wal_enabled=True,
        )
        with refusals():
            shard = edge.EdgeShard.create(str(draft), config)
            for field, kind in INDEXED_FIELDS.items():
                shard.update(edge.UpdateOperation.create_field_index(field, _schema(field, kind)))
            shard.flush()
            shard.close()
        _write_description(
            home,
            {
                "dimensions": spec.dimensions,
                "distance": _DISTANCE,
                "model_version": spec.model_version,
                "deployment_id": str(spec.deployment_id),
            },
        )
        draft.rename(home / _SHARD)

    def _create_alias(self, alias: str, collection: str) -> None:
        target = self._folder / _ALIASES / alias
        if target.exists():
            return
        target.parent.mkdir(exist_ok=True)
        draft = target.with_name(f".{alias}.{uuid.uuid4().hex}")
        _write_synced(draft, f"{collection}\n")
        try:
            os.link(draft, target)
        except FileExistsError:
            # Another process was first; the alias is its.
            return
        finally:
            draft.unlink()


@contextmanager
def _open_shard(home: Path) -> Iterator[edge.EdgeShard]:
    with refusals():
        shard = edge.EdgeShard.load(str(home / _SHARD))
    try:
        yield shard
    finally:
        shard.close()


def _info(home: Path) -> CollectionInfo:
    description = _read_description(home)
    return CollectionInfo(
        name=home.name,
        # A shard without a server has no optimizer that could fail behind our back.
        status="green",
        dimensions=int(description["dimensions"]),
        distance=str(description["distance"]),
        owner=UUID(description["deployment_id"]),
        model_version=description["model_version"],
    )


def _read_description(home: Path) -> dict[str, Any]:
    path = home / _DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        UUID(str(description["deployment_id"]))
        int(description["dimensions"])
        return {**description, "model_version": str(description["model_version"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PermanentError(
            f"{path} cannot be read ({type(error).__name__}), so the owner of this collection is "
            f"unknown; restore it, or remove the folder {home} to have it loaded anew"
        ) from error


def _write_description(home: Path, description: dict[str, Any]) -> None:
    draft = home / f".{_DESCRIPTION}.{uuid.uuid4().hex}"
    _write_synced(draft, json.dumps(description, indent=2) + "\n")
    draft.replace(home / _DESCRIPTION)


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def _schema(field: str, kind: str) -> Any:
    if field == TENANT_FIELD:
        return edge.KeywordIndexParams(is_tenant=True)
    return {
        "keyword": edge.PayloadSchemaType.Keyword,
        "float": edge.PayloadSchemaType.Float,
        "bool": edge.PayloadSchemaType.Bool,
    }[kind]
