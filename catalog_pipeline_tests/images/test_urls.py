"""Which addresses of pictures a request can be made of, and what of them travels."""

from __future__ import annotations

import httpx
import pytest

from catalog_pipeline.images.urls import origin, parsed_url

BASE = httpx.URL("https://shop.example.com/shirts/")
LONG = f"https://a.example/{'x' * 4078}"


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        ("  http://cdn.example/a.jpg?w=1\n", "http://cdn.example/a.jpg?w=1"),
        ("//cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        ("/a.jpg", "https://shop.example.com/a.jpg"),
        ("a.jpg", "https://shop.example.com/shirts/a.jpg"),
        ("https://cdn.example/?id=7", "https://cdn.example/?id=7"),
        ("https://cdn.example/a.jpg#top", "https://cdn.example/a.jpg"),
        ("https://kim:secret@cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        ("https://kim@cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        (LONG, LONG),
        (f"{LONG}x", None),
        ("", None),
        (" \t", None),
        ("https://cdn.example", None),
        ("https://cdn.example/", None),
        ("ftp://cdn.example/a.jpg", None),
        ("data:image/png;base64,AAAA", None),
        ("javascript:alert(1)", None),
        ("https://[::1/a.jpg", None),
        ("https://cdn.example/\x00.jpg", None),
    ],
)
def test_an_address_is_asked_without_what_must_not_travel_or_not_at_all(
    url: str, asked: str | None
) -> None:
    found = parsed_url(url, BASE)
    assert found == (asked and httpx.URL(asked))
    if found is not None:
        assert (found.userinfo, found.fragment) == (b"", "")
        assert str(found) == asked


@pytest.mark.parametrize(
    ("url", "spoken_to"),
    [
        ("https://cdn.example/a.jpg", ("https", "cdn.example", 443)),
        ("http://cdn.example/b.jpg", ("http", "cdn.example", 80)),
        ("http://cdn.example:8080/b.jpg", ("http", "cdn.example", 8080)),
    ],
)
def test_whom_a_request_speaks_to(url: str, spoken_to: tuple[str, str, int]) -> None:
    assert origin(httpx.URL(url)) == spoken_to
