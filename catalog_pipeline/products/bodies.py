"""JSON out of bodies that a web server may have touched on the way.

The walk and every later reading of the archive must agree on what a body says, so both ask here.
"""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import islice
from typing import Any

import pydantic_core

# What Python itself reads as an integer. A longer one, which nothing here has a use for, counts as
# a float: one number must not cost the page.
_LONGEST_INTEGER = 4_300
_DECODER = json.JSONDecoder(
    parse_int=lambda digits: int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)
)
_START = re.compile(r"[\[{]")
# Notices of PHP come first and name files and indexes in brackets of their own.
_PREFIX_CHARS = 65_536
_MOST_STARTS = 64
# Bytes that all attempts together may read, so that no body is read sixty times over.
_MOST_EFFORT = 32 * 1024 * 1024
# As deep as the first reader goes. The second one would go as deep as the stack of its caller has
# room, and accept today what a replay refuses.
_DEEPEST = 200


# What each value but one brings with it; some values bring two.
_STRUCTURE = (b"{", b"[", b",")
_TO_NEXT_OUTSIDE_TEXTS = r'(?:[^"{\[,]++|"(?:[^"\\]++|\\.)*+"?)*+[{\[,]'


class TooDeepError(ValueError):
    """JSON that is nested more deeply than any product."""


class TooManyValuesError(ValueError):
    """JSON of so many values that reading it would take many times its length of memory."""


def parse_json(body: bytes, *, most_values: int | None = None) -> Any:
    """The JSON value of a body, behind a byte order mark or PHP notices if need be.

    Nothing but white space may follow the value. Lone surrogates are kept; a body that is not
    Unicode is read as Windows-1252, as browsers do.

    Args:
        body: as it came.
        most_values: as many may be in it, roughly; what stands in texts is not counted, unless
            something stands before the JSON.

    Raises:
        TooDeepError: it is nested too deeply.
        TooManyValuesError: there are more values in it.
        ValueError: there is no JSON in it.
    """
    is_crowded = False
    # A page of products is shorter than that, so it is not even counted.
    if most_values is not None and len(body) > most_values:
        is_crowded = sum(map(body.count, _STRUCTURE)) > most_values
        if is_crowded and _more_than(most_values).match(body):
            raise TooManyValuesError("not read: too many values")
    try:
        return pydantic_core.from_json(body)
    except ValueError:
        if is_crowded:
            # Where the JSON begins, and so what is text in it, is not known yet.
            raise TooManyValuesError("not read: too many values") from None
    text = _decode(body).lstrip("\ufeff")
    starts = min(_MOST_STARTS, 1 + _MOST_EFFORT // (len(text) + 1))
    for start in islice(_START.finditer(text, 0, _PREFIX_CHARS), starts):
        try:
            value, end = _DECODER.raw_decode(text, start.start())
        except RecursionError:
            raise TooDeepError("not read: nested too deeply") from None
        except ValueError:
            continue
        if not text[end:].strip():
            if _is_too_deep(value):
                raise TooDeepError("not read: nested too deeply")
            return value
    raise ValueError("not JSON")


def in_utf8(body: bytes) -> bytes:
    """A body in UTF-16 or UTF-32 as UTF-8, any other as it came.

    Everything that looks for something in the bytes of a body relies on letters being themselves.
    """
    encoding = json.detect_encoding(body)
    if not encoding.startswith(("utf-16", "utf-32")):
        return body
    return body.decode(encoding, "replace").encode()


@cache
def _more_than(number: int) -> re.Pattern[bytes]:
    # Possessive throughout: it goes over a body once, and keeps nothing of it.
    pattern = f"(?:{_TO_NEXT_OUTSIDE_TEXTS}){{{number + 1}}}+"
    return re.compile(pattern.encode(), re.DOTALL)


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def _decode(body: bytes) -> str:
    encoding = json.detect_encoding(body)
    try:
        return body.decode(encoding)
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")
