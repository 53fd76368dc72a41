"""Pydantic's findings as sentences for the person who wrote the file or the variable.

Only wording belongs here. A sentence never repeats a value, because the value may be a secret that
was written in the wrong place.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from pydantic_core import ErrorDetails

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.:/ -]{1,40}")
_A_LIST = "must be a list, such as [first, second]"
_A_MAPPING = "must be a mapping, such as {key: value}"
_WRONG_KIND = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": _A_MAPPING,
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of sensible size",
    "int_type": "must be a whole number",
    "list_type": _A_LIST,
    "missing": "is missing",
    "model_type": _A_MAPPING,
    "string_unicode": "holds characters that are not valid Unicode",
    "tuple_type": _A_LIST,
}
_LIMITS = {
    "greater_than": ("gt", "must be greater than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}


def sentence(detail: ErrorDetails) -> str:
    """What is wrong, to be read after the name of the key: `must be at least 1`."""
    kind = detail["type"]
    if kind in _WRONG_KIND:
        return _WRONG_KIND[kind]
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        return f"{words} {detail['ctx'][name]}"
    if kind == "literal_error":
        return f"must be {detail['ctx']['expected'].replace(chr(39), '')}"
    if kind == "string_type":
        return _not_text(detail["input"])
    return detail["msg"].removeprefix("Value error, ")


def shown(name: str) -> str:
    """A name as it may stand in a message: short, printable, on one line."""
    return name if _PLAIN_NAME.fullmatch(name) else "…"


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that is not served, with the nearest one that is.

    Args:
        kind: what the name would be, such as `a key`.
        name: the name as written.
        known: the names that are served.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name[:64], names, n=1, cutoff=0.7)
    hint = f"did you mean {close[0]}?" if close else f"the known ones are {', '.join(names)}"
    return f"is not {kind}; {hint}"


def _not_text(value: object) -> str:
    read_as = {bool: "true or false", int: "a number", float: "a number", type(None): "nothing"}
    if type(value) in read_as:
        return f"must be text; YAML reads this as {read_as[type(value)]}, so put it in quotes"
    return "must be text"
