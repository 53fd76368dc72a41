"""API keys of the sample stores, and what WooCommerce makes of an Authorization header.

The keys open nothing but generated catalogues on loopback. Basic authentication is accepted over
plain HTTP here, which a real store only does over TLS.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Literal

Permission = Literal["read", "write", "read_write"]


def derived_key(prefix: str, name: str) -> str:
    """A key in WooCommerce's form (`ck_` or `cs_` and 40 hexadecimal digits), always the same."""
    return prefix + hashlib.sha256(f"sample stores {prefix}{name}".encode()).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key pair; `role` is the WordPress role of the user that it belongs to."""

    key: str
    secret: str
    permission: Permission = "read"
    role: Literal["shop_manager", "customer"] = "shop_manager"

    @classmethod
    def named(
        cls,
        name: str,
        permission: Permission = "read",
        role: Literal["shop_manager", "customer"] = "shop_manager",
    ) -> ApiKey:
        """The key pair that always belongs to this name."""
        return cls(derived_key("ck_", name), derived_key("cs_", name), permission, role)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a key's owner, nobody (`key` is None), or someone refused outright (`refusal`)."""

    key: ApiKey | None = None
    refusal: str | None = None

    @property
    def may_view(self) -> bool:
        """Whether products may be shown to this caller."""
        return self.key is not None and self.key.role == "shop_manager"


class Keyring:
    """The keys that a site knows."""

    def __init__(self, *keys: ApiKey) -> None:
        self._keys = {key.key: key for key in keys}

    def add(self, key: ApiKey) -> None:
        """Let this key in from now on."""
        self._keys[key.key] = key

    def revoke(self, key: str) -> None:
        """Forget a key, as a shop's owner may at any time."""
        self._keys.pop(key, None)

    def caller(self, authorization: str, method: str) -> Caller:
        """Who sent this Authorization header, as WooCommerce sees it.

        An unknown key is nobody; a known one with a wrong secret or without the permission that
        the method needs is refused with WooCommerce's own sentence.
        """
        name, secret = _basic(authorization)
        key = self._keys.get(name)
        if key is None:
            return Caller()
        if not hmac.compare_digest(key.secret.encode(), secret.encode()):
            return Caller(refusal="Consumer secret is invalid.")
        wanted = "read" if method in ("GET", "HEAD", "OPTIONS") else "write"
        if wanted not in key.permission:
            return Caller(key, f"The API key provided does not have {wanted} permissions.")
        return Caller(key)


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, secret
