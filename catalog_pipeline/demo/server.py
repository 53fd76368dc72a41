"""The HTTP server in front of the sample stores: HTTP/1.1 with keep-alive, on loopback only."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from catalog_pipeline.demo.clock import SampleClock
from catalog_pipeline.demo.messages import HTML, JSON, Request, Response
from catalog_pipeline.demo.rest import WooSite
from catalog_pipeline.demo.traffic import Seen

HOST: Final = "127.0.0.1"
IDENTITY_PATH: Final = "__demo__"
_ABRUPT: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets the connection
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip


class SampleServer(ThreadingHTTPServer):
    """Serves each store under `/<store id>/`, and who it is under `/__demo__`.

    Args:
        port: 0 lets the system choose.
        clock: what the `Date` header shows.
        identity: called for each answer under `/__demo__`; must return what JSON can say.

    Raises:
        OSError: the port is taken.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, clock: SampleClock, identity: Callable[[], object]) -> None:
        self.sites: dict[str, WooSite] = {}
        self.clock = clock
        self.identity = identity
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__((HOST, port), _Handler)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Serve one connection, remembering it so that `close` can end it."""
        assert isinstance(request, socket.socket)
        with self._open_lock:
            self._open.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._open_lock:
                self._open.discard(request)

    def shutdown_request(self, request: object) -> None:
        """Close a connection; one that is to be reset gets no orderly goodbye first."""
        assert isinstance(request, socket.socket)
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == _ABRUPT:
            request.close()
        else:
            super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away; everything else is reported as usual."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def close(self) -> None:
        """Stop listening and end every open connection."""
        self.shutdown()
        self.server_close()
        with self._open_lock:
            lingering = list(self._open)
        for connection in lingering:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one piece
    timeout = 60
    server: SampleServer

    def _serve(self) -> None:
        length = self.headers.get("Content-Length", "")
        body = self.rfile.read(int(length)) if length.isdecimal() else b""
        target, _, query = self.path.partition("?")
        store_id, _, path = target.lstrip("/").partition("/")
        if store_id == IDENTITY_PATH:
            self._send(Response(200, self.server.identity(), {"Content-Type": JSON}))
            return
        site = self.server.sites.get(store_id)
        if site is None:
            self._send(
                Response(404, b"<!DOCTYPE html>\n<h1>No such store</h1>\n", {"Content-Type": HTML})
            )
            return
        headers = {name.title(): value for name, value in self.headers.items()}
        request = Request(self.command, path.lstrip("/"), query, headers, body)
        response = site.answer(request)
        site.store.traffic.record(
            Seen(
                response.kind,
                self.command,
                request.path,
                query,
                response.status,
                headers,
            )
        )
        self._send(response)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815

    def _send(self, response: Response) -> None:
        body = response.body()
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        bodiless = self.command == "HEAD" or response.status in (204, 304)
        chunked = response.chunked and not bodiless
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif response.status != 304 and not (bodiless and response.chunked):
            self.send_header("Content-Length", str(len(body)))
        if not self.close_connection:
            self.send_header("Connection", "keep-alive")
        self.end_headers()
        if bodiless:
            return
        if response.cut_after is not None:
            self._break_off(body[: response.cut_after], chunked=chunked)
            return
        if chunked:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        self.wfile.write(body)

    def _break_off(self, part: bytes, *, chunked: bool) -> None:
        """Send a part of the body, then a reset instead of the rest."""
        self.wfile.write(b"%x\r\n%b" % (len(part) + 4096, part) if chunked else part)
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABRUPT)
        self.close_connection = True

    def version_string(self) -> str:
        """The `Server` header."""
        return "sample-stores"

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The `Date` header, on the stores' own clock."""
        now = self.server.clock.now()
        day, month = _WEEKDAYS[now.weekday()], _MONTHS[now.month - 1]
        return f"{day}, {now.day:02} {month} {now.year} {now:%H:%M:%S} GMT"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keep quiet; `WooStore.traffic` remembers the requests."""
