"""The network under a store's client: its connections, and why one could not be had.

What is sent over them, and whether to try again, belongs to the client.
"""

from __future__ import annotations

import socket
import ssl

import httpx

from catalog_pipeline.network.pool import guarded_pool, port_of
from catalog_pipeline.network.resolver import UnknownHostError
from catalog_pipeline.network.transport import PoolTransport
from catalog_pipeline.products.answers import Trouble
from catalog_pipeline.stores import StoreConfig

# A page of 100 full products took 0.5 s on a fast server; shared hosts take tens of seconds.
_CONNECT_SECONDS = 10.0
_READ_SECONDS = 60.0


def store_client(
    store: StoreConfig, credentials: str, transport: httpx.BaseTransport | None, seconds: float
) -> httpx.Client:
    """A client that shows the store its keys and follows nobody with them.

    Args:
        store: address, headers and User-Agent.
        credentials: key and secret as Basic authentication has them.
        transport: the network; by default the guarded one.
        seconds: that one request may take.

    Raises:
        ConfigurationError: the store's `ca_file` cannot be read.
    """
    headers = httpx.Headers({"Accept": "application/json"})
    headers.update(store.headers)
    headers["User-Agent"] = store.sent_user_agent
    headers["Accept-Encoding"] = "gzip, deflate"
    headers["Authorization"] = f"Basic {credentials}"
    return httpx.Client(
        transport=transport or store_transport(store),
        headers=headers,
        timeout=httpx.Timeout(
            min(_READ_SECONDS, seconds / 2), connect=min(_CONNECT_SECONDS, seconds / 2), pool=None
        ),
        follow_redirects=False,
        trust_env=False,
    )


def store_transport(store: StoreConfig) -> httpx.BaseTransport:
    """Guarded connections to the port of the store's own address, wherever its name leads.

    Raises:
        ConfigurationError: the store's `ca_file` cannot be read.
    """
    return PoolTransport(guarded_pool(store, [port_of(httpx.URL(store.url))]))


def diagnose(error: BaseException) -> tuple[Trouble, str]:
    """What broke, by the error at the root of it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (UnknownHostError, socket.gaierror, UnicodeError)):
            return Trouble.DNS, "this host name is not known"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Trouble.TLS, f"the certificate is not valid ({cause})"
        if isinstance(cause, ConnectionRefusedError):
            return Trouble.CONNECTION_REFUSED, "nothing answers there (connection refused)"
        cause = cause.__cause__ or cause.__context__
    return Trouble.BROKEN, f"the connection broke ({type(error).__name__}: {error})"
