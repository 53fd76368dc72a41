"""Keys in what a store answers, in every spelling that the same text has."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_pipeline.products.answers import Facts, StoreUnavailableError
from catalog_pipeline.products.firewall import Block
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.redaction import Redactor
from catalog_pipeline_tests.products.wordpress import KEY, SECRET, reply, store

# A pair whose Base64 holds all of its special characters and padding.
AWKWARD = ("ck_>>>???~~~abcd12", "cs_???>>>~~~xyz")
CREDENTIALS = base64.b64encode(":".join(AWKWARD).encode()).decode()
SECRETS = (*AWKWARD, CREDENTIALS)


def unicode_escapes(text: str) -> str:
    return "".join(f"\\u{ord(one):04X}" for one in text)


SPELLINGS = {
    "plain": lambda text: text,
    "as PHP writes JSON": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "unicode escapes": unicode_escapes,
    "escapes here and there": lambda text: text[:3] + unicode_escapes(text[3:5]) + text[5:],
    "in a URL": lambda text: quote(text, safe=""),
    "all of it escaped in a URL": lambda text: "".join(f"%{ord(one):02x}" for one in text),
    "without padding": lambda text: text.rstrip("="),
}


def test_the_credentials_are_as_awkward_as_can_be() -> None:
    assert {"+", "/"} & set(CREDENTIALS)
    assert CREDENTIALS.endswith("=")


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_goes_and_the_rest_stays(secret: str, spelling: object) -> None:
    assert callable(spelling)
    redactor = Redactor(SECRETS)
    before, after = '{"name": "caf\\u00e9 ', ' 100%25 \\/ end"}'
    said = before + spelling(secret) + after

    for found in (redactor.text(said), redactor.raw(said.encode()), redactor.data(said.encode())):
        text = found if isinstance(found, str) else found.decode()
        assert text.startswith(before + "[secret]")
        assert text.endswith(after)
        # What Base64 is padded with may stay.
        assert set(text[len(before + "[secret]") : -len(after)]) <= set("=%3Dd\\u0")


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_what_holds_no_secret_is_left_as_it_came(body: bytes) -> None:
    assert Redactor(SECRETS).raw(body) is body


# As many as no page of products has; the last ones are no escapes, or end in the middle of one.
AMONG = {
    "no others": b"",
    "many in URLs": b"%41" * 10_001,
    "many in JSON": b"\\u0041x" * 10_001,
    "many, and what is none": b"%41%%4%=\r\n%" * 10_001 + b"%",
}


@pytest.mark.parametrize("among", AMONG.values(), ids=AMONG.keys())
@settings(max_examples=60, deadline=None)
@given(
    secret=st.from_regex(r"c[ks]_[0-9a-zA-Z+/~?>]{9,40}", fullmatch=True),
    spelled=st.lists(st.sampled_from(["{}", "\\u00{:02x}", "%{:02X}"]), min_size=43, max_size=43),
)
def test_a_secret_is_found_in_any_mixture_of_spellings(
    secret: str, spelled: list[str], among: bytes
) -> None:
    written = "".join(
        form.format(one if form == "{}" else ord(one))
        for one, form in zip(secret, spelled, strict=False)
    ).encode()
    assert Redactor((secret,)).data(among + written + among) == among + b"[secret]" + among


def test_a_page_full_of_escapes_costs_no_more_than_one_without() -> None:
    redactor = Redactor(SECRETS)

    def taken(body: bytes) -> float:
        began = time.process_time()
        assert redactor.data(body) is body
        return time.process_time() - began

    plain = taken(b"linen shirt " * 200_000)
    for unit in (b"%41", b"%41x", b"\\u0041", b"%"):
        assert taken(unit * (2_400_000 // len(unit))) < 20 * plain + 0.5


def test_a_key_that_is_a_word_leaves_data_alone_and_is_not_said() -> None:
    redactor = Redactor(("shirt", "", "linen"))

    assert redactor.data(b'[{"name": "linen shirt"}]') == b'[{"name": "linen shirt"}]'
    assert redactor.raw(b"your key linen is wrong") == b"your key [secret] is wrong"
    assert redactor.text("your key shirt is wrong") == "your key [secret] is wrong"


def test_of_secrets_that_overlap_the_longest_goes() -> None:
    # The last begins with what the other is in a URL.
    for pair in (
        ("ck_canary", "ck_canary_more"),
        ("a_canary_more", "canary_more"),
        ("%63k_canary", "ck_"),
    ):
        redactor = Redactor(pair)
        assert redactor.text(f"<{max(pair, key=len)}>") == "<[secret]>"
        assert redactor.text(f"<{min(pair, key=len)}>") == "<[secret]>"


def test_a_secret_of_the_shortest_length_goes_whole() -> None:
    key = "ck_4567890aX"

    assert Redactor((key,)).data(f"[{key}]".encode()) == b"[[secret]]"
    assert Redactor((key,)).text(f"ck_456\\7890aX and {key}") == "ck_456\\7890aX and [secret]"


def test_no_secret_at_all_changes_nothing() -> None:
    assert Redactor(()).text("anything") == "anything"


def test_a_usable_answer_is_redacted_before_anybody_sees_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CANARY_KEY", KEY)
    monkeypatch.setenv("CANARY_SECRET", SECRET)

    def echo(request: httpx.Request) -> httpx.Response:
        return reply([{"id": 1, "name": request.headers["authorization"], "sku": KEY}])

    with StoreClient(store(), transport=httpx.MockTransport(echo)) as client:
        answer = client.get("/wp-json/wc/v3/products", expect=list)

    assert answer.data[0]["sku"] == "[secret]"
    assert answer.data[0]["name"].startswith("Basic [secret]")
    assert json.loads(answer.body) == answer.data


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_in_an_encoding_of_wide_letters_is_redacted_too(
    monkeypatch: pytest.MonkeyPatch, encoding: str, status: int
) -> None:
    monkeypatch.setenv("CANARY_KEY", KEY)
    monkeypatch.setenv("CANARY_SECRET", SECRET)
    said = [{"id": 1, "name": f"Caf\u00e9 {KEY}"}] if status == 200 else {"code": f"x{KEY}"}
    body = json.dumps(said, ensure_ascii=False).encode(encoding)
    answering = httpx.MockTransport(lambda _request: httpx.Response(status, content=body))

    with StoreClient(store(), transport=answering, retry_waits=()) as client:
        if status == 500:
            with pytest.raises(StoreUnavailableError, match=r"answered 500 x\[secret\]"):
                client.get("/wp-json/wc/v3/products", expect=list)
            return
        answer = client.get("/wp-json/wc/v3/products", expect=list)
    assert answer.data == [{"id": 1, "name": "Caf\u00e9 [secret]"}]
    assert json.loads(answer.body.decode("utf-8")) == answer.data


def test_facts_and_their_block_are_without_secrets_and_otherwise_the_same() -> None:
    said = f"said {KEY}"
    block = Block(
        by="Sucuri",
        moment=datetime(2026, 11, 20, tzinfo=UTC),
        method="GET",
        url="https://shop.example.com/",
        status=403,
        answered=said,
        headers=(("server", said), ("x-sucuri-id", "7")),
        rules=(said, "Block ID: 9"),
        user_agent="catalog",
    )
    facts = Facts(status=403, message=said, location=said)

    assert Redactor((KEY,)).facts(facts) == replace(
        facts, message="said [secret]", location="said [secret]"
    )
    assert Redactor((KEY,)).facts(replace(facts, block=block)).block == replace(
        block,
        answered="said [secret]",
        headers=(("server", "said [secret]"), ("x-sucuri-id", "7")),
        rules=("said [secret]", "Block ID: 9"),
    )
