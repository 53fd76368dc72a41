"""What is kept of an answer's validators, and that no key of a store is among it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer

from catalog_pipeline.images.download import Downloader
from catalog_pipeline.images.validators import Validators
from catalog_pipeline_tests.images.conftest import MakeStore

KEY, SECRET = "ck_canary_3f1d9b7c", "cs_canary/a27e+5508"
BASIC = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
DATE = "Wed, 01 Jul 2026 10:00:00 GMT"
PICTURE = b"\xff\xd8\xff" + bytes(range(256))

texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=200)


def percent(text: str) -> str:
    return "".join(f"%{ord(one):02X}" for one in text)


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(one):04x}" for one in text)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "quoted for a URL": quote,
    "every character quoted": percent,
    "every character escaped": escaped,
    "slashes escaped": lambda text: text.replace("/", "\\/"),
}


@pytest.mark.parametrize("secret", [KEY, SECRET, BASIC.rstrip("=")])
@pytest.mark.parametrize("spelling", SPELLINGS)
@given(before=texts, after=texts)
def test_no_validator_that_holds_a_key_is_kept(
    secret: str, spelling: str, before: str, after: str
) -> None:
    value = f"{before}{SPELLINGS[spelling](secret)}{after}"
    assert Validators((KEY, SECRET, BASIC)).kept(value.encode("latin-1")) is None


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), min_size=1, max_size=512))
def test_every_other_validator_is_kept_as_it_came(value: str) -> None:
    assert Validators((KEY, SECRET, BASIC)).kept(value.encode("latin-1")) == value


def test_none_an_empty_and_an_endless_one_are_not_kept() -> None:
    validators = Validators(("", "=="))
    assert validators.kept(None) is None
    assert validators.kept(b"") is None
    assert validators.kept(b"x" * 513) is None
    assert validators.kept(b"x" * 512) == "x" * 512


@pytest.mark.parametrize("place", ["env", "file"])
def test_a_stores_keys_are_read_from_where_it_says(
    httpserver: HTTPServer,
    make_store: MakeStore,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    place: str,
) -> None:
    monkeypatch.setenv("ATELIER_KEY", KEY)
    if place == "env":
        monkeypatch.setenv("ATELIER_SECRET", SECRET)
        store = make_store()
    else:
        path = tmp_path / "secret"
        path.write_text(f"{SECRET}\n")
        store = make_store(consumer_secret={"file": path})
    for number, etag in enumerate((KEY, SECRET, BASIC, "abc")):
        httpserver.expect_request(f"/{number}.jpg").respond_with_data(
            PICTURE, headers={"ETag": f'"{etag}"', "Last-Modified": f"{DATE}{etag[3:]}"}
        )
    with Downloader(store) as downloader:
        found = [downloader.fetch(httpserver.url_for(f"/{number}.jpg")) for number in range(4)]
    assert [one.outcome for one in found] == ["fetched"] * 4
    assert [one.etag for one in found] == [None, None, None, '"abc"']
    assert found[3].last_modified == DATE


def test_of_a_key_only_padding_is_left_out() -> None:
    validators = Validators(("abX=", "cdX"))
    assert validators.kept(b"ab, cd") == "ab, cd"
    assert validators.kept(b"abX") is validators.kept(b"cdX") is None


def test_a_store_without_its_keys_has_sent_none_that_could_come_back(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    for secret in (store.consumer_key, store.consumer_secret):
        assert secret.env is not None
        monkeypatch.delenv(secret.env, raising=False)
    assert Validators.of(store).kept(b'"v1"') == '"v1"'
