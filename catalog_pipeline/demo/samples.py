"""Sample stores up and running: the handle that the demo, tests and benchmarks start them by."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from catalog_pipeline.demo.catalogue import CATALOGUE_VERSION, Catalogue
from catalog_pipeline.demo.clock import SampleClock
from catalog_pipeline.demo.keys import ApiKey, Keyring
from catalog_pipeline.demo.pictures import DEFAULT_SIZE
from catalog_pipeline.demo.profiles import DEFAULT_PROFILES, StoreProfile
from catalog_pipeline.demo.rest import WooSite
from catalog_pipeline.demo.server import HOST, IDENTITY_PATH, SampleServer
from catalog_pipeline.demo.store import WooStore
from catalog_pipeline.demo.uploads import PictureCache

APPLICATION: Final = "catalog_pipeline sample stores"
DEFAULT_SEED: Final = 2024


class SampleStores:
    """Stores behind one HTTP server on loopback; use it as a context manager.

    Args:
        seed: decides every product and picture.
        products_per_store: generated products in each store; `WooStore.add` adds more.
        port: 0 lets the system choose; picture URLs are stable for a given port.
        picture_size: side of the drawn pictures in pixels.
        profiles: which stores there are.
        cache_bytes: how many bytes of drawn pictures are kept.

    Raises:
        OSError: on entering, when the port is taken.

    `key` and `secret` may read; `write_key` may also write (`write_key.key`, `write_key.secret`);
    `limited_key` belongs to a customer, who may see nothing. All stores know all three.
    """

    def __init__(
        self,
        *,
        seed: int = DEFAULT_SEED,
        products_per_store: int = 200,
        port: int = 0,
        picture_size: int = DEFAULT_SIZE,
        profiles: Sequence[StoreProfile] = DEFAULT_PROFILES,
        cache_bytes: int = 16 * 2**20,
    ) -> None:
        self.seed = seed
        self.products_per_store = products_per_store
        self.picture_size = picture_size
        self.clock = SampleClock()
        self.read_key = ApiKey.named("read")
        self.write_key = ApiKey.named("write", "read_write")
        self.limited_key = ApiKey.named("limited", role="customer")
        self._port = port
        self._profiles = tuple(profiles)
        self._cache = PictureCache(cache_bytes)
        self._server: SampleServer | None = None
        self._thread: threading.Thread | None = None
        self.stores: dict[str, WooStore] = {}
        for profile in self._profiles:
            catalogue = Catalogue(profile, seed, products_per_store, picture_size)
            keyring = Keyring(self.read_key, self.write_key, self.limited_key)
            self.stores[profile.id] = WooStore(catalogue, self.clock, keyring)

    @property
    def key(self) -> str:
        """The consumer key of a user who may read."""
        return self.read_key.key

    @property
    def secret(self) -> str:
        """The consumer secret that belongs to `key`."""
        return self.read_key.secret

    @property
    def port(self) -> int:
        """The port that is listened on.

        Raises:
            RuntimeError: the stores are not open.
        """
        if self._server is None:
            raise RuntimeError("the sample stores are not open; enter them with `with` first")
        return self._server.port

    @property
    def base_url(self) -> str:
        """The address before `/<store id>`."""
        return f"http://{HOST}:{self.port}"

    @property
    def fingerprint(self) -> str:
        """Differs when the catalogue, its pictures or this program's own text differ."""
        return fingerprint(self.seed, self.products_per_store, self.picture_size, self._profiles)

    def identity(self) -> dict[str, object]:
        """What `/__demo__` answers: who this is, and what was asked of each store so far."""
        return {
            "application": APPLICATION,
            "fingerprint": self.fingerprint,
            "stores": {
                store_id: {
                    "url": store.url,
                    "products": len(store.product_ids()),
                    "requests": store.traffic.totals(),
                }
                for store_id, store in self.stores.items()
            },
        }

    def draw_pictures(self) -> None:
        """Draw every product's pictures now, so that serving them later costs nothing.

        `cache_bytes` must hold them all (about 100 kB each at 800 pixels), or they are drawn again.
        """
        for store in self.stores.values():
            for product_id in store.product_ids():
                for image in store.spec(product_id).images:
                    content = image.media.content()
                    if content is not None:
                        self._cache.put(image.media.fingerprint, content)

    def open(self) -> Self:
        """Start serving."""
        server = SampleServer(self._port, self.clock, self.identity)
        self._server = server
        for store_id, store in self.stores.items():
            store.open_at(f"http://{HOST}:{server.port}/{store_id}")
            server.sites[store_id] = WooSite(store, self._cache)
        self._thread = threading.Thread(
            target=server.serve_forever, args=(0.02,), name="sample-stores", daemon=True
        )
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop serving; harmless when not open."""
        if self._server is not None and self._thread is not None:
            self._server.close()
            self._thread.join()
        self._server = self._thread = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def fingerprint(
    seed: int = DEFAULT_SEED,
    products_per_store: int = 200,
    picture_size: int = DEFAULT_SIZE,
    profiles: Sequence[StoreProfile] = DEFAULT_PROFILES,
) -> str:
    """What `SampleStores` with these arguments calls itself."""
    told = (_source_digest(), CATALOGUE_VERSION, seed, products_per_store, picture_size, profiles)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def _source_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def running_at(port: int, *, timeout: float = 2.0) -> Mapping[str, object] | None:
    """The identity of the sample stores that listen on this port, or None where there are none.

    Compare its `fingerprint` with `fingerprint()` before using them instead of starting others.
    """
    address = f"http://{HOST}:{port}/{IDENTITY_PATH}"
    try:
        with httpx.Client(trust_env=False, timeout=timeout) as client:
            identity = client.get(address).json()
    except (httpx.HTTPError, ValueError):
        return None
    if not isinstance(identity, dict) or identity.get("application") != APPLICATION:
        return None
    return identity
