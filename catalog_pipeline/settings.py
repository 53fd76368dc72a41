"""Settings of one deployment, read from the environment with defaults that need no services.

Nothing about a single store belongs here (that is `stores.py`), and nothing is read at import time:
call `load_settings()` where the values are needed.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from catalog_pipeline.errors import ConfigurationError

PREFIX = "CATALOG_"
EMBEDDED_DATABASE = "catalog.sqlite"
EMBEDDED_INDEX = "qdrant"

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


class Settings(BaseModel):
    """What the environment says, validated as a whole."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    stores_file: Path = Path("stores.yaml")
    data_dir: str = ".catalog"
    database_url: SecretStr | None = None
    qdrant_url: str | None = None
    qdrant_api_key: SecretStr | None = None
    collection: str = Field(default="products", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    model: str = Field(default="hf-hub:Marqo/marqo-fashionSigLIP", min_length=1)
    device: Device = "auto"
    precision: Precision = "auto"
    batch_size: int | Literal["auto"] = "auto"
    archive_days: int = Field(default=30, ge=1)
    nightly_cron: str = "0 2 * * *"
    timezone: str = "UTC"

    @field_validator("data_dir")
    @classmethod
    def _data_dir_is_named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty; name a folder or an fsspec URL such as s3://bucket/catalog")
        return value.rstrip("/") or "/"

    @field_validator("batch_size")
    @classmethod
    def _batch_size_is_positive(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= 65_536:
            raise ValueError("must be between 1 and 65536, or auto")
        return value

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(f"{value!r} is not an IANA time zone such as Europe/Paris") from error
        return value

    @field_validator("database_url")
    @classmethod
    def _database_url_names_a_served_driver(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            driver = make_url(value.get_secret_value()).drivername
        except ArgumentError as error:
            raise ValueError("is not a database URL") from error
        if driver not in {"postgresql+psycopg", "sqlite"}:
            raise ValueError(
                f"names the driver {driver!r}; use postgresql+psycopg://… or sqlite:///…"
            )
        return value

    @field_validator("qdrant_url")
    @classmethod
    def _qdrant_url_is_http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value

    @model_validator(mode="after")
    def _remote_data_needs_remote_services(self) -> Settings:
        if self.data_is_remote and not (self.database_url and self.qdrant_url):
            raise ValueError(
                "CATALOG_DATA_DIR is remote, so CATALOG_DATABASE_URL and CATALOG_QDRANT_URL must "
                "be set too: the embedded database and index need a local folder"
            )
        if self.qdrant_api_key and not self.qdrant_url:
            raise ValueError("CATALOG_QDRANT_API_KEY is set without CATALOG_QDRANT_URL")
        return self

    @property
    def data_is_remote(self) -> bool:
        """Whether the data folder is an fsspec URL other than a local one."""
        return "://" in self.data_dir and not self.data_dir.startswith("file://")

    @property
    def local_data_dir(self) -> Path:
        """The data folder as a local path; only for a data folder that is not remote."""
        return Path(self.data_dir.removeprefix("file://")).absolute()

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
        problems += [_sentence(detail["loc"], detail["msg"]) for detail in error.errors()]
    if problems or settings is None:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigurationError(f"The settings are wrong:\n{listed}")
    return settings


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    text = message.removeprefix("Value error, ")
    if not location:
        return text
    return f"{PREFIX}{str(location[0]).upper()}: {text}"
