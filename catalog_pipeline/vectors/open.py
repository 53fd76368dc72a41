"""The vector index that the settings name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from catalog_pipeline.settings import Settings
from catalog_pipeline.vectors.index import VectorIndex

# Enough for a server that is there; whoever asks must not wait for one that is not.
CHECK_SECONDS = 5


def check_index(settings: Settings) -> None:
    """Make sure that a Qdrant server, where one is set, answers; Qdrant Edge has none to ask.

    Raises:
        ServiceUnavailableError: it does not answer now.
        PermanentError: it refuses the key.
    """
    if settings.qdrant_url is None:
        return
    from catalog_pipeline.vectors.qdrant_server import ServerIndex, connect

    key = settings.qdrant_api_key
    client = connect(
        settings.qdrant_url, key.get_secret_value() if key else None, timeout=CHECK_SECONDS
    )
    try:
        name = f"Qdrant at {urlsplit(settings.qdrant_url).hostname}"
        ServerIndex(client, name=name).resolve(settings.collection)
    finally:
        client.close()


@contextmanager
def open_index(settings: Settings, *, run: str = "command line") -> Iterator[VectorIndex]:
    """A Qdrant server when CATALOG_QDRANT_URL is set, Qdrant Edge under the data folder otherwise.

    Args:
        settings: of this deployment.
        run: what Qdrant Edge's lock calls us to whoever waits for it.
    """
    # Each engine takes a good part of a second to import, and no process needs both.
    if settings.qdrant_url is None:
        from catalog_pipeline.vectors.qdrant_edge import EdgeIndex

        yield EdgeIndex(settings.embedded_index_dir, run=run)
        return
    from catalog_pipeline.vectors.qdrant_server import ServerIndex, connect

    key = settings.qdrant_api_key
    client = connect(settings.qdrant_url, key.get_secret_value() if key else None)
    try:
        yield ServerIndex(client, name=f"Qdrant at {urlsplit(settings.qdrant_url).hostname}")
    finally:
        client.close()
