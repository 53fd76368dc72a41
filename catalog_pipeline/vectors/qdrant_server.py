"""A Qdrant server or cloud cluster, through qdrant-client.

Collections carry their owner and model in Qdrant's collection metadata (server 1.16 or newer),
which is no point and so disturbs no count. Every write waits until it is applied. Nothing is
retried here: an asset retries what `ServiceUnavailableError` stands for.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import UUID

import grpc
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from catalog_pipeline.errors import PermanentError
from catalog_pipeline.vectors.index import (
    INDEXED_FIELDS,
    TENANT_FIELD,
    CollectionInfo,
    CollectionMismatchError,
    CollectionMissingError,
    CollectionSpec,
    Points,
    check_collection,
)
from catalog_pipeline.vectors.server_errors import Server
from catalog_pipeline.vectors.server_points import ServerPoints

TIMEOUT_SECONDS = 60
_REST_PORT = 6333
_GRPC_PORT = 6334
_OWNER = "deployment_id"
_MODEL = "model_version"


def connect(url: str, api_key: str | None, *, timeout: int = TIMEOUT_SECONDS) -> QdrantClient:
    """A client for a server; nothing is sent yet.

    gRPC is spoken on port 6334 beside Qdrant's own HTTP port 6333. Behind any other port stands a
    proxy or a mapping whose gRPC port cannot be known, so HTTP is spoken there.

    Args:
        url: http:// or https://; 6333 when it names no port.
        api_key: the key, or None.
        timeout: seconds for one request.
    """
    port = urlsplit(url).port or _REST_PORT
    return QdrantClient(
        url=url,
        port=port,
        grpc_port=_GRPC_PORT,
        prefer_grpc=port == _REST_PORT,
        api_key=api_key,
        timeout=timeout,
        # Would connect at once, and warn where we raise.
        check_compatibility=False,
    )


class ServerIndex:
    """Collections of a Qdrant server; the client is the caller's to close."""

    def __init__(self, client: QdrantClient, *, name: str = "Qdrant") -> None:
        """Use a ready client.

        Args:
            client: for a server, or the client's own local mode.
            name: what messages call the server; never a URL with credentials.
        """
        self._client = client
        self._server = Server(name)

    def __repr__(self) -> str:
        return f"ServerIndex({self._server.name})"

    def ensure(self, spec: CollectionSpec, alias: str) -> None:
        """See `VectorIndex.ensure`.

        Raises:
            PermanentError: also when the collection's status is red.
        """
        found = self.info(spec.name)
        if found is None:
            self._create(spec)
            found = self._info(spec.name)
            if found.owner is None:
                raise PermanentError(
                    f"{self._server.name} does not keep collection metadata, so it cannot say who "
                    "owns a collection; use Qdrant 1.16 or newer"
                )
        check_collection(found, spec)
        if found.status == "red":
            raise PermanentError(
                f"collection {spec.name} at {self._server.name} is red: {found.problem}; mend the "
                "server (often a full disk) and sync again"
            )
        with self._server.errors():
            self._index_payload(spec.name)
            if self.resolve(alias) is None:
                self._client.update_collection_aliases(
                    [
                        models.CreateAliasOperation(
                            create_alias=models.CreateAlias(
                                collection_name=spec.name, alias_name=alias
                            )
                        )
                    ]
                )

    def adopt(self, collection: str, deployment_id: UUID) -> None:
        """See `VectorIndex.adopt`."""
        self._require(collection)
        with self._server.errors():
            # Merged into the metadata that is there.
            self._client.update_collection(collection, metadata={_OWNER: str(deployment_id)})

    def resolve(self, alias: str) -> str | None:
        """See `VectorIndex.resolve`."""
        with self._server.errors():
            aliases = self._client.get_aliases().aliases
        return next((a.collection_name for a in aliases if a.alias_name == alias), None)

    def info(self, collection: str) -> CollectionInfo | None:
        """See `VectorIndex.info`."""
        with self._server.errors():
            if not self._client.collection_exists(collection):
                return None
        return self._info(collection)

    @contextmanager
    def session(self, collection: str) -> Iterator[Points]:
        """See `VectorIndex.session`; a server needs no opening, so this only checks."""
        dimensions = self._require(collection).dimensions
        yield ServerPoints(self._client, collection, dimensions, self._server)

    def _require(self, collection: str) -> CollectionInfo:
        found = self.info(collection)
        if found is None:
            raise CollectionMissingError(
                f"there is no collection {collection} at {self._server.name}"
            )
        return found

    def _info(self, collection: str) -> CollectionInfo:
        with self._server.errors():
            found = self._client.get_collection(collection)
        vectors = found.config.params.vectors
        if not isinstance(vectors, models.VectorParams):
            raise CollectionMismatchError(
                f"collection {collection} at {self._server.name} has named vectors; this project "
                "fills collections with one unnamed vector: set CATALOG_COLLECTION to another name"
            )
        metadata = found.config.metadata or {}
        healthy = found.optimizer_status == models.OptimizersStatusOneOf.OK
        return CollectionInfo(
            name=collection,
            status=cast("Any", found.status.value),
            dimensions=vectors.size,
            distance=vectors.distance.value,
            owner=_uuid(metadata.get(_OWNER)),
            model_version=metadata.get(_MODEL),
            problem=None if healthy else str(found.optimizer_status),
        )

    def _create(self, spec: CollectionSpec) -> None:
        with self._server.errors():
            try:
                self._client.create_collection(
                    spec.name,
                    vectors_config=models.VectorParams(
                        size=spec.dimensions, distance=models.Distance.COSINE
                    ),
                    on_disk_payload=True,
                    metadata={_OWNER: str(spec.deployment_id), _MODEL: spec.model_version},
                )
            except (UnexpectedResponse, grpc.RpcError, ValueError):
                # Another store's run was first; what it made is checked as any other.
                if not self._client.collection_exists(spec.name):
                    raise

    def _index_payload(self, collection: str) -> None:
        present = self._client.get_collection(collection).payload_schema
        for field, kind in INDEXED_FIELDS.items():
            if field in present:
                continue
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", message="Payload indexes have no effect in the local Qdrant"
                )
                self._client.create_payload_index(
                    collection, field, field_schema=_schema(field, kind), wait=True
                )


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(str(value))
    except ValueError:
        return None


def _schema(field: str, kind: str) -> Any:
    if field == TENANT_FIELD:
        return models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
    return {
        "keyword": models.PayloadSchemaType.KEYWORD,
        "float": models.PayloadSchemaType.FLOAT,
        "bool": models.PayloadSchemaType.BOOL,
    }[kind]
