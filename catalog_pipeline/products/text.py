"""Plain text, URLs, numbers and dates out of what people type into a shop.

Everything here is total: any value that JSON can hold goes in, and a clean value or `None` comes
out; only `exact_price` refuses. Which field means what belongs in the source's models.
"""

from __future__ import annotations

import html
import re
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from urllib.parse import urljoin

import httpx

MAX_URL_BYTES = 2_048
_REPLACEMENT = "\ufffd"
# PostgreSQL's text cannot hold NUL, and UTF-8 cannot hold half a surrogate pair.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# Each alternative ends at the end of the text if nothing else ends it, so that no text, however
# hostile, is scanned twice.
_MARKUP = re.compile(
    r"<(?:!--.*?(?:-->|\Z)"
    r"|(?P<hidden>script|style|template)\b.*?(?:</(?P=hidden)\b[^>]*(?:>|\Z)|\Z)"
    r"|[/!?]?(?P<tag>[a-z][a-z0-9]*)?(?(tag)|(?<=[/!?]))[^>]*(?:>|\Z))",
    re.IGNORECASE | re.DOTALL,
)
_INLINE = frozenset(
    {
        "a",
        "abbr",
        "b",
        "bdi",
        "bdo",
        "cite",
        "code",
        "del",
        "em",
        "font",
        "i",
        "ins",
        "kbd",
        "mark",
        "q",
        "s",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "u",
        "var",
        "wbr",
    }
)
_PLAIN_URL = re.compile(
    r"https?://[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?"
    r"(?:[/?#][A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*)?"
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:[ ']\d{3})+(?:[.,]\d+)?|\d[\d.,]*)")
_DIGITS = 20


def storable(text: str) -> str:
    """The text with NUL and lone surrogates replaced by U+FFFD."""
    return _UNSTORABLE.sub(_REPLACEMENT, text)


def plain_text(markup: str, limit: int) -> str:
    """HTML as one line of text: tags and scripts dropped, entities read, white space folded.

    Args:
        markup: HTML, well-formed or not, or plain text.
        limit: characters to keep.
    """
    if markup.isprintable() and not any(sign in markup for sign in ("<", "&", "  ")):
        # Most names are nothing but text, and there are many.
        return markup.strip()[:limit].rstrip()
    text = _MARKUP.sub(_space_of, markup) if "<" in markup else markup
    if "&" in text:
        # A numeric entity beyond Python's limit on digits leaves the text as it is written.
        with suppress(ValueError):
            text = html.unescape(text)
    return " ".join(storable(text).split())[:limit].rstrip()


def _space_of(match: re.Match[str]) -> str:
    tag = match["tag"]
    return "" if tag and tag.lower() in _INLINE else " "


def absolute_url(value: object, base: str) -> str | None:
    """An http(s) URL in ASCII, a relative one resolved against `base`; None for anything else.

    A URL that carries credentials, or is longer than 2,048 bytes once encoded, counts as none.
    """
    text = value.strip() if isinstance(value, str) else ""
    if not text or len(text) > MAX_URL_BYTES:
        return None
    if _PLAIN_URL.fullmatch(text):
        return text
    try:
        url = httpx.URL(text if _SCHEME.match(text) else urljoin(base + "/", text))
        encoded = str(url)
    except (httpx.InvalidURL, ValueError):
        return None
    is_a_place = (
        url.scheme in {"http", "https"} and url.host and "%" not in url.host and not url.userinfo
    )
    return encoded if is_a_place and encoded.isascii() and len(encoded) <= MAX_URL_BYTES else None


def utc_moment(value: object) -> datetime | None:
    """An ISO 8601 date and time; one without a zone is taken as UTC, an unreadable one is None."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    # Years that some databases or clients cannot hold are as good as no date.
    return moment if 1900 <= moment.year <= 9998 else None


def exact_price(value: object) -> Decimal | None:
    """An exact price; None where the source gives none (`""`, null, false, absent).

    Read besides plain numbers: markup and currency signs around one number, spaces or apostrophes
    between thousands, and a comma where only one reading is possible (`1,99`, `1.234,50`,
    `1,234.50`).

    Raises:
        ValueError: it is no number, more than one, negative, or has two readings (`1,999`).
    """
    if value is None or value is False:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("is not a number")
    if not isinstance(value, str):
        return _exact(str(value))
    text = value.strip()
    if not text:
        return None
    try:
        return _exact(text)
    except InvalidOperation:
        text = plain_text(text, 1_000)
    numbers = _NUMBER.findall(text)
    if len(numbers) != 1:
        raise ValueError("is not a number" if not numbers else "holds more than one number")
    return _exact(_with_decimal_point(numbers[0]))


def _exact(text: str) -> Decimal:
    """Like Decimal, within the bounds that a database column and a payload can hold."""
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError("is not a number")
    if number < 0:
        raise ValueError("is negative")
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    if number.adjusted() >= _DIGITS or exponent < -_DIGITS:
        raise ValueError("has too many digits")
    return Decimal(f"{number:f}")


def _with_decimal_point(number: str) -> str:
    bare = re.sub(r"[' ]", "", number).rstrip(".,")
    comma, point = bare.rfind(","), bare.rfind(".")
    if comma < 0:
        if bare.count(".") > 1:
            raise ValueError("can be read in two ways")
        return bare
    if point < 0:
        if bare.count(",") > 1 or len(bare) - comma - 1 == 3:
            raise ValueError("can be read in two ways")
        return bare.replace(",", ".")
    decimal, thousands = (",", ".") if comma > point else (".", ",")
    if bare.count(decimal) > 1:
        raise ValueError("can be read in two ways")
    return bare.replace(thousands, "").replace(decimal, ".")
