"""The canary, and a world outside that leads to no one."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from catalog_pipeline_tests.network.internet import Canary, Internet


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    """One listener for a module; no test of it may ever be seen."""
    found = Canary()
    yield found
    found.close()


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Internet:
    """Plugged in for the time of a test."""
    found = Internet()
    monkeypatch.setattr(socket, "getaddrinfo", found.getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", found.create_connection)
    return found
