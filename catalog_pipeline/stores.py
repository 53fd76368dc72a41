"""What `stores.yaml` says about each store.

The models here are the file's vocabulary: every key, its default and its limits. Reading the file
itself, with line numbers in the errors, is `stores_file.py`. Secrets are never held: a key names
where to read one, and it is read when a request is about to be made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import httpx
from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from catalog_pipeline.errors import PermanentError

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
SECRET_KEYS = frozenset({"consumer_key", "consumer_secret"})
# Mappings that a store adds to, key by key, where `defaults:` has them too.
MERGED_KEYS = frozenset({"labels", "include", "exclude", "quality", "headers"})
# Headers that every request has from us, or that say how it travels: two of one would contradict
# each other, and what a server makes of that is its own.
_OWN_HEADERS = frozenset(
    {
        *("accept", "accept-encoding", "authorization", "connection", "content-length", "cookie"),
        *("expect", "host", "keep-alive", "proxy-authorization", "proxy-connection", "range", "te"),
        *("trailer", "transfer-encoding", "upgrade", "user-agent"),
    }
)
_INTERVAL = re.compile(r"([1-9]\d{0,4})([mhd])")
_MINUTES = {"m": 1, "h": 60, "d": 24 * 60}
_WOOCOMMERCE_KEY = re.compile(r"c[ks]_[0-9a-fA-F]{16,}")


class MissingSecretError(PermanentError):
    """A store's key is not where `stores.yaml` says it is; fails that store alone."""


def not_served(key: str, value: object) -> str | None:
    """Why a key of a store, or its value, cannot be used with this version; None if it can."""
    if key == "active" and not isinstance(value, bool):
        return "must be true or false; for a pause with an end use paused: {until: DATE}"
    if key == "source" and isinstance(value, str) and value != "woocommerce":
        return "is not served yet: the only source is woocommerce"
    return None


def _text(pattern: str, words: str) -> AfterValidator:
    """Text that matches as a whole, with words instead of the pattern in the message."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"must be {words}")
        return value

    return AfterValidator(check)


def _path(value: object, info: ValidationInfo) -> Path:
    """A path, taken from the folder in the validation context if it is relative."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("must be the path of a file")
    folder = (info.context or {}).get("folder")
    return Path(value) if folder is None else Path(folder).absolute() / value


def _interval(value: object) -> object:
    """15m, 1h or 1d as a timedelta."""
    if isinstance(value, timedelta):
        return value
    match = _INTERVAL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a number of minutes, hours or days, such as 15m, 1h or 1d")
    return timedelta(minutes=int(match[1]) * _MINUTES[match[2]])


def _interval_in_bounds(value: timedelta) -> timedelta:
    if not timedelta(minutes=1) <= value <= timedelta(days=30):
        raise ValueError("must be between 1m and 30d")
    return value


def _moment(value: object) -> object:
    """A date, or a date and time with a zone, as an aware datetime; a date means its first moment.

    YAML leaves both as text.
    """
    if isinstance(value, datetime):
        return value
    text = value.strip() if isinstance(value, str) else ""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None and len(text) == len("2026-12-01"):
            moment = moment.replace(tzinfo=UTC)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a date such as 2026-12-01, or a time such as 2026-12-01T08:00+01:00")


StoreId = Annotated[
    str,
    _text(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        "at most 63 lower-case letters, digits and hyphens, with no hyphen first or last",
    ),
]
Status = Literal["publish", "future", "draft", "pending", "private"]
Visibility = Literal["visible", "catalog", "search", "hidden"]
# A product's first picture, all of its pictures, or these and its variations'.
ImageChoice = Literal["main", "gallery", "all"]
Currency = Annotated[str, _text(r"[A-Z]{3}", "a currency code of three capitals, such as DKK")]
HeaderName = Annotated[str, _text(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", "a header's name")]
HeaderValue = Annotated[
    str, _text(r"[\x20-\x7e]{0,1024}", "at most 1024 printable ASCII characters")
]
UserAgent = Annotated[str, _text(r"[\x20-\x7e]{1,256}", "1 to 256 printable ASCII characters")]
Variable = Annotated[str, _text(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")]
File = Annotated[Path, BeforeValidator(_path)]
Interval = Annotated[timedelta, AfterValidator(_interval_in_bounds), BeforeValidator(_interval)]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )


class SecretSource(_Strict):
    """Where a secret is read from: an environment variable or a file, never a value."""

    env: Variable | None = None
    file: File | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_not_a_value(cls, data: object) -> object:
        if isinstance(data, SecretSource):
            return data
        # `{the-key-itself}` is a mapping to YAML, and a key given as the variable's name would be
        # repeated when the variable is not found.
        if (
            not isinstance(data, Mapping)
            or not data.keys() <= cls.model_fields.keys()
            or any(_WOOCOMMERCE_KEY.search(str(value)) for value in data.values())
        ):
            raise ValueError(
                "a secret is never written here; use {env: VARIABLE} or {file: /path/to/file}"
            )
        return data

    @model_validator(mode="after")
    def _names_one_place(self) -> SecretSource:
        if (self.env is None) == (self.file is None):
            raise ValueError("must have exactly one of env and file")
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

    Levels are 0 (black) to 255. Levels, detail and sharpness are those of a grey copy with its
    longest side at most 512 pixels. The defaults were fitted on photographs of clothing.
    """

    # Bytes of the file.
    max_bytes: int = Field(default=20_000_000, ge=1_000, le=100_000_000)
    # Width times height.
    max_pixels: int = Field(default=50_000_000, ge=10_000, le=200_000_000)
    # Pixels of the shorter side.
    min_side: int = Field(default=200, ge=1, le=10_000)
    # Longer side over shorter side.
    max_aspect: float = Field(default=4.0, ge=1.0, le=100.0, allow_inf_nan=False)
    # Blank: share of pixels that differ visibly from the median level.
    min_detail: float = Field(default=0.01, ge=0.0, le=1.0, allow_inf_nan=False)
    # Too dark: the brightest 1% of the pixels must reach this level. Not a mean: black cloth on a
    # black background is no fault.
    min_brightness: float = Field(default=55.0, ge=0.0, le=255.0, allow_inf_nan=False)
    # Too bright: the darkest 1% of the pixels must be below this level; a white background is none.
    max_brightness: float = Field(default=235.0, ge=0.0, le=255.0, allow_inf_nan=False)
    # Standard deviation of the level.
    min_contrast: float = Field(default=6.0, ge=0.0, le=128.0, allow_inf_nan=False)
    # Blurry: the sharpest edges' second difference as a share of the tonal range (0 to about 4).
    min_sharpness: float = Field(default=0.12, ge=0.0, le=4.0, allow_inf_nan=False)


class Pause(_Strict):
    """A store that is not polled for a while; what is there stays."""

    # The first moment that is no longer part of the pause.
    until: Moment
    reason: Annotated[str, _text(r"[^\x00-\x1f\x7f]{1,200}", "1 to 200 characters of one line")]


class StoreConfig(_Strict):
    """One store of `stores.yaml`, defaults applied."""

    id: StoreId
    source: Literal["woocommerce"] = "woocommerce"
    # Before url, whose validator reads it.
    allow_private_addresses: bool = False
    url: str
    consumer_key: SecretSource
    consumer_secret: SecretSource
    labels: dict[str, str] = Field(default_factory=dict)
    active: bool = True
    paused: Pause | None = None
    # How long after one look the store is looked at again.
    poll_every: Interval = timedelta(minutes=15)
    # Share of the store's live products, and of its points, that may go in one run unasked.
    max_removal_share: float = Field(default=0.2, ge=0.0, le=1.0)
    images: ImageChoice = "main"
    # Pictures fetched, and pictures embedded, in one run at most; the rest stays owed.
    max_images_per_run: int | None = Field(default=None, ge=1)
    statuses: tuple[Status, ...] = ("publish",)
    include: Rules = Rules()
    exclude: Rules = Rules(visibility=("hidden",))
    currency: Currency | None = None
    quality: QualityThresholds = QualityThresholds()
    requests_per_second: float = Field(default=5.0, gt=0, le=1_000)
    connections: int = Field(default=8, ge=1, le=64)
    user_agent: UserAgent | None = None
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    ca_file: File | None = None
    image_ports: tuple[Annotated[int, Field(ge=1, le=65_535)], ...] = (80, 443)

    @property
    def sent_user_agent(self) -> str:
        """The User-Agent of every request, for products and for pictures."""
        return self.user_agent or f"catalog-pipeline/{version('catalog-pipeline')}"

    def is_polled(self, now: datetime) -> bool:
        """Whether the store may be read without anyone asking for it."""
        return self.active and (self.paused is None or now >= self.paused.until)

    @field_validator("url")
    @classmethod
    def _url_is_a_plain_site(cls, value: str, info: ValidationInfo) -> str:
        try:
            AnyHttpUrl(value)
            # What would ask it is stricter in places.
            httpx.URL(value)
            parts = urlsplit(value)
        except (ValidationError, ValueError, httpx.InvalidURL):
            parts = urlsplit("")
        if not parts.hostname or not value.isprintable() or any(char in value for char in " \\"):
            raise ValueError("must be a web address such as https://shop.example.com")
        if parts.username is not None or parts.password is not None:
            raise ValueError("holds credentials; use consumer_key and consumer_secret")
        if "?" in value or "#" in value:
            raise ValueError("must be the site's address without ? or #")
        may_be_private = info.data.get("allow_private_addresses", True)
        if parts.scheme == "http" and not (may_be_private and parts.hostname in LOOPBACK_HOSTS):
            raise ValueError(
                "must begin with https://, or the keys could be read on the way; http is for a "
                "store on this machine with allow_private_addresses: true"
            )
        return value.rstrip("/")

    @field_validator("headers")
    @classmethod
    def _headers_are_not_the_pipelines_own(cls, value: dict[str, str]) -> dict[str, str]:
        taken = sorted(name for name in value if name.lower() in _OWN_HEADERS)
        if taken:
            agent = "; user_agent: sets User-Agent" if "user-agent" in map(str.lower, taken) else ""
            raise ValueError(f"must not set {', '.join(taken)}{agent}")
        return value
