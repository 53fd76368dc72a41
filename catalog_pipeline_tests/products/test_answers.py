"""What is made of an answer that cannot be used: its facts, and the verdict on them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from catalog_pipeline.products.answers import (
    Answer,
    Asked,
    Facts,
    StoreRefusedError,
    StoreUnavailableError,
    Trouble,
    examine,
    judge,
    shown,
)
from catalog_pipeline.products.firewall import Block

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
ASKED = Asked("GET", "https://shop.example.com/p", "catalog/1.0", NOON)
WHERE = "store atelier: https://shop.example.com/p"
HTML = {"content-type": "text/html; charset=UTF-8"}
LONG = "x" * 400


def facts_of(
    body: bytes | str = b"",
    *,
    status: int = 500,
    headers: dict[str, str] | None = None,
    data: Any = None,
    too_deep: bool = False,
) -> Facts:
    content = body.encode() if isinstance(body, str) else body
    given = httpx.Headers(headers or {})
    return examine(ASKED, status, given, content, data, too_deep=too_deep)


def of_json(data: Any) -> Facts:
    return facts_of(json.dumps(data), data=data)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("999999999", 999_999_999),
        ("1000000000", None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("many", None),
        ("²", None),
        ("١٢", None),
        (None, None),
    ],
)
def test_a_total_is_a_plain_number_or_none(text: str | None, number: int | None) -> None:
    headers = httpx.Headers([] if text is None else [(b"X-WP-Total", text.encode())])
    assert Answer(headers, b"", None).number("x-wp-total") == number


@pytest.mark.parametrize(
    ("body", "headers", "looks_like"),
    [
        ("", {}, "an empty body"),
        (" \r\n\t", HTML, "an empty body"),
        ("soon back", HTML, "an HTML page beginning 'soon back'"),
        ("<p>Soon <b>back</b>", HTML, "an HTML page beginning 'Soon back'"),
        ("<HTML><title>Down</title>", {}, "an HTML page titled 'Down'"),
        ("<html><title> </title>", {}, "an HTML page beginning ''"),
        (f"<html><title>{LONG[:150]}</title>", {}, f"an HTML page titled '{LONG[:100]}'"),
        ("<html lang='en'><p>hi", {"content-type": "text/plain"}, "an HTML page beginning 'hi'"),
        (f"{' ' * 9_000}<html>", {}, "an empty body"),
        (LONG, {}, f"text beginning '{LONG[:60]}'"),
        (b"caf\xe9 \xff", {"content-type": "text/plain"}, "text beginning 'caf\ufffd \ufffd'"),
        ('{"id": 1', {}, "JSON that is cut off or malformed"),
        ('\ufeff \r\n\t[{"id": 1', {}, "JSON that is cut off or malformed"),
        ("X[1", {}, "text beginning 'X[1'"),
    ],
)
def test_a_body_without_data_is_described(
    body: bytes | str, headers: dict[str, str], looks_like: str
) -> None:
    assert facts_of(body, headers=headers) == Facts(500, looks_like=looks_like)


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        ({}, Facts(500, looks_like="a JSON object")),
        ([], Facts(500, looks_like="a JSON list")),
        (7, Facts(500, looks_like="a JSON int")),
        ({"code": "", "message": ""}, Facts(500, looks_like="a JSON object")),
        ({"code": [1], "message": {}}, Facts(500, looks_like="a JSON object")),
        ({"code": 5, "message": "<b>no</b>"}, Facts(500, "5", "no", "a JSON object")),
        ({"code": LONG, "message": LONG}, Facts(500, LONG[:100], LONG[:300], "a JSON object")),
    ],
)
def test_an_error_object_tells_its_code_and_its_message(data: Any, facts: Facts) -> None:
    assert of_json(data) == facts


def test_json_with_html_in_it_or_a_wrong_type_is_json() -> None:
    data = {"message": "<html>"}
    found = facts_of(json.dumps(data), headers=HTML, data=data)
    assert (found.looks_like, found.message) == ("a JSON object", "")


def test_json_that_is_too_deep_is_called_so() -> None:
    found = facts_of("[[[", too_deep=True)
    assert found.looks_like == "JSON that is nested too deeply to be read"


@pytest.mark.parametrize(
    ("body", "headers", "is_wordpress"),
    [
        ("<link href=/wp-content/x.css>", {}, True),
        ("<script src=/wp-includes/x.js>", {}, True),
        ("<b>WordPress</b>", {}, True),
        ("", {"link": '<https://s.example.com/wp-json/>; rel="https://api.w.org/"'}, True),
        (f"{' ' * 262_134}wp-content", {}, True),
        (f"{' ' * 262_135}wp-content", {}, False),
        ("<b>Drupal</b>", {"link": "<x>; rel=next"}, False),
    ],
)
def test_a_page_of_wordpress_is_told_by_its_body_or_a_header(
    body: str, headers: dict[str, str], is_wordpress: bool
) -> None:
    assert facts_of(body, headers=headers).is_wordpress is is_wordpress


def test_where_it_points_is_told_in_part() -> None:
    found = facts_of(headers={"Location": f"https://{LONG}"})
    assert found.location == f"https://{LONG}"[:300]


def test_a_block_is_told_with_what_leads_to_it() -> None:
    body = f"<html><title>Blocked</title>Incident ID: {LONG[:90]} generated by wordfence"
    headers = {"server": LONG, "cf-ray": "", "set-cookie": "secret", "x-request-id": "r-1"}
    found = facts_of(body, status=403, headers=headers)
    answered = "an HTML page titled 'Blocked'"
    assert found == Facts(
        403,
        looks_like=answered,
        server=LONG[:100],
        block=Block(
            by="Wordfence",
            moment=NOON,
            method="GET",
            url="https://shop.example.com/p",
            status=403,
            answered=answered,
            headers=(("server", LONG[:120]), ("cf-ray", ""), ("x-request-id", "r-1")),
            rules=(f"Incident ID: {LONG[:90]} generated",),
            user_agent="catalog/1.0",
        ),
    )
    nobody = facts_of("no", status=403)
    assert nobody.block is not None
    assert nobody.block.by is None, "somebody, who cannot be told"
    assert facts_of("<b>WordPress</b>", status=403).block is None, "WordPress refuses by itself"
    coded = {"code": "rest_forbidden", "message": "generated by wordfence"}
    assert facts_of(json.dumps(coded), status=403, data=coded).block is None


CODED = Facts(code="no", message="not so")
BARE = Facts(looks_like="an empty body")


@pytest.mark.parametrize(
    ("status", "facts", "error", "trouble", "sentence"),
    [
        (429, CODED, StoreUnavailableError, Trouble.THROTTLED, "answered 429 no: not so"),
        (429, BARE, StoreUnavailableError, Trouble.THROTTLED, "answered 429 with an empty body"),
        (408, BARE, StoreUnavailableError, Trouble.SERVER_ERROR, "answered 408 with an empty body"),
        (500, CODED, StoreUnavailableError, Trouble.SERVER_ERROR, "answered 500 no: not so"),
        (599, BARE, StoreUnavailableError, Trouble.SERVER_ERROR, "answered 599 with an empty body"),
        (
            *(200, CODED, StoreUnavailableError, Trouble.UNEXPECTED_JSON),
            "answered 200 no: not so instead of data",
        ),
        (
            *(200, Facts(looks_like="a JSON list"), StoreUnavailableError, Trouble.UNEXPECTED_JSON),
            "answered 200 with a JSON list instead of data",
        ),
        (
            *(299, BARE, StoreUnavailableError, Trouble.NOT_JSON),
            "answered 299 with an empty body instead of data",
        ),
        (
            *(200, Facts(), StoreUnavailableError, Trouble.NOT_JSON),
            "answered 200 with None instead of data",
        ),
        (
            *(300, BARE, StoreRefusedError, Trouble.REDIRECTED),
            "answered 300, a redirect; keys never follow one, so `url` must be the address that "
            "answers itself",
        ),
        (
            *(399, Facts(location="/x"), StoreRefusedError, Trouble.REDIRECTED),
            "answered 399, a redirect to /x; keys never follow one, so `url` must be the address "
            "that answers itself",
        ),
        (400, BARE, StoreRefusedError, Trouble.DENIED, "answered 400 with an empty body"),
        (401, CODED, StoreRefusedError, Trouble.DENIED, "answered 401 no: not so"),
        (199, BARE, StoreRefusedError, Trouble.DENIED, "answered 199 with an empty body"),
    ],
)
def test_what_an_answer_comes_to(
    status: int, facts: Facts, error: type[Exception], trouble: Trouble, sentence: str
) -> None:
    found = judge(WHERE, status, facts)
    assert type(found) is error
    assert (found.trouble, found.facts, str(found)) == (trouble, facts, f"{WHERE} {sentence}")


def test_a_block_is_refused_with_a_report_to_forward() -> None:
    facts = facts_of("no", status=403)
    found = judge(WHERE, 403, facts)
    assert isinstance(found, StoreRefusedError)
    assert facts.block is not None
    assert (found.trouble, found.report) == (Trouble.FIREWALL, facts.block.report)
    assert str(found) == f"{WHERE}: {facts.block.sentence}"
    denied = judge(WHERE, 401, CODED)
    assert isinstance(denied, StoreRefusedError)
    assert denied.report is None


def test_how_long_to_wait_is_kept() -> None:
    assert StoreUnavailableError("x", Trouble.THROTTLED, BARE, retry_after=3.0).retry_after == 3.0
    assert StoreUnavailableError("x", Trouble.THROTTLED, BARE).retry_after is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("  plain \n text ", "plain text"),
        ("<b class='x'>bold</b> &amp; more", "bold & more"),
        ("\x1b[31mred\x07", "[31mred"),
        ("a\u202eb\u200bc\u2066d\ufeffe\u2028f", "a b c d e f"),
        ("caf\xe9 \ue000", "caf\xe9 \ue000"),
        ("lone \ud800", "lone"),
        (12, "12"),
        (0, "0"),
        ("", None),
        (None, None),
        ([], None),
        (1.5, None),
        ("é" * 90, "é" * 80),
        ("<i>" * 106 + "x23", "x2"),
    ],
)
def test_a_strangers_text_is_shown_on_one_line(value: object, text: str | None) -> None:
    assert shown(value, 80) == text
