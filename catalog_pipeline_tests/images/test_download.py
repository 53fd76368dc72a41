"""What comes of asking for a picture: servers that answer well, badly, slowly and not at all."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import trustme
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.images.download import (
    FORBIDDEN_ADDRESS,
    HOST_DOES_NOT_ANSWER,
    PRIVATE_ADDRESS,
    UNUSABLE_URL,
    Download,
    Downloader,
    refused_port,
    too_many_bytes,
)
from catalog_pipeline.images.retries import HOST_GIVEN_UP_AFTER
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline_tests.images.conftest import MakeStore

PICTURE = b"\xff\xd8\xff" + bytes(range(256)) * 40


def fetch(
    store: StoreConfig,
    url: str,
    sleeps: list[float] | None = None,
    total_seconds: float = 30.0,
    **validators: str | None,
) -> Download:
    slept = [] if sleeps is None else sleeps
    with Downloader(store, sleep=slept.append, total_seconds=total_seconds) as downloader:
        return downloader.fetch(url, **validators)


@contextmanager
def raw_server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does with each connection whatever the test says; its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65_536)
                    answer(connection)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


def test_brings_the_bytes_and_what_a_later_request_needs(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    httpserver.expect_request("/a.jpg").respond_with_data(
        PICTURE, headers={"ETag": '"abc"', "Last-Modified": "Wed, 01 Jul 2026 10:00:00 GMT"}
    )
    found = fetch(make_store(), httpserver.url_for("/a.jpg"))
    assert found == Download(
        "fetched",
        content=PICTURE,
        etag='"abc"',
        last_modified="Wed, 01 Jul 2026 10:00:00 GMT",
        requests=1,
    )
    request, _ = httpserver.log[0]
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.headers["Host"] == f"localhost:{httpserver.port}"
    assert "If-None-Match" not in request.headers


def test_asks_conditionally_when_given_validators(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    def answer(request: Request) -> Response:
        assert request.headers["If-None-Match"] == '"abc"'
        assert request.headers["If-Modified-Since"] == "Wed, 01 Jul 2026 10:00:00 GMT"
        return Response(status=304)

    httpserver.expect_request("/a.jpg").respond_with_handler(answer)
    found = fetch(
        make_store(),
        httpserver.url_for("/a.jpg"),
        etag='"abc"',
        last_modified="Wed, 01 Jul 2026 10:00:00 GMT",
    )
    assert (found.outcome, found.content) == ("unchanged", None)


def test_the_stores_own_headers_go_to_the_store_alone(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    httpserver.expect_request("/a.jpg").respond_with_data(PICTURE)
    store = make_store(headers={"X-Firewall": "let-me-in"}, user_agent="Catalogue of Atelier")
    fetch(store, httpserver.url_for("/a.jpg"))
    fetch(store, f"http://127.0.0.1:{httpserver.port}/a.jpg")
    own, foreign = (request.headers for request, _ in httpserver.log)
    assert own["X-Firewall"] == "let-me-in"
    assert "X-Firewall" not in foreign
    assert own["User-Agent"] == foreign["User-Agent"] == "Catalogue of Atelier"


def test_relative_and_unencoded_urls_are_taken_from_the_store(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    httpserver.expect_request("/uploads/blå kjole.jpg").respond_with_data(PICTURE)
    assert fetch(make_store(), "/uploads/blå kjole.jpg").outcome == "fetched"
    assert fetch(make_store(), " uploads/blå kjole.jpg ").outcome == "fetched"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://shop.example/a.jpg",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "http://",
        "http://[::1",
        "",
        "http://shop.example/\x00.jpg",
        "http://a..b/x.jpg\r\nX-Injected: 1",
        "https://shop.example/" + "a" * 5000,
    ],
)
def test_urls_that_cannot_be_used_are_refused(make_store: MakeStore, url: str) -> None:
    assert fetch(make_store(), url) == Download("refused", UNUSABLE_URL)


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_gone_is_gone(httpserver: HTTPServer, make_store: MakeStore, status: int) -> None:
    httpserver.expect_request("/a.jpg").respond_with_data(b"no", status=status)
    sleeps: list[float] = []
    found = fetch(make_store(), httpserver.url_for("/a.jpg"), sleeps)
    assert (found.outcome, found.reason, sleeps) == ("gone", f"HTTP {status}", [])


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 403, 451])
def test_other_answers_are_refusals_that_are_not_repeated(
    httpserver: HTTPServer, make_store: MakeStore, status: int
) -> None:
    httpserver.expect_request("/a.jpg").respond_with_data(b"", status=status)
    found = fetch(make_store(), httpserver.url_for("/a.jpg"))
    assert (found.outcome, found.reason, found.requests) == ("refused", f"HTTP {status}", 1)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520])
def test_transient_answers_are_retried_with_growing_pauses(
    httpserver: HTTPServer, make_store: MakeStore, status: int
) -> None:
    httpserver.expect_request("/a.jpg").respond_with_data(b"later", status=status)
    sleeps: list[float] = []
    found = fetch(make_store(), httpserver.url_for("/a.jpg"), sleeps)
    assert found == Download("failed", f"HTTP {status}", requests=5, retries=4)
    assert sleeps == [1.0, 2.0, 4.0, 8.0]


def test_a_retry_that_succeeds_is_a_success(httpserver: HTTPServer, make_store: MakeStore) -> None:
    httpserver.expect_ordered_request("/a.jpg").respond_with_data(b"", status=503)
    httpserver.expect_ordered_request("/a.jpg").respond_with_data(PICTURE)
    found = fetch(make_store(), httpserver.url_for("/a.jpg"))
    assert (found.outcome, found.content, found.retries) == ("fetched", PICTURE, 1)


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        ("7", 7.0),
        ("0", 1.0),
        ("100000", 120.0),
        ("9" * 400, 1.0),
        ("-5", 1.0),
        ("1.5", 1.5),
        ("soon", 1.0),
        ("", 1.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 1.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 120.0),
        ("Fri, 99 Foo 2026 99:99:99 GMT", 1.0),
    ],
)
def test_retry_after_is_obeyed_where_it_makes_sense(
    httpserver: HTTPServer, make_store: MakeStore, value: str, pause: float
) -> None:
    httpserver.expect_ordered_request("/a.jpg").respond_with_data(
        b"", status=429, headers={"Retry-After": value}
    )
    httpserver.expect_ordered_request("/a.jpg").respond_with_data(PICTURE)
    sleeps: list[float] = []
    assert fetch(make_store(), httpserver.url_for("/a.jpg"), sleeps).outcome == "fetched"
    (slept,) = sleeps
    # Less what has passed of a pause until the host is asked again.
    assert pause - 0.4 < slept <= pause


def test_retry_after_may_be_a_date(httpserver: HTTPServer, make_store: MakeStore) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    httpserver.expect_ordered_request("/a.jpg").respond_with_data(
        b"", status=503, headers={"Retry-After": moment}
    )
    httpserver.expect_ordered_request("/a.jpg").respond_with_data(PICTURE)
    sleeps: list[float] = []
    fetch(make_store(), httpserver.url_for("/a.jpg"), sleeps)
    assert 50.0 < sleeps[0] <= 60.0


@pytest.mark.parametrize("told", [True, False], ids=["the server's", "ours where it tells none"])
def test_a_date_to_retry_after_is_reckoned_by_the_clock(make_store: MakeStore, told: bool) -> None:
    now = datetime.now(UTC) - timedelta(days=1 if told else 0)
    date, later = (
        format_datetime(now + timedelta(seconds=seconds), usegmt=True).encode()
        for seconds in (0, 60)
    )
    told_date = b"Date: %b\r\n" % date if told else b""
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\xff\xd8\xff",
        b"HTTP/1.1 429 Busy\r\nContent-Length: 0\r\nConnection: close\r\n%b"
        b"Retry-After: %b\r\n\r\n" % (told_date, later),
    ]
    sleeps: list[float] = []
    with raw_server(lambda connection: connection.sendall(answers.pop())) as port:
        url = f"http://127.0.0.1:{port}"
        assert fetch(make_store(url=url), f"{url}/a.jpg", sleeps).outcome == "fetched"
    assert sleeps == pytest.approx([60.0], abs=5.0)


@pytest.mark.parametrize("encoding", ["identity", " Identity ", ""])
def test_an_encoding_that_changes_nothing_is_no_encoding(
    httpserver: HTTPServer, make_store: MakeStore, encoding: str
) -> None:
    httpserver.expect_request("/a.jpg").respond_with_data(
        PICTURE, headers={"Content-Encoding": encoding}
    )
    assert fetch(make_store(), httpserver.url_for("/a.jpg")).content == PICTURE


def test_an_address_that_no_setting_opens_is_told_from_one_that_a_setting_does(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    for url, public, private in (
        ("http://169.254.169.254/a.jpg", FORBIDDEN_ADDRESS, FORBIDDEN_ADDRESS),
        ("http://127.0.0.1/a.jpg", PRIVATE_ADDRESS, None),
    ):
        found = fetch(make_store(url="https://shop.example", allow_private_addresses=False), url)
        assert (found.outcome, found.reason) == ("refused", public)
        if private is not None:
            assert fetch(make_store(), url).reason == private


def test_what_cannot_be_sent_is_refused(httpserver: HTTPServer, make_store: MakeStore) -> None:
    found = fetch(make_store(), httpserver.url_for("/a.jpg"), etag='"a\r\nHost: elsewhere"')
    assert (found.outcome, found.reason) == ("refused", UNUSABLE_URL)
    assert httpserver.log == []


def test_a_body_that_breaks_off_is_asked_for_again(make_store: MakeStore) -> None:
    answers = iter([PICTURE[:100], PICTURE[:2000], PICTURE])

    def answer(connection: socket.socket) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(PICTURE)}\r\n\r\n"
        connection.sendall(head.encode() + next(answers))

    with raw_server(answer) as port:
        store = make_store(image_ports=[port])
        found = fetch(store, f"http://127.0.0.1:{port}/a.jpg")
    assert (found.outcome, found.content, found.retries) == ("fetched", PICTURE, 2)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
)
def test_nonsense_on_the_wire_is_a_failure_and_no_exception(
    make_store: MakeStore, answer: bytes
) -> None:
    with raw_server(lambda connection: connection.sendall(answer)) as port:
        found = fetch(make_store(image_ports=[port]), f"http://127.0.0.1:{port}/a.jpg")
    assert (found.outcome, found.reason) == ("failed", "connection broke")


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n"],
    ids=["header", "body"],
)
def test_a_server_that_drips_is_cut_off_at_the_deadline(make_store: MakeStore, head: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in range(200):
            connection.sendall(b"a")
            time.sleep(0.02)

    with raw_server(drip) as port:
        store = make_store(image_ports=[port])
        began = time.monotonic()
        found = fetch(store, f"http://127.0.0.1:{port}/a.jpg", total_seconds=0.15)
    assert (found.outcome, found.reason, found.requests) == ("failed", "time-out", 5)
    assert time.monotonic() - began < 10


def test_too_many_bytes_are_cut_off_as_they_come(make_store: MakeStore) -> None:
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(2_000):
            sent += connection.send(b"x" * 100_000)

    with raw_server(flood) as port:
        store = make_store(image_ports=[port], quality={"max_bytes": 200_000})
        found = fetch(store, f"http://127.0.0.1:{port}/a.jpg")
    assert found == Download("refused", too_many_bytes(200_000), requests=1)
    assert sent < 20_000_000


def test_the_limit_itself_is_allowed_and_a_lie_about_the_length_is_not_believed(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    httpserver.expect_request("/exact.jpg").respond_with_data(b"x" * 5_000)
    httpserver.expect_request("/over.jpg").respond_with_data(b"x" * 5_001)
    store = make_store(quality={"max_bytes": 5_000})
    assert fetch(store, httpserver.url_for("/exact.jpg")).outcome == "fetched"
    assert fetch(store, httpserver.url_for("/over.jpg")).reason == too_many_bytes(5_000)


def test_an_encoding_that_was_not_asked_for_is_refused(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    httpserver.expect_request("/a.jpg").respond_with_data(
        b"\x1f\x8b" + b"x" * 50, headers={"Content-Encoding": "gzip"}
    )
    found = fetch(make_store(), httpserver.url_for("/a.jpg"))
    reason = "content encoding that was not asked for"
    assert (found.outcome, found.reason) == ("refused", reason)


def test_an_empty_answer_is_a_failure(httpserver: HTTPServer, make_store: MakeStore) -> None:
    httpserver.expect_request("/a.jpg").respond_with_data(b"")
    found = fetch(make_store(), httpserver.url_for("/a.jpg"))
    assert (found.outcome, found.reason) == ("failed", "empty answer")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(httpserver: HTTPServer, make_store: MakeStore, status: int) -> None:
    httpserver.expect_request("/a.jpg").respond_with_data(
        b"", status=status, headers={"Location": "b.jpg"}
    )
    httpserver.expect_request("/b.jpg").respond_with_data(PICTURE)
    found = fetch(make_store(), httpserver.url_for("/a.jpg"))
    assert (found.outcome, found.requests) == ("fetched", 2)


@pytest.mark.parametrize(
    ("hops", "outcome", "reason"), [(3, "fetched", None), (4, "refused", "too many redirects")]
)
def test_no_more_than_three_redirects_are_followed(
    httpserver: HTTPServer, make_store: MakeStore, hops: int, outcome: str, reason: str | None
) -> None:
    for hop in range(hops):
        httpserver.expect_request(f"/{hop}").respond_with_data(
            b"", status=302, headers={"Location": f"/{hop + 1}"}
        )
    httpserver.expect_request(f"/{hops}").respond_with_data(PICTURE)
    found = fetch(make_store(), httpserver.url_for("/0"))
    assert (found.outcome, found.requests, found.reason) == (outcome, 4, reason)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://127.0.0.1:1/a.jpg", refused_port(1)),
        ("file:///etc/passwd", "unusable redirect"),
        ("/", "unusable redirect"),
    ],
)
def test_each_redirect_passes_the_guard(
    httpserver: HTTPServer, make_store: MakeStore, location: str, reason: str
) -> None:
    httpserver.expect_request("/a.jpg").respond_with_data(
        b"", status=302, headers={"Location": location}
    )
    found = fetch(make_store(), httpserver.url_for("/a.jpg"))
    assert (found.outcome, found.reason) == ("refused", reason)


def test_addresses_of_the_inside_are_refused_unless_the_store_may(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    store = make_store(url="https://shop.example", allow_private_addresses=False)
    open_port = store.model_copy(update={"image_ports": (httpserver.port,)})
    found = fetch(open_port, httpserver.url_for("/a.jpg"))
    assert (found.outcome, found.reason) == ("refused", PRIVATE_ADDRESS)
    assert not httpserver.log


def test_a_name_that_does_not_exist_is_a_failure_without_retries(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    store = make_store()
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    sleeps: list[float] = []
    found = fetch(store, "http://shop.example/a.jpg", sleeps)
    assert (found.outcome, found.reason, sleeps) == ("failed", "unknown host", [])


def test_a_certificate_file_that_is_none_is_named(make_store: MakeStore, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    with pytest.raises(ConfigurationError, match=r"wrong\.pem"):
        Downloader(make_store(ca_file=str(wrong)))


def test_proxy_variables_are_ignored(
    httpserver: HTTPServer, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    httpserver.expect_request("/a.jpg").respond_with_data(PICTURE)
    assert fetch(make_store(), httpserver.url_for("/a.jpg")).outcome == "fetched"


def test_cookies_and_credentials_of_a_url_do_not_travel(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    httpserver.expect_request("/a.jpg").respond_with_data(
        PICTURE, headers={"Set-Cookie": "track=1; Path=/"}
    )
    with Downloader(make_store()) as downloader:
        for _ in range(2):
            downloader.fetch(f"http://user:secret@localhost:{httpserver.port}/a.jpg#top")
    for request, _ in httpserver.log:
        assert "Cookie" not in request.headers
        assert "Authorization" not in request.headers


def test_a_host_that_never_answers_is_left_for_later(make_store: MakeStore) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        store = make_store(image_ports=[port])
        with Downloader(store, sleep=lambda _: None) as downloader:
            found = [
                downloader.fetch(f"http://127.0.0.1:{port}/{number}.jpg")
                for number in range(HOST_GIVEN_UP_AFTER + 2)
            ]
    assert [one.outcome for one in found[:-2]] == ["failed"] * HOST_GIVEN_UP_AFTER
    assert found[-2:] == [Download("postponed", HOST_DOES_NOT_ANSWER)] * 2


def test_one_answer_in_between_keeps_a_host_in_the_game(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    httpserver.expect_request("/good.jpg").respond_with_data(PICTURE)
    httpserver.expect_request("/bad.jpg").respond_with_data(b"", status=500)
    with Downloader(make_store(), sleep=lambda _: None) as downloader:
        for _ in range(HOST_GIVEN_UP_AFTER - 1):
            downloader.fetch(httpserver.url_for("/bad.jpg"))
        assert downloader.fetch(httpserver.url_for("/good.jpg")).outcome == "fetched"
        assert downloader.fetch(httpserver.url_for("/bad.jpg")).outcome == "failed"


def test_an_exception_of_the_pause_ends_the_waiting(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    def stop(_: float) -> None:
        raise InterruptedError

    httpserver.expect_request("/a.jpg").respond_with_data(b"", status=503)
    with Downloader(make_store(), sleep=stop) as downloader, pytest.raises(InterruptedError):
        downloader.fetch(httpserver.url_for("/a.jpg"))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure_server(authority: trustme.CA) -> Iterator[HTTPServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = HTTPServer(host="localhost", port=0, ssl_context=context)
    server.start()
    yield server
    server.clear()
    server.stop()


def test_tls_is_verified_by_name_and_a_private_authority_can_be_named(
    secure_server: HTTPServer, authority: trustme.CA, make_store: MakeStore, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    secure_server.expect_request("/a.jpg").respond_with_data(PICTURE)
    secure_server.expect_request("/down.jpg").respond_with_data(
        b"", status=302, headers={"Location": f"http://localhost:{secure_server.port}/a.jpg"}
    )
    secure_server.expect_request("/aside.jpg").respond_with_data(
        b"", status=302, headers={"Location": "a.jpg"}
    )
    ports = [secure_server.port]
    trusting = make_store(image_ports=ports, ca_file=str(ca_file))
    url = secure_server.url_for("/a.jpg")
    assert fetch(trusting, url).outcome == "fetched"
    assert fetch(trusting, secure_server.url_for("/aside.jpg")).outcome == "fetched"
    found = fetch(trusting, secure_server.url_for("/down.jpg"))
    assert (found.outcome, found.reason) == ("refused", "redirect from https to http")
    sleeps: list[float] = []
    found = fetch(make_store(image_ports=ports), url, sleeps)
    assert (found.outcome, found.reason) == ("failed", "certificate is not valid")
    found = fetch(trusting, url.replace("localhost", "127.0.0.1"), sleeps)
    assert (found.outcome, found.reason) == ("failed", "certificate is not valid")
    assert sleeps == []


def test_many_threads_share_one_downloader(httpserver: HTTPServer, make_store: MakeStore) -> None:
    httpserver.expect_request("/a.jpg").respond_with_data(PICTURE)
    found: list[Download] = []
    with Downloader(make_store(connections=3)) as downloader:
        threads = [
            threading.Thread(
                target=lambda: found.append(downloader.fetch(httpserver.url_for("/a.jpg")))
            )
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [one.content for one in found] == [PICTURE] * 12
