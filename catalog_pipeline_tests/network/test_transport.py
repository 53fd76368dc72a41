"""The transport behaves as httpx's own does, over a pool that httpx knows nothing of."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import httpcore
import httpx
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from catalog_pipeline.network.transport import PoolTransport


@pytest.fixture(params=["ours", "httpx's own"])
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    ours = request.param == "ours"
    transport = PoolTransport(httpcore.ConnectionPool()) if ours else httpx.HTTPTransport()
    with httpx.Client(transport=transport, timeout=0.5, trust_env=False) as opened:
        yield opened


@contextmanager
def raw_server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does with its one connection whatever the test says; its address."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            thread.join()


def test_requests_and_answers_arrive_whole(client: httpx.Client, httpserver: HTTPServer) -> None:
    def handle(request: Request) -> Response:
        assert request.headers["Host"] == f"localhost:{httpserver.port}"
        assert request.headers["X-Two"] == "2"
        return Response(request.query_string + request.data, 201, headers={"X-Seen": "yes"})

    httpserver.expect_request("/p/ä", method="POST").respond_with_handler(handle)
    answer = client.post(
        httpserver.url_for("/p/ä"),
        params={"q": "ö 1"},
        content=[b"a", b"b"],
        headers={"X-Two": "2"},
    )
    assert (answer.status_code, answer.headers["x-seen"]) == (201, "yes")
    assert answer.content == b"q=%C3%B6+1ab"


def test_an_answer_tells_its_version(client: httpx.Client) -> None:
    # The server of the other tests takes the version of whatever server came before it.
    with raw_server(lambda connection: connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")) as url:
        assert client.get(url).http_version == "HTTP/1.0"


def test_a_body_is_streamed_and_its_raw_bytes_are_counted(
    client: httpx.Client, httpserver: HTTPServer
) -> None:
    packed = gzip.compress(b"x" * 100_000)
    httpserver.expect_request("/p").respond_with_data(packed, headers={"Content-Encoding": "gzip"})
    with client.stream("GET", httpserver.url_for("/p")) as response:
        assert response.num_bytes_downloaded == 0
        assert b"".join(response.iter_bytes()) == b"x" * 100_000
        assert response.num_bytes_downloaded == len(packed)


def test_a_body_left_unread_gives_its_connection_back(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/p").respond_with_data(b"x" * 5_000_000)
    pool = httpcore.ConnectionPool(max_connections=1)
    with httpx.Client(transport=PoolTransport(pool), timeout=2.0) as client:
        for _ in range(3):
            with client.stream("GET", httpserver.url_for("/p")) as response:
                assert response.status_code == 200
    assert pool.connections == []


def test_a_connection_is_used_again(client: httpx.Client) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2")

    with raw_server(answer) as url:
        assert [client.get(url).text for _ in range(2)] == ["1", "2"]


def _silent(connection: socket.socket) -> None:
    time.sleep(0.7)


def _cut(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")


def _stalled(connection: socket.socket) -> None:
    _cut(connection)
    time.sleep(0.7)


def _nonsense(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


def _closed(_connection: socket.socket) -> None:
    return


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (_silent, httpx.ReadTimeout),
        (_stalled, httpx.ReadTimeout),
        (_cut, httpx.RemoteProtocolError),
        (_nonsense, httpx.RemoteProtocolError),
        (_closed, httpx.RemoteProtocolError),
    ],
)
def test_failures_are_those_of_httpx(
    client: httpx.Client, answer: Callable[[socket.socket], None], kind: type[Exception]
) -> None:
    with raw_server(answer) as url, pytest.raises(httpx.TransportError) as found:
        client.get(url)
    assert type(found.value) is kind


def test_a_refused_connection_keeps_its_cause(client: httpx.Client) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(httpx.ConnectError) as found:
            client.get(f"http://127.0.0.1:{taken.getsockname()[1]}")
    causes = []
    cause: BaseException | None = found.value
    while cause is not None:
        causes.append(type(cause))
        cause = cause.__cause__ or cause.__context__
    assert ConnectionRefusedError in causes


def test_every_transport_error_of_httpcore_has_its_like() -> None:
    kinds = [
        kind
        for kind in vars(httpcore).values()
        if isinstance(kind, type)
        and issubclass(
            kind, (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)
        )
    ]
    assert len(kinds) >= 12
    for kind in kinds:

        class Failing(httpcore.ConnectionPool):
            failure = kind

            def handle_request(self, request: httpcore.Request) -> httpcore.Response:
                raise self.failure("said the pool")

        with (
            httpx.Client(transport=PoolTransport(Failing())) as client,
            pytest.raises(getattr(httpx, kind.__name__), match="said the pool") as found,
        ):
            client.get("http://shop.example")
        assert type(found.value).__name__ == kind.__name__


@pytest.mark.parametrize("scheme", ["ws", "wss", "ftp", "file"])
def test_only_http_and_https_are_spoken(scheme: str) -> None:
    with httpx.Client(transport=PoolTransport(httpcore.ConnectionPool())) as client:
        with pytest.raises(httpx.UnsupportedProtocol, match=f"'{scheme}' is neither http nor"):
            client.get(f"{scheme}://127.0.0.1:1/")
        for spoken in ("http", "HTTPS"):
            with pytest.raises(httpx.ConnectError):
                client.get(f"{spoken}://127.0.0.1:1/")
