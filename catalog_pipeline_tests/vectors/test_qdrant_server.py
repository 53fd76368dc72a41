"""What is the server client's alone: failures told apart, metadata, the key kept secret."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from qdrant_client import QdrantClient, models
from werkzeug import Request, Response

from catalog_pipeline.errors import CatalogError, PermanentError, ServiceUnavailableError
from catalog_pipeline.settings import load_settings
from catalog_pipeline.vectors.index import CollectionMismatchError, OwnershipError
from catalog_pipeline.vectors.open import open_index
from catalog_pipeline.vectors.qdrant_edge import EdgeIndex
from catalog_pipeline.vectors.qdrant_server import ServerIndex, connect
from catalog_pipeline_tests.vectors.engines import DIMENSIONS, new_spec

KEY = "canary-key-5f2a"


@pytest.fixture
def local() -> Iterator[QdrantClient]:
    client = QdrantClient(":memory:")
    yield client
    client.close()


def test_a_collection_of_unknown_owner_is_refused_until_adopted(local: QdrantClient) -> None:
    spec = new_spec()
    local.create_collection(
        spec.name,
        vectors_config=models.VectorParams(size=DIMENSIONS, distance=models.Distance.COSINE),
    )
    index = ServerIndex(local)
    with pytest.raises(OwnershipError, match="no deployment"):
        index.ensure(spec, "products")
    index.adopt(spec.name, spec.deployment_id)
    index.ensure(spec, "products")


@pytest.mark.parametrize(
    "vectors",
    [
        models.VectorParams(size=DIMENSIONS, distance=models.Distance.DOT),
        {"image": models.VectorParams(size=DIMENSIONS, distance=models.Distance.COSINE)},
    ],
    ids=["dot", "named"],
)
def test_collections_of_another_kind_are_refused(local: QdrantClient, vectors: Any) -> None:
    spec = new_spec()
    local.create_collection(spec.name, vectors_config=vectors)
    with pytest.raises(CollectionMismatchError, match="CATALOG_COLLECTION"):
        ServerIndex(local).ensure(spec, "products")


def test_metadata_disturbs_no_count(local: QdrantClient) -> None:
    spec = new_spec()
    index = ServerIndex(local)
    index.ensure(spec, "products")
    assert local.count(spec.name, exact=True).count == 0


def rest_index(server: HTTPServer) -> tuple[ServerIndex, QdrantClient]:
    with pytest.warns(UserWarning, match="insecure"):
        client = connect(server.url_for("/"), KEY, timeout=2)
    return ServerIndex(client, name="Qdrant at localhost"), client


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (401, PermanentError, "CATALOG_QDRANT_API_KEY"),
        (403, PermanentError, "CATALOG_QDRANT_API_KEY"),
        (400, PermanentError, "refused: HTTP 400: bad filter"),
        (408, ServiceUnavailableError, "HTTP 408"),
        (429, ServiceUnavailableError, "cannot be used now"),
        (500, ServiceUnavailableError, "HTTP 500"),
        (503, ServiceUnavailableError, "CATALOG_QDRANT_URL"),
    ],
)
def test_answers_are_told_apart_and_never_hold_the_key(
    httpserver: HTTPServer,
    caplog: pytest.LogCaptureFixture,
    status: int,
    kind: type[CatalogError],
    says: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str | None] = []

    def answer(request: Request) -> Response:
        seen.append(request.headers.get("api-key"))
        return Response(json.dumps({"status": {"error": "bad filter"}}), status=status)

    httpserver.expect_request("/collections/x/exists").respond_with_handler(answer)
    index, client = rest_index(httpserver)
    with pytest.raises(kind, match=says) as caught:
        index.info("x")
    client.close()
    assert seen[0] == KEY
    told = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(index)
    assert KEY not in told
    if status == 429 and kind is ServiceUnavailableError:
        assert not isinstance(caught.value, PermanentError)


def test_a_page_of_a_proxy_is_not_repeated(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/collections/x/exists").respond_with_data(
        f"<html>you sent {KEY}</html>", status=404
    )
    index, client = rest_index(httpserver)
    with pytest.raises(PermanentError, match="HTTP 404") as caught:
        index.info("x")
    client.close()
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("grpc", [True, False])
def test_a_server_that_is_not_there_is_unavailable(grpc: bool) -> None:
    client = QdrantClient(
        url="http://127.0.0.1:1",
        grpc_port=1,
        prefer_grpc=grpc,
        timeout=2,
        check_compatibility=False,
    )
    with pytest.raises(ServiceUnavailableError, match="cannot be used now"):
        ServerIndex(client).info("x")
    client.close()


def test_a_red_collection_is_an_error(local: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = new_spec()
    index = ServerIndex(local)
    index.ensure(spec, "products")
    info = local.get_collection(spec.name)
    info.status = models.CollectionStatus.RED
    info.optimizer_status = models.OptimizersStatusOneOf1(error="No space left on device")
    monkeypatch.setattr(local, "get_collection", lambda name: info)
    with pytest.raises(PermanentError, match=r"is red: .*No space left"):
        index.ensure(spec, "products")


@pytest.mark.parametrize("status", [models.CollectionStatus.YELLOW, models.CollectionStatus.GREY])
def test_an_optimizing_collection_is_normal(
    local: QdrantClient, monkeypatch: pytest.MonkeyPatch, status: models.CollectionStatus
) -> None:
    spec = new_spec()
    index = ServerIndex(local)
    index.ensure(spec, "products")
    info = local.get_collection(spec.name)
    info.status = status
    monkeypatch.setattr(local, "get_collection", lambda name: info)
    index.ensure(spec, "products")


def test_grpc_is_spoken_beside_the_usual_port_only() -> None:
    for url, expected in (
        ("http://127.0.0.1", True),
        ("http://127.0.0.1:6333", True),
        ("http://127.0.0.1:8080", False),
    ):
        client = connect(url, None)
        assert client._client._prefer_grpc is expected  # type: ignore[attr-defined]
        client.close()


def test_the_settings_choose_the_engine(tmp_path: Any) -> None:
    with open_index(load_settings({"CATALOG_DATA_DIR": str(tmp_path)}), run="r") as index:
        assert isinstance(index, EdgeIndex)
    settings = load_settings(
        {
            "CATALOG_QDRANT_URL": "https://qdrant.example.com:6333",
            "CATALOG_QDRANT_API_KEY": KEY,
        }
    )
    with open_index(settings) as index:
        assert isinstance(index, ServerIndex)
        assert repr(index) == "ServerIndex(Qdrant at qdrant.example.com)"
