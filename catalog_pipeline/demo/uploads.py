"""Files out of a store's uploads folder, with validators as nginx sends them.

An ETag is known without making the picture, so a 304 costs no drawing. The last pictures drawn
are kept, within a limit of bytes that all stores share.
"""

from __future__ import annotations

import io
import re
import threading
from collections import OrderedDict
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final
from urllib.parse import unquote

from PIL import Image, UnidentifiedImageError

from catalog_pipeline.demo.messages import Request, Response
from catalog_pipeline.demo.specs import ImageSpec
from catalog_pipeline.demo.store import WooStore

_SIZED: Final = re.compile(r"-(\d{1,4})x(\d{1,4})(?=\.\w+$)")


class PictureCache:
    """The most recently served bytes, up to `limit` of them altogether."""

    def __init__(self, limit: int = 16 * 2**20) -> None:
        self._limit = limit
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """The bytes kept under this key."""
        with self._lock:
            content = self._held.get(key)
            if content is not None:
                self._held.move_to_end(key)
            return content

    def put(self, key: str, content: bytes) -> None:
        """Keep these bytes; the oldest make room."""
        with self._lock:
            self._size += len(content) - len(self._held.pop(key, b""))
            self._held[key] = content
            while self._size > self._limit:
                self._size -= len(self._held.popitem(last=False)[1])


def upload_response(store: WooStore, request: Request, cache: PictureCache) -> Response | None:
    """The file that was asked for, a 304, or None where a shop would show its 404 page."""
    bounds: tuple[int, int] | None = None
    path = unquote(request.path)
    image = store.upload(path)
    if image is None and (sized := _SIZED.search(path)):
        bounds = int(sized[1]), int(sized[2])
        image = store.upload(_SIZED.sub("", path))
    if image is None or (bounds is not None and not all(bounds)):
        return None
    modified = datetime.fromtimestamp(image.uploaded, UTC)
    fingerprint = image.media.fingerprint + (f"-{bounds[0]}x{bounds[1]}" if bounds else "")
    headers = {
        "Last-Modified": format_datetime(modified, usegmt=True),
        "ETag": f'"{image.uploaded:x}-{fingerprint}"',
    }
    if _unchanged(request, headers["ETag"], modified):
        return Response(304, b"", headers, kind="image", chunked=False)
    content = cache.get(fingerprint)
    if content is None:
        content = _content(image, bounds)
        if content is None:
            return None
        cache.put(fingerprint, content)
    headers |= {"Content-Type": image.media.media_type, "Accept-Ranges": "bytes"}
    return Response(200, content, headers, kind="image", chunked=False)


def _unchanged(request: Request, etag: str, modified: datetime) -> bool:
    tags = request.headers.get("If-None-Match")
    if tags is not None:
        return tags.strip() == "*" or etag in [
            t.strip().removeprefix("W/") for t in tags.split(",")
        ]
    since = request.headers.get("If-Modified-Since")
    if since is None:
        return False
    try:
        return parsedate_to_datetime(since) >= modified
    except (TypeError, ValueError):
        return False


def _content(image: ImageSpec, bounds: tuple[int, int] | None) -> bytes | None:
    content = image.media.content()
    if content is None or bounds is None:
        return content
    try:
        with Image.open(io.BytesIO(content)) as whole:
            whole.thumbnail(bounds)
            buffer = io.BytesIO()
            whole.save(buffer, whole.format or "JPEG")
    except (UnidentifiedImageError, OSError):
        return None  # what cannot be read has no smaller copy either
    return buffer.getvalue()
