"""What `stores.yaml` says about each store.

The models here are the file's vocabulary: every key, its default and its limits. Reading the file
itself, with line numbers in the errors, is `stores_file.py`. Secrets are never held: a key names
where to read one, and it is read when a request is about to be made.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AnyHttpUrl,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from catalog_pipeline.errors import PermanentError

StoreId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Status = Literal["publish", "future", "draft", "pending", "private"]
Visibility = Literal["visible", "catalog", "search", "hidden"]
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class MissingSecretError(PermanentError):
    """A store's key is not where `stores.yaml` says it is; fails that store alone."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SecretSource(_Strict):
    """Where a secret is read from: an environment variable or a file, never a value."""

    env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    file: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_not_a_value(cls, data: object) -> object:
        if isinstance(data, str):
            # The value itself must not be repeated in the message.
            raise ValueError(
                "a secret is never written here; use {env: VARIABLE} or {file: /path/to/file}"
            )
        return data

    @model_validator(mode="after")
    def _names_one_place(self) -> SecretSource:
        if (self.env is None) == (self.file is None):
            raise ValueError("needs exactly one of env and file")
        return self

    def read(self, key: str) -> str:
        """The secret; `key` is the name in `stores.yaml`, for the message.

        Raises:
            MissingSecretError: the variable is unset or the file cannot be read, or it is empty.
        """
        if self.env is not None:
            value = os.environ.get(self.env, "").strip()
            if not value:
                raise MissingSecretError(f"{key}: the environment variable {self.env} is not set")
            return value
        assert self.file is not None
        try:
            value = self.file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise MissingSecretError(f"{key}: the file {self.file} cannot be read") from error
        if not value:
            raise MissingSecretError(f"{key}: the file {self.file} is empty")
        return value


class Rules(_Strict):
    """Lists that a product is matched against; slugs or names for categories and tags."""

    category: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    visibility: tuple[Visibility, ...] = ()


class QualityThresholds(_Strict):
    """The image gate's thresholds; a change re-judges stored measurements without a download.

    Units: sides and sharpness work in pixels and grey levels of 0-255, shares are 0-1.
    """

    max_bytes: int = Field(default=20_000_000, ge=1_000, le=100_000_000)
    max_pixels: int = Field(default=50_000_000, ge=10_000, le=200_000_000)
    min_side: int = Field(default=200, ge=1, le=10_000)
    max_aspect: float = Field(default=4.0, ge=1.0, le=100.0)
    min_contrast: float = Field(default=12.0, ge=0.0, le=128.0)
    min_brightness: float = Field(default=30.0, ge=0.0, le=255.0)
    max_brightness: float = Field(default=250.0, ge=0.0, le=255.0)
    min_sharpness: float = Field(default=2.0, ge=0.0)
    min_detail: float = Field(default=0.01, ge=0.0, le=1.0)


class StoreConfig(_Strict):
    """One store of `stores.yaml`, defaults applied."""

    id: StoreId
    source: Literal["woocommerce"] = "woocommerce"
    url: str
    consumer_key: SecretSource
    consumer_secret: SecretSource
    labels: dict[str, str] = Field(default_factory=dict)
    active: bool = True
    images: Literal["main"] = "main"
    statuses: tuple[Status, ...] = ("publish",)
    include: Rules = Rules()
    exclude: Rules = Rules(visibility=("hidden",))
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = None
    quality: QualityThresholds = QualityThresholds()
    requests_per_second: float = Field(default=5.0, gt=0, le=1_000)
    connections: int = Field(default=8, ge=1, le=64)
    user_agent: Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,256}$")] | None = None
    headers: dict[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")],
        Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{0,1024}$")],
    ] = Field(default_factory=dict)
    ca_file: Path | None = None
    allow_private_addresses: bool = False
    image_ports: tuple[Annotated[int, Field(ge=1, le=65_535)], ...] = (80, 443)

    @field_validator("url")
    @classmethod
    def _url_is_a_plain_site(cls, value: str) -> str:
        AnyHttpUrl(value)
        parts = urlsplit(value)
        if parts.username is not None or parts.password is not None:
            raise ValueError("holds credentials; use consumer_key and consumer_secret")
        if parts.query or parts.fragment:
            raise ValueError("must be the site's address without ? or #")
        return value.rstrip("/")

    @field_validator("headers")
    @classmethod
    def _headers_are_not_the_pipelines_own(cls, value: dict[str, str]) -> dict[str, str]:
        ours = {"authorization", "proxy-authorization", "cookie", "host", "content-length"}
        taken = sorted(name for name in value if name.lower() in ours)
        if taken:
            raise ValueError(f"{', '.join(taken)} cannot be set here")
        return value

    @model_validator(mode="after")
    def _keys_travel_encrypted(self) -> StoreConfig:
        parts = urlsplit(self.url)
        local = self.allow_private_addresses and parts.hostname in LOOPBACK_HOSTS
        if parts.scheme == "http" and not local:
            raise ValueError(
                "url: keys are only sent over https; http is for a store on loopback with "
                "allow_private_addresses: true"
            )
        return self
