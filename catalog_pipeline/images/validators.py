"""What is kept of an answer so that a later request can ask whether the picture has changed.

Validators are a stranger's text that goes into the database, so one that holds a key of the store
is not kept: the picture is fetched whole the next time.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from catalog_pipeline.stores import MissingSecretError, StoreConfig

_LONGEST = 512
# The spellings that JSON and URLs have for a character of ASCII.
_ESCAPED = re.compile(r"(?:\\u00|%)([2-7][0-9a-fA-F])")


class Validators:
    """Tells which validators of a store's answers may be kept."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Keep none that holds one of these; Base64 is found without its padding too."""
        self._secrets = [found for secret in secrets if (found := secret.rstrip("="))]

    @classmethod
    def of(cls, store: StoreConfig) -> Validators:
        """By a store's keys, where they can be read; what was never sent cannot come back."""
        try:
            key = store.consumer_key.read("consumer_key")
            secret = store.consumer_secret.read("consumer_secret")
        except MissingSecretError:
            return cls(())
        return cls((key, secret, base64.b64encode(f"{key}:{secret}".encode()).decode()))

    def kept(self, value: bytes | None) -> str | None:
        """A header's value as it is to be sent back; None for none, or one that is not kept."""
        if not value or len(value) > _LONGEST:
            return None
        text = value.decode("latin-1")
        plain = _ESCAPED.sub(lambda one: chr(int(one[1], 16)), text.replace("\\/", "/"))
        is_secret = any(secret in text or secret in plain for secret in self._secrets)
        return None if is_secret else text
