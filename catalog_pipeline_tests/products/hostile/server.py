"""A WooCommerce on loopback that answers well until it is told to answer badly.

What it sends is written byte by byte, so that lengths may lie, bodies may end in the middle and
headers may be no headers.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from catalog_pipeline_tests.products.wordpress import FakeWoo

_LITERAL = re.compile(rb'"@@((?:[^"\\]|\\.)*)@@"')


@dataclass(frozen=True)
class Sent:
    """Bytes as they go over the wire, head and body; `reset` ends them with a reset."""

    parts: Iterable[bytes]
    reset: bool = False


Misbehaviour = Callable[[httpx.Request], Sent | None]


def literal(text: str) -> str:
    """A value that stands in the store's JSON exactly as this text, be it JSON or not."""
    return f"@@{text}@@"


def written(record: Any) -> str:
    """A record whose literals stand in it as they are."""
    return _spliced(json.dumps(record).encode()).decode("utf-8", "surrogatepass")


def sent(
    status: int = 200,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    *,
    content_type: str = "application/json; charset=UTF-8",
    length: str | None = None,
) -> Sent:
    """An answer; `length` lies about the body's."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines += [f"Content-Length: {len(body) if length is None else length}", "Connection: close"]
    return Sent(["\r\n".join(lines).encode("latin-1") + b"\r\n\r\n", body])


class HostileStore:
    """A shop on an ephemeral port of loopback."""

    def __init__(self, products: list[Any]) -> None:
        self.woo = FakeWoo(products)
        self.misbehave: Misbehaviour = lambda _request: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        """The shop's address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def serving(self) -> Iterator[HostileStore]:
        """Answer for as long as the block runs."""
        self._server.daemon_threads = True
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        shop = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_GET(self) -> None:
                request = httpx.Request(
                    "GET", shop.url + self.path, headers=list(self.headers.items())
                )
                bad = shop.misbehave(request)
                try:
                    if bad is None:
                        self.wfile.write(_well_formed(shop.woo(request)))
                    else:
                        self._send(bad)
                except OSError:
                    self.close_connection = True

            def _send(self, bad: Sent) -> None:
                self.close_connection = True
                for part in bad.parts:
                    self.wfile.write(part)
                self.wfile.flush()
                if bad.reset:
                    self.connection.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                    # Without the polite end that the server would put before it.
                    self.connection.close()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Handler


def _spliced(content: bytes) -> bytes:
    return _LITERAL.sub(
        lambda found: json.loads(b'"' + found[1] + b'"').encode("utf-8", "surrogatepass"), content
    )


def _well_formed(answer: httpx.Response) -> bytes:
    body = _spliced(answer.content)
    lines = [f"HTTP/1.1 {answer.status_code} OK"]
    lines += [f"{k}: {v}" for k, v in answer.headers.items() if k.lower() != "content-length"]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
