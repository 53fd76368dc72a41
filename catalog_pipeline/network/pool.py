"""The pool of connections to one store and to whatever its URLs lead to, guarded.

Whoever speaks to a store, for products or for pictures, does it over such a pool. No proxy is taken
from the environment: a guard that judges a proxy's address judges nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from functools import cache

import httpcore
import httpx

from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.network.deadlines import DeadlineBackend
from catalog_pipeline.network.guard import GuardedBackend
from catalog_pipeline.stores import StoreConfig

KEEP_ALIVE_SECONDS = 30.0


def guarded_pool(store: StoreConfig, ports: Iterable[int]) -> httpcore.ConnectionPool:
    """As many connections as the store allows, to these ports; heeds `deadline` blocks.

    Trusts the usual authorities and the store's own `ca_file`.

    Raises:
        ConfigurationError: the file cannot be read or holds no certificate.
    """
    return httpcore.ConnectionPool(
        ssl_context=_authorities(store),
        max_connections=store.connections,
        max_keepalive_connections=store.connections,
        keepalive_expiry=KEEP_ALIVE_SECONDS,
        network_backend=DeadlineBackend(
            GuardedBackend(ports, allow_private=store.allow_private_addresses)
        ),
    )


def _authorities(store: StoreConfig) -> ssl.SSLContext:
    if store.ca_file is None:
        return _usual_authorities()
    context = httpx.create_ssl_context(trust_env=False)
    try:
        context.load_verify_locations(cafile=store.ca_file)
    except OSError as error:
        raise ConfigurationError(
            f"store {store.id}: ca_file {store.ca_file} cannot be used as certificates: {error}"
        ) from error
    return context


@cache
def _usual_authorities() -> ssl.SSLContext:
    # Reading them takes tens of milliseconds, too long for every probe of every store.
    return httpx.create_ssl_context(trust_env=False)


def port_of(url: httpx.URL) -> int:
    """The port that a URL's server listens on."""
    return url.port or (443 if url.scheme == "https" else 80)
