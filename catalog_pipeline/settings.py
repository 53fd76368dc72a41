"""Settings of one deployment, read from the environment with defaults that need no services.

Nothing about a single store belongs here (that is `stores.py`), and nothing is read at import time:
call `load_settings()` where the values are needed.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.sentences import sentence

PREFIX = "CATALOG_"
EMBEDDED_DATABASE = "catalog.sqlite"
EMBEDDED_INDEX = "qdrant"

_DATABASE_URLS = "must be postgresql+psycopg://USER@HOST/DATABASE or sqlite:///FILE"
# Lowest and highest number of each field, and the names that stand for numbers from the lowest up.
_CRON_FIELDS = (
    (0, 59, ""),
    (0, 23, ""),
    (1, 31, ""),
    (1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    (0, 7, "sun mon tue wed thu fri sat"),
)
_CRON_PART = re.compile(
    r"(?:\*|(?P<first>[a-z]{3}|[0-9]{1,2})(?:-(?P<last>[a-z]{3}|[0-9]{1,2}))?)"
    r"(?:/(?P<step>[0-9]{1,2}))?"
)

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
LogLevel = Literal["debug", "info", "warning", "error"]


class Settings(BaseModel):
    """What the environment says, validated as a whole."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    # A validator sees the fields above its own: the URLs read data_dir, the key reads qdrant_url.
    stores_file: Path = Path("stores.yaml")
    data_dir: str = ".catalog"
    database_url: SecretStr | None = Field(default=None, validate_default=True)
    qdrant_url: str | None = Field(default=None, validate_default=True)
    qdrant_api_key: SecretStr | None = None
    collection: str = "products"
    model: str = Field(default="hf-hub:Marqo/marqo-fashionSigLIP", min_length=1)
    device: Device = "auto"
    precision: Precision = "auto"
    batch_size: int | Literal["auto"] = "auto"
    archive_days: int = Field(default=30, ge=1)
    nightly_cron: str = "0 2 * * *"
    timezone: str = "UTC"
    log_format: Literal["auto", "json", "text"] = "auto"
    # By module below the package, such as products or images.download.
    log_levels: Mapping[str, LogLevel] = Field(default_factory=dict)

    @field_validator("data_dir")
    @classmethod
    def _data_dir_is_named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty; name a folder or an fsspec URL such as s3://bucket/catalog")
        return value.rstrip("/") or "/"

    @field_validator("collection")
    @classmethod
    def _collection_is_a_plain_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", value):
            raise ValueError("must be at most 64 letters, digits, - and _, a letter or digit first")
        return value

    @field_validator("batch_size", mode="before")
    @classmethod
    def _batch_size_is_positive(cls, value: object) -> object:
        if value == "auto":
            return value
        text = str(value).strip()
        if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65_536:
            raise ValueError("must be a whole number between 1 and 65536, or auto")
        return int(text)

    @field_validator("nightly_cron")
    @classmethod
    def _cron_has_five_fields(cls, value: str) -> str:
        fields = value.split()
        if len(fields) != len(_CRON_FIELDS) or not all(map(_is_cron_field, fields, _CRON_FIELDS)):
            raise ValueError(
                "must be a cron expression of five fields (minute, hour, day of month, month, day "
                "of week), such as 0 2 * * *"
            )
        return value

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError("must be an IANA time zone such as Europe/Paris") from error
        return value

    @field_validator("database_url")
    @classmethod
    def _database_url_names_a_served_driver(
        cls, value: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        if value is None:
            _is_local(info, "the embedded database")
            return None
        # Its import would be most of what reading the settings takes.
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            url = make_url(value.get_secret_value())
        except (ArgumentError, ValueError):
            # Not chained: SQLAlchemy's message repeats the URL, and with it a password.
            raise ValueError(_DATABASE_URLS) from None
        if url.drivername not in {"postgresql+psycopg", "sqlite"}:
            raise ValueError(_DATABASE_URLS)
        if url.drivername == "sqlite" and url.database in {None, "", ":memory:"}:
            raise ValueError("must name a file: each process would see a database of its own")
        return value

    @field_validator("qdrant_url")
    @classmethod
    def _qdrant_url_is_http(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            _is_local(info, "the embedded index")
            return None
        try:
            parts = urlsplit(value)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
            usable = usable and parts.port != 0 and value.isprintable() and " " not in value
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("must be a web address such as https://qdrant.example.com:6333")
        if parts.username is not None or parts.password is not None:
            raise ValueError("holds credentials; use CATALOG_QDRANT_API_KEY")
        return value

    @field_validator("qdrant_api_key")
    @classmethod
    def _api_key_has_a_server(
        cls, value: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        if value is not None and info.data.get("qdrant_url", "") is None:
            raise ValueError("is set without CATALOG_QDRANT_URL")
        return value

    @field_validator("log_levels", mode="before")
    @classmethod
    def _log_levels_name_modules(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        levels = {name.strip(): level.strip().lower() for name, _, level in pairs}
        if not all(level in get_args(LogLevel) for level in levels.values()):
            raise ValueError(
                "must be such as products=debug,images.download=info, with the levels "
                f"{', '.join(get_args(LogLevel))}"
            )
        if unknown := [name for name in levels if not _is_module(name)]:
            raise ValueError(f"names no module of this project: {', '.join(unknown)[:200]}")
        return levels

    @property
    def data_is_remote(self) -> bool:
        """Whether the data folder is an fsspec URL other than a local one."""
        return _is_remote(self.data_dir)

    @property
    def local_data_dir(self) -> Path:
        """The data folder as a local path; only for a data folder that is not remote."""
        return Path(self.data_dir.removeprefix("file://")).expanduser().absolute()

    @property
    def database(self) -> str:
        """The database URL with its password, or the embedded SQLite file's."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.local_data_dir / EMBEDDED_DATABASE}"

    @property
    def embedded_index_dir(self) -> Path:
        """Where Qdrant Edge keeps its collections when no Qdrant server is set."""
        return self.local_data_dir / EMBEDDED_INDEX


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and validate the settings.

    An empty variable counts as unset, as it does in Compose files.

    Raises:
        ConfigurationError: with every wrong variable in one message.
    """
    source = os.environ if environ is None else environ
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    given = {key: value for key, value in source.items() if key.startswith(PREFIX) and value}
    problems = [
        f"{name} is not a setting; did you mean {close[0]}?"
        for name in sorted(given.keys() - known)
        if (close := difflib.get_close_matches(name, known, n=1, cutoff=0.88))
    ]
    values = {
        key.removeprefix(PREFIX).lower(): value for key, value in given.items() if key in known
    }
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += [
            f"{PREFIX}{str(detail['loc'][0]).upper()}: {sentence(detail)}"
            for detail in error.errors(include_url=False)
        ]
    if problems or settings is None:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigurationError(f"The settings are wrong:\n{listed}")
    return settings


def _is_remote(data_dir: str) -> bool:
    return "://" in data_dir and not data_dir.startswith("file://")


def _is_module(name: str) -> bool:
    if not re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", name):
        return False
    try:
        return importlib.util.find_spec(f"catalog_pipeline.{name}") is not None
    except ModuleNotFoundError:
        return False


def _is_local(info: ValidationInfo, embedded: str) -> None:
    if _is_remote(info.data.get("data_dir", "")):
        raise ValueError(
            f"must be set, because CATALOG_DATA_DIR is remote and {embedded} needs a local folder"
        )


def _is_cron_field(text: str, limits: tuple[int, int, str]) -> bool:
    low, high, names = limits
    numbers = {name: str(low + index) for index, name in enumerate(names.split())}
    for part in text.lower().split(","):
        match = _CRON_PART.fullmatch(part)
        if not match:
            return False
        span = [numbers.get(end, end) for end in (match["first"], match["last"]) if end]
        if not all(end.isdecimal() and low <= int(end) <= high for end in span):
            return False
        if len(span) == 2 and int(span[0]) > int(span[1]):
            return False
        if match["step"] and not 1 <= int(match["step"]) <= high:
            return False
    return True
