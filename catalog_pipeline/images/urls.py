"""Where the URL of a picture leads, as a request needs it; whether it may is `network/`'s."""

from __future__ import annotations

import httpx

from catalog_pipeline.network.pool import port_of

_LONGEST = 4096


def parsed_url(url: str, base: httpx.URL) -> httpx.URL | None:
    """A URL that a request can be made of; None where it can lead to no picture.

    Args:
        url: as a stranger gave it.
        base: what a relative one is taken from.
    """
    if not url.strip() or len(url) > _LONGEST:
        return None
    try:
        found = base.join(url.strip())
        # Parsed again without what must not travel.
        found = found.copy_with(fragment=None, userinfo=b"")
    except (httpx.InvalidURL, ValueError, TypeError):
        return None
    # A site's front page is no picture, but what hotlinking is often answered with.
    is_usable = found.scheme in ("http", "https") and found.host and found.raw_path != b"/"
    return found if is_usable else None


def origin(url: httpx.URL) -> tuple[str, str, int]:
    """Scheme, host and port: whom a request speaks to."""
    return url.scheme, url.host, port_of(url)
