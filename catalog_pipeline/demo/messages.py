"""Requests and responses as the sample stores see them, before and after any socket.

Faults work on these, so a response keeps its payload unserialised until it is sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

HTML: Final = "text/html; charset=UTF-8"
JSON: Final = "application/json; charset=UTF-8"


@dataclass(slots=True)
class Request:
    """One request to one store.

    `path` begins below the store's root, without a slash; header names are in `Title-Case`.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def parameters(self) -> dict[str, str]:
        """The query's parameters, the last of each name winning; `a[]` and `a[0]` gather in `a`."""
        found: dict[str, str] = {}
        for name, value in parse_qsl(self.query, keep_blank_values=True):
            base, bracket, _ = name.partition("[")
            found[base] = f"{found[base]},{value}" if bracket and base in found else value
        return found


@dataclass(slots=True)
class Response:
    """What a store answers.

    `payload` is bytes as they are, or anything that JSON can say. `chunked` sends it without a
    length, as PHP does. `kind` says what was asked for, for the counters. `cut_after` breaks the
    connection off after that many bytes of the body.
    """

    status: int
    payload: object = b""
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "html"
    chunked: bool = True
    cut_after: int | None = None

    def body(self) -> bytes:
        """The bytes of the body."""
        if isinstance(self.payload, bytes):
            return self.payload
        return json.dumps(self.payload, separators=(",", ":")).encode()
