"""Keys taken out of what a store answers, wherever it repeats them.

A store knows its keys, and debugging plug-ins, error pages and firewalls send back the request with
its headers. What is archived, logged or said must not hold them. Recognised are the spellings that
JSON and URLs have for the same text; whoever encodes a key in another way is not found out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from catalog_pipeline.products.answers import Facts

_REDACTED = "[secret]"
# A key too short to be one may be part of any word; WooCommerce's have 43 characters.
_UNMISTAKABLE = 12
# One after the other: an expression that begins with fixed letters is many times as fast.
_ESCAPED = (
    re.compile(rb"\\u00([2-7][0-9a-fA-F])"),
    re.compile(rb"%([2-7][0-9a-fA-F])"),
)


class Redactor:
    """Replaces secrets by a word that says so."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Look for these; Base64 ones without their padding, which is often lost."""
        # The longest first: a short one may be part of another.
        found = sorted({one.rstrip("=") for one in secrets} - {""}, key=len, reverse=True)
        pattern = "|".join(map(_spellings, found)) or "(?!)"
        self._in_text = re.compile(pattern)
        self._in_bytes = re.compile(pattern.encode())
        self._all = [one.encode() for one in found]
        self._unmistakable = [one for one in self._all if len(one) >= _UNMISTAKABLE]

    def text(self, text: str) -> str:
        """A text without secrets."""
        return self._in_text.sub(_REDACTED, text)

    def raw(self, content: bytes) -> bytes:
        """Anything that was answered, without secrets."""
        return self._without(content, self._all)

    def data(self, content: bytes) -> bytes:
        """What is to be archived: itself, unless it holds a secret that can be nothing else."""
        return self._without(content, self._unmistakable)

    def facts(self, facts: Facts) -> Facts:
        """Facts of an answer, once their markup is gone."""
        texts: dict[str, Any] = {
            name: self.text(value) for name, value in vars(facts).items() if isinstance(value, str)
        }
        if facts.block is not None:
            texts["block"] = replace(
                facts.block,
                answered=self.text(facts.block.answered),
                headers=tuple((name, self.text(value)) for name, value in facts.block.headers),
                rules=tuple(self.text(rule) for rule in facts.block.rules),
            )
        return replace(facts, **texts)

    def _without(self, content: bytes, secrets: list[bytes]) -> bytes:
        # The expression takes 0.2 s a megabyte, so it is kept for the answers that need it.
        flat = content.replace(b"\\/", b"/")
        for escaped in _ESCAPED:
            flat = escaped.sub(_unescaped, flat)
        if not any(secret in content or secret in flat for secret in secrets):
            return content
        return self._in_bytes.sub(_REDACTED.encode(), content)


def _spellings(secret: str) -> str:
    return "".join(
        rf"(?:{'' if one.isalnum() else chr(92) * 2 + '?'}{re.escape(one)}"
        rf"|(?:\\u00|%)(?i:{ord(one):02x}))"
        for one in secret
    )


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 16)])
