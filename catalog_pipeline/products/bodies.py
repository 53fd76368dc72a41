"""JSON out of bodies that a web server may have touched on the way.

The walk and every later reading of the archive must agree on what a body says, so both ask here.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pydantic_core

_DECODER = json.JSONDecoder()
_START = re.compile(r"[\[{]")
# Notices of PHP come first and name files and indexes in brackets of their own.
_PREFIX_CHARS = 65_536
_MOST_STARTS = 64


def parse_json(body: bytes) -> Any:
    """The JSON value of a body, behind a byte order mark or PHP notices if need be.

    Nothing but white space may follow the value. Lone surrogates are kept; a body that is not
    Unicode is read as Windows-1252, as browsers do.

    Raises:
        ValueError: there is no JSON in it, or it is nested too deeply.
    """
    try:
        return pydantic_core.from_json(body)
    except ValueError:
        pass
    text = _decode(body).lstrip("\ufeff")
    for count, start in enumerate(_START.finditer(text, 0, _PREFIX_CHARS)):
        if count == _MOST_STARTS:
            break
        try:
            value, end = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            continue
        if not text[end:].strip():
            return value
    raise ValueError("not JSON")


def _decode(body: bytes) -> str:
    encoding = json.detect_encoding(body)
    try:
        return body.decode(encoding)
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")
