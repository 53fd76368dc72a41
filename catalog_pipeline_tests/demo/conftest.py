"""Sample stores for the tests of this folder, with small pictures so that drawing takes no time."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from catalog_pipeline.demo import SampleStores, WooStore

API = "/wp-json/wc/v3"


@pytest.fixture
def samples() -> Iterator[SampleStores]:
    """Both stores with 200 products each, fresh for every test."""
    with SampleStores(picture_size=64) as stores:
        yield stores


@pytest.fixture
def store(samples: SampleStores) -> WooStore:
    """The first of the two stores."""
    return samples.stores["atelier"]


@pytest.fixture
def client(samples: SampleStores, store: WooStore) -> Iterator[httpx.Client]:
    """A client that may read, with the store's root as its base address."""
    auth = (samples.key, samples.secret)
    with httpx.Client(base_url=store.url, auth=auth, trust_env=False, timeout=10) as client:
        yield client


@pytest.fixture
def writer(samples: SampleStores, store: WooStore) -> Iterator[httpx.Client]:
    """A client that may also write."""
    auth = (samples.write_key.key, samples.write_key.secret)
    with httpx.Client(base_url=store.url, auth=auth, trust_env=False, timeout=10) as client:
        yield client
