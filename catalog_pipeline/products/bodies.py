"""JSON out of bodies that a web server may have touched on the way.

The walk and every later reading of the archive must agree on what a body says, so both ask here.
"""

from __future__ import annotations

import json
import re
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


class TooDeepError(ValueError):
    """JSON that is nested more deeply than any product."""


def parse_json(body: bytes) -> Any:
    """The JSON value of a body, behind a byte order mark or PHP notices if need be.

    Nothing but white space may follow the value. Lone surrogates are kept; a body that is not
    Unicode is read as Windows-1252, as browsers do.

    Raises:
        TooDeepError: it is nested too deeply.
        ValueError: there is no JSON in it.
    """
    try:
        return pydantic_core.from_json(body)
    except ValueError:
        pass
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
