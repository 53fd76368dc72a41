"""What a store's API answered, and the two ways in which that can be no answer.

The errors carry facts, so that a check can say what is wrong in the store owner's words; no
message, fact or repr holds a key.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import httpx

from catalog_pipeline.errors import PermanentError, TransientError
from catalog_pipeline.products.firewall import (
    Block,
    blocked_by,
    rules_named,
    telling_headers,
)

_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{0,200})", re.IGNORECASE)
# Controls, surrogates, and what is not seen or turns the direction of what follows.
_UNPRINTABLE = re.compile(
    r"[^\x20-\x7e\xa0-\u200a\u2010-\u2027\u202f-\u205f\u2070-\ud7ff\ue000-\ufefe\uff00-\ufffd]+"
)
_WORDPRESS = re.compile(rb"wp-content|wp-includes|api\.w\.org|WordPress")


class Trouble(StrEnum):
    """Why there is no answer to work with."""

    DNS = "dns"
    CONNECTION_REFUSED = "connection refused"
    TLS = "tls"
    TIMEOUT = "timeout"
    BROKEN = "broken connection"
    BAD_ADDRESS = "bad address"
    GUARDED = "refused by the guard"
    THROTTLED = "throttled"
    SERVER_ERROR = "server error"
    NOT_JSON = "not json"
    UNEXPECTED_JSON = "unexpected json"
    TOO_LARGE = "too large"
    REDIRECTED = "redirected"
    DENIED = "denied"
    FIREWALL = "firewall"


@dataclass(frozen=True)
class Facts:
    """What is known of an answer that could not be used; everything is fit to be shown."""

    status: int | None = None
    code: str | None = None
    message: str | None = None
    looks_like: str | None = None
    location: str | None = None
    server: str | None = None
    is_wordpress: bool = False
    block: Block | None = None


@dataclass(frozen=True)
class Answer:
    """A usable answer: its body as it came, but in UTF-8 and without keys, and the JSON in it."""

    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)
    data: Any = field(repr=False)

    def number(self, header: str) -> int | None:
        """A header such as X-WP-Total as a number; None where it is absent or nonsense."""
        text = self.headers.get(header, "").strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


class StoreRefusedError(PermanentError):
    """The store's answer will be the same next time."""

    def __init__(self, sentence: str, trouble: Trouble, facts: Facts) -> None:
        super().__init__(sentence)
        self.trouble = trouble
        self.facts = facts
        self.report = facts.block.report if facts.block else None


class StoreUnavailableError(TransientError):
    """The store gave no usable answer, however often it was asked."""

    def __init__(
        self, sentence: str, trouble: Trouble, facts: Facts, *, retry_after: float | None = None
    ) -> None:
        super().__init__(sentence)
        self.trouble = trouble
        self.facts = facts
        self.retry_after = retry_after


@dataclass(frozen=True)
class Asked:
    """The request of an answer: method, address, what the store saw this client as, and when."""

    method: str
    url: str
    user_agent: str
    moment: datetime


def examine(
    asked: Asked, status: int, headers: httpx.Headers, body: bytes, data: Any, *, too_deep: bool
) -> Facts:
    """Facts about an answer that could not be used.

    Args:
        asked: what it answers.
        status: of the answer.
        headers: of the answer.
        body: of the answer.
        data: the JSON in it, or None.
        too_deep: there is JSON in it that is nested too deeply to be read.
    """
    head = body[:8_192]
    is_html = data is None and (
        "html" in headers.get("content-type", "") or b"<html" in head.lower()
    )
    error = data if isinstance(data, dict) else {}
    code = shown(error.get("code"), 100)
    looks_like = (
        "JSON that is nested too deeply to be read"
        if too_deep
        else _looks_like(head, data, is_html=is_html)
    )
    is_wordpress = bool(_WORDPRESS.search(body[:262_144])) or "api.w.org" in headers.get("link", "")
    by = blocked_by(status, headers, body, is_wordpress=is_wordpress, has_code=code is not None)
    return Facts(
        status=status,
        code=code,
        message=shown(error.get("message"), 300),
        looks_like=looks_like,
        location=shown(headers.get("location"), 300),
        server=shown(headers.get("server"), 100),
        is_wordpress=is_wordpress,
        block=None
        if by is None
        else Block(
            by=by or None,
            moment=asked.moment,
            method=asked.method,
            url=asked.url,
            status=status,
            answered=looks_like,
            headers=tuple(
                (name, shown(value, 120) or "") for name, value in telling_headers(headers)
            ),
            rules=tuple(shown(rule, 120) or "" for rule in rules_named(body)),
            user_agent=asked.user_agent,
        ),
    )


def judge(where: str, status: int, facts: Facts) -> StoreRefusedError | StoreUnavailableError:
    """What an answer comes to that could not be used; whether asking again may help is its type.

    Args:
        where: the store and the address that was asked.
        status: of the answer.
        facts: about it, without secrets.
    """
    if facts.block is not None:
        return StoreRefusedError(f"{where}: {facts.block.sentence}", Trouble.FIREWALL, facts)
    answered = f"{where} answered {status}"
    said = f" {facts.code}: {facts.message}" if facts.code else f" with {facts.looks_like}"
    if status == 429:
        return StoreUnavailableError(answered + said, Trouble.THROTTLED, facts)
    if status == 408 or status >= 500:
        return StoreUnavailableError(answered + said, Trouble.SERVER_ERROR, facts)
    if 200 <= status < 300:
        is_json = facts.code is not None or (facts.looks_like or "").startswith("a JSON ")
        trouble = Trouble.UNEXPECTED_JSON if is_json else Trouble.NOT_JSON
        return StoreUnavailableError(f"{answered}{said} instead of data", trouble, facts)
    if 300 <= status < 400:
        target = f" to {facts.location}" if facts.location else ""
        return StoreRefusedError(
            f"{answered}, a redirect{target}; keys never follow one, so `url` must be the "
            "address that answers itself",
            Trouble.REDIRECTED,
            facts,
        )
    return StoreRefusedError(answered + said, Trouble.DENIED, facts)


def shown(value: object, limit: int) -> str | None:
    """A stranger's text on one line, without what a terminal or a log could stumble over."""
    if not isinstance(value, (str, int)) or value == "":
        return None
    text = html.unescape(re.sub(r"<[^>]{0,500}>", "", str(value)[: limit * 4]))
    return " ".join(_UNPRINTABLE.sub(" ", text).split())[:limit]


def _looks_like(head: bytes, data: Any, *, is_html: bool) -> str:
    if not head.strip():
        return "an empty body"
    if data is not None:
        return "a JSON object" if isinstance(data, dict) else f"a JSON {type(data).__name__}"
    text = head.decode("utf-8", "replace")
    beginning = f"beginning '{shown(text, 60) or ''}'"
    if is_html:
        title = _TITLE.search(text)
        named = shown(title[1], 100) if title else None
        return f"an HTML page titled '{named}'" if named else f"an HTML page {beginning}"
    if text.lstrip("\ufeff \r\n\t").startswith(("{", "[")):
        return "JSON that is cut off or malformed"
    return f"text {beginning}"
