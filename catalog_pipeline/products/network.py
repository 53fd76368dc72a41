"""The network under a store's client: the connections themselves, and why one could not be had.

What is sent over them, and whether to try again, belongs to the client.
"""

from __future__ import annotations

import socket
import ssl

import httpx

from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.products.answers import Trouble
from catalog_pipeline.stores import StoreConfig


def plain_transport(store: StoreConfig) -> httpx.HTTPTransport:
    """The network as it is, trusting the usual authorities and the store's own `ca_file`.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    context = httpx.create_ssl_context(trust_env=False)
    if store.ca_file is not None:
        try:
            context.load_verify_locations(cafile=store.ca_file)
        except OSError as error:
            raise ConfigurationError(
                f"store {store.id}: ca_file {store.ca_file} cannot be used as certificates: {error}"
            ) from error
    limits = httpx.Limits(
        max_connections=store.connections, max_keepalive_connections=store.connections
    )
    return httpx.HTTPTransport(verify=context, limits=limits, trust_env=False)


def diagnose(error: BaseException) -> tuple[Trouble, str]:
    """What broke, by the error at the root of it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (socket.gaierror, UnicodeError)):
            return Trouble.DNS, "this host name is not known"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Trouble.TLS, f"the certificate is not valid ({cause})"
        if isinstance(cause, ConnectionRefusedError):
            return Trouble.CONNECTION_REFUSED, "nothing answers there (connection refused)"
        cause = cause.__cause__ or cause.__context__
    return Trouble.BROKEN, f"the connection broke ({type(error).__name__}: {error})"
