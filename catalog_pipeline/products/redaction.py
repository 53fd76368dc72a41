"""Keys taken out of what a store answers, wherever it repeats them.

A store knows its keys, and debugging plug-ins, error pages and firewalls send back the request with
its headers. What is archived, logged or said must not hold them. Recognised are the spellings that
JSON and URLs have for the same text; whoever encodes a key in another way is not found out.
"""

from __future__ import annotations

import re
from binascii import a2b_qp
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from catalog_pipeline.products.answers import Facts

_REDACTED = "[secret]"
# A shorter one may be part of any word, and a user's name in place of a key is one. WooCommerce's
# keys have 43 characters, WordPress's application passwords 24.
_UNMISTAKABLE = 12
# One after the other: an expression that begins with fixed letters is many times as fast.
_ESCAPED = (
    re.compile(rb"\\u00([2-7][0-9a-fA-F])"),
    re.compile(rb"%([2-7][0-9a-fA-F])"),
)
# More escapes than a page of products has: each costs a call, and a store may send millions.
_MANY = 10_000
# Escapes as quoted-printable writes them, and nothing else that has a meaning there.
_QUOTED = bytes.maketrans(b"%=\r\n", b"=\x01  ")
_UNQUOTED = bytes.maketrans(b"%\x01", b"==")


class Redactor:
    """Replaces secrets by a word that says so."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Look for these; Base64 ones without their padding, which is often lost."""
        # The longest first: a short one may be part of another.
        found = sorted({one.rstrip("=") for one in secrets} - {""}, key=len, reverse=True)
        # One expression each: together they have no first letters that could be searched for.
        self._in_bytes = [re.compile(_spellings(one).encode()) for one in found]
        self._in_text = re.compile("|".join(map(_spellings, found)) or "(?!)")
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
        # An expression takes ten times as long, so it is kept for the answers that need it.
        if not any(secret in content for secret in secrets) and not _hides(content, secrets):
            return content
        for pattern in self._in_bytes:
            content = pattern.sub(_REDACTED.encode(), content)
        return content


def _spellings(secret: str) -> str:
    return "".join(
        rf"(?:{'' if one.isalnum() else chr(92) * 2 + '?'}{re.escape(one)}"
        rf"|\\u00(?i:{ord(one):02x})|%(?i:{ord(one):02x}))"
        for one in secret
    )


def _hides(content: bytes, secrets: list[bytes]) -> bool:
    """Whether one of the secrets is there, once escapes are written out."""
    flat = content.replace(b"\\/", b"/")
    for escaped in _ESCAPED:
        flat, found = escaped.subn(_unescaped, flat, count=_MANY)
        if found == _MANY:
            return _hides_among_many(content, secrets)
    return any(secret in flat for secret in secrets)


def _hides_among_many(content: bytes, secrets: list[bytes]) -> bool:
    flat = content.replace(b"\\/", b"/").replace(b"\\u00", b"%")
    # Two in a row would mean one; done twice, because the second may begin the next two.
    flat = flat.replace(b"%%", b"%\x01%").replace(b"%%", b"%\x01%")
    flat = a2b_qp(flat.translate(_QUOTED)).translate(_UNQUOTED)
    return any(secret.translate(_UNQUOTED) in flat for secret in secrets)


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 16)])
