"""What becomes of HTTP answers that are built to cost a downloader memory, time or its wits."""

from __future__ import annotations

import socket
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from itertools import repeat

import pytest

from catalog_pipeline.images.download import too_many_bytes
from catalog_pipeline_tests.images.conftest import MakeStore
from catalog_pipeline_tests.images.test_download import PICTURE, fetch, raw_server

LIMIT = 50_000
OK = b"HTTP/1.1 200 OK\r\n"
BOMB = zlib.compress(bytes(10_000_000), 9)
BROKE = ("failed", "connection broke")
ENCODED = ("refused", "content encoding that was not asked for")
TOO_MANY = ("refused", too_many_bytes(LIMIT))
FETCHED = ("fetched", None)


def whole(*headers: bytes, body: bytes = PICTURE) -> bytes:
    length = b"Content-Length: %d" % len(body)
    return OK + b"".join(line + b"\r\n" for line in (length, *headers)) + b"\r\n" + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in chunks) + end


# Case, answer, outcome and reason.
CASES: list[tuple[str, bytes, tuple[str, str | None]]] = [
    ("whole", whole(), FETCHED),
    ("no length, closed at the end", OK + b"\r\n" + PICTURE, FETCHED),
    ("called HTML", whole(b"Content-Type: text/html"), FETCHED),
    ("called an attachment", whole(b"Content-Disposition: attachment; filename=a.exe"), FETCHED),
    ("called identity", whole(b"Content-Encoding: identity"), FETCHED),
    # Encodings: nothing is ever decompressed.
    ("gzip", whole(b"Content-Encoding: gzip", body=BOMB), ENCODED),
    ("deflate", whole(b"Content-Encoding: deflate", body=BOMB), ENCODED),
    ("brotli", whole(b"Content-Encoding: br", body=BOMB), ENCODED),
    ("zstd", whole(b"content-encoding: ZSTD", body=BOMB), ENCODED),
    ("two encodings", whole(b"Content-Encoding: gzip, gzip", body=BOMB), ENCODED),
    ("an encoding behind another", whole(b"Content-Encoding: identity, gzip"), ENCODED),
    (
        "an encoding before another",
        whole(b"Content-Encoding: gzip\r\nContent-Encoding: identity"),
        ENCODED,
    ),
    ("a transfer in gzip", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", BROKE),
    # Lengths.
    ("nothing", whole(body=b""), ("failed", "empty answer")),
    ("no chunks", chunked(), ("failed", "empty answer")),
    ("an announced petabyte", OK + b"Content-Length: 1000000000000000\r\n\r\n", TOO_MANY),
    ("a length of 5,000 digits", OK + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n", BROKE),
    ("a negative length", OK + b"Content-Length: -1\r\n\r\n" + PICTURE, BROKE),
    ("a length in hexadecimal", OK + b"Content-Length: 0x10\r\n\r\n" + PICTURE, BROKE),
    ("two lengths", whole(b"Content-Length: 3"), BROKE),
    ("a body that falls short", whole()[:-1], BROKE),
    ("too much, unannounced", OK + b"\r\n" + bytes(LIMIT + 1), TOO_MANY),
    ("too much, chunk by chunk", chunked(*repeat(bytes(1_000), 51)), TOO_MANY),
    ("more than was announced", whole() + bytes(LIMIT), FETCHED),
    # Chunks.
    (
        "a chunk of 2**80 bytes",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"F" * 20 + b"\r\n",
        BROKE,
    ),
    ("a chunk that falls short", chunked(PICTURE, end=b"20\r\nabc"), BROKE),
    ("chunks without an end", chunked(PICTURE, end=b""), BROKE),
    ("a chunk with a long name", chunked(end=b"5;" + b"a" * 200_000 + b"\r\nhello"), BROKE),
    ("a trailer of 200 kB", chunked(PICTURE, end=b"0\r\nX: " + b"a" * 200_000), BROKE),
    # Headers.
    ("a header of 200 kB", OK + b"X: " + b"a" * 200_000 + b"\r\n\r\n", BROKE),
    ("20,000 headers", OK + b"X: aaaaaa\r\n" * 20_000 + b"\r\n", BROKE),
    ("a status of 200 kB", b"HTTP/1.1 200 " + b"a" * 200_000, BROKE),
    ("NUL in a header", whole(b"X: a\x00b"), BROKE),
    ("a header folded a thousand times", whole(b"X: a" + b"\r\n a" * 1_000), FETCHED),
    ("a validator of 4 kB", whole(b'ETag: "' + b"a" * 4_000 + b'"'), FETCHED),
    ("another protocol", b"HTTP/2.0 200 OK\r\n\r\n", ("failed", "empty answer")),
    (
        "an upgrade",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        BROKE,
    ),
    ("a greeting of SSH", b"SSH-2.0-OpenSSH_9.6\r\n", BROKE),
    ("hints before the answer", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + whole(), FETCHED),
]


@pytest.mark.parametrize(
    ("answer", "expected"), [row[1:] for row in CASES], ids=[c[0] for c in CASES]
)
def test_the_outcome_of_each_kind_of_answer(
    make_store: MakeStore, answer: bytes, expected: tuple[str, str | None]
) -> None:
    with raw_server(lambda connection: connection.sendall(answer)) as port:
        store = make_store(image_ports=[port], quality={"max_bytes": LIMIT})
        found = fetch(store, f"http://127.0.0.1:{port}/a.svg")
    assert (found.outcome, found.reason) == expected
    assert found.content == (PICTURE if expected == FETCHED else None)
    assert found.etag is None


def test_a_body_in_the_smallest_pieces_takes_no_more_memory_than_its_bytes(
    make_store: MakeStore,
) -> None:
    pieces = 30_000

    def crumble(connection: socket.socket) -> None:
        connection.sendall(chunked(end=b"") + b"2\r\nab\r\n" * pieces + b"0\r\n\r\n")

    with raw_server(crumble) as port:
        store = make_store(image_ports=[port])
        tracemalloc.start()
        try:
            found = fetch(store, f"http://127.0.0.1:{port}/a.jpg")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert found.content == b"ab" * pieces
    # The server's own answer and what it is built from are among them; 30,000 objects are not.
    assert peak < 1_000_000


DRIPS = {
    "hints without end": (b"", repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n")),
    "headers": (OK, (b"X-%d: a\r\n" % n for n in range(10**6))),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", repeat(b"1\r\na\r\n")),
    "the size of a chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n", repeat(b"0")),
    "a trailer": (chunked(PICTURE, end=b"0\r\n"), repeat(b"X: a\r\n")),
    "a redirect's header": (b"HTTP/1.1 302 Found\r\nLocation: /b.jpg\r\n", repeat(b"X: a\r\n")),
}


@pytest.mark.parametrize(("head", "drops"), DRIPS.values(), ids=DRIPS)
def test_whatever_drips_is_cut_off_in_time(
    make_store: MakeStore, head: bytes, drops: Iterator[bytes]
) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(head)
        ends = time.monotonic() + 3
        while time.monotonic() < ends:
            connection.sendall(next(drops))
            time.sleep(0.01)

    with raw_server(drip) as port:
        store = make_store(image_ports=[port])
        began = time.monotonic()
        found = fetch(store, f"http://127.0.0.1:{port}/a.jpg", total_seconds=0.2)
    assert (found.outcome, found.content) == ("failed", None)
    assert found.reason in ("time-out", "connection broke")
    # Five attempts.
    assert time.monotonic() - began < 8
