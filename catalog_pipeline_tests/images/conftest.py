"""A store on loopback that the tests of this folder ask for pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from catalog_pipeline.stores import StoreConfig

MakeStore = Callable[..., StoreConfig]


@pytest.fixture
def make_store(httpserver: HTTPServer) -> MakeStore:
    """Configure a store whose site is the test's own server."""

    def make(**keys: Any) -> StoreConfig:
        values: dict[str, Any] = {
            "id": "atelier",
            "url": httpserver.url_for("").rstrip("/"),
            "consumer_key": {"env": "ATELIER_KEY"},
            "consumer_secret": {"env": "ATELIER_SECRET"},
            "allow_private_addresses": True,
            "connections": 4,
        }
        return StoreConfig.model_validate(values | keys)

    return make
