"""The environment as people write it: settings, or every wrong variable in one message."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.settings import PREFIX, Settings, load_settings

VARIABLES = sorted(PREFIX + name.upper() for name in Settings.model_fields)
REMOTE = {
    "CATALOG_DATA_DIR": "s3://bucket/catalog",
    "CATALOG_DATABASE_URL": "postgresql+psycopg://db/catalog",
    "CATALOG_QDRANT_URL": "https://qdrant.example.com:6333",
}


def refused(**environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({PREFIX + name: value for name, value in environ.items()})
    first, *problems = str(caught.value).splitlines()
    assert first == "The settings are wrong:"
    return [problem.strip() for problem in problems]


def test_the_readme_names_every_variable() -> None:
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(rf"`({PREFIX}\w+)`", row.split("|")[1])]

    assert sorted(named) == VARIABLES


def test_nothing_set_needs_no_services() -> None:
    loaded = load_settings({})

    assert loaded.database == f"sqlite:///{Path.cwd()}/.catalog/catalog.sqlite"
    assert loaded.embedded_index_dir == Path.cwd() / ".catalog" / "qdrant"
    assert (loaded.collection, loaded.batch_size, loaded.archive_days) == ("products", "auto", 30)
    assert loaded.qdrant_url is None


def test_reads_every_variable() -> None:
    loaded = load_settings(
        REMOTE
        | {
            "CATALOG_STORES_FILE": "/etc/stores.yaml",
            "CATALOG_QDRANT_API_KEY": "a-key",
            "CATALOG_COLLECTION": "fashion",
            "CATALOG_MODEL": "local-dir:/models/a",
            "CATALOG_DEVICE": "cuda",
            "CATALOG_PRECISION": "bf16",
            "CATALOG_BATCH_SIZE": "256",
            "CATALOG_ARCHIVE_DAYS": "7",
            "CATALOG_NIGHTLY_CRON": "*/15 1-5,23 1 jan-mar mon-fri",
            "CATALOG_TIMEZONE": "Europe/Copenhagen",
            "CATALOG_LOG_FORMAT": "json",
            "CATALOG_LOG_LEVELS": "products=DEBUG, images.download=warning,",
        }
    )

    assert loaded.model_fields_set == set(Settings.model_fields)
    assert loaded.data_is_remote
    assert (loaded.batch_size, loaded.archive_days) == (256, 7)
    assert loaded.database == "postgresql+psycopg://db/catalog"
    assert loaded.log_levels == {"products": "debug", "images.download": "warning"}
    assert "a-key" not in repr(loaded)


def test_an_empty_variable_counts_as_unset() -> None:
    assert load_settings(dict.fromkeys(VARIABLES, "")) == load_settings({})


def test_a_local_folder_may_be_a_file_url_or_in_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")

    assert load_settings({"CATALOG_DATA_DIR": "file:///srv/c/"}).local_data_dir == Path("/srv/c")
    home = load_settings({"CATALOG_DATA_DIR": "~/catalog"})
    assert home.local_data_dir == Path("/home/somebody/catalog")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("DATA_DIR", "  ", "is empty; name a folder"),
        ("DATABASE_URL", "nonsense", "must be postgresql+psycopg://USER@HOST/DATABASE or sqlite"),
        ("DATABASE_URL", "postgresql://u:canary@db/c", "must be postgresql+psycopg://"),
        ("DATABASE_URL", "canary://db", "must be postgresql+psycopg://"),
        ("DATABASE_URL", "postgresql+psycopg://u:canary@db:x/c", "must be postgresql+psycopg://"),
        ("DATABASE_URL", "sqlite://", "must name a file"),
        ("DATABASE_URL", "sqlite:///:memory:", "must name a file"),
        ("QDRANT_URL", "qdrant:6333", "must be a web address such as https://qdrant"),
        ("QDRANT_URL", "http://", "must be a web address"),
        ("QDRANT_URL", "http://qdrant:port", "must be a web address"),
        ("QDRANT_URL", "http://[::1", "must be a web address"),
        ("QDRANT_URL", "https://u:canary@qdrant", "holds credentials; use CATALOG_QDRANT_API_KEY"),
        ("QDRANT_API_KEY", "canary", "is set without CATALOG_QDRANT_URL"),
        ("COLLECTION", "a b", "must be at most 64 letters, digits, - and _"),
        ("COLLECTION", "products\n", "must be at most 64 letters, digits, - and _"),
        ("DEVICE", "gpu", "must be auto, cpu, cuda or mps"),
        ("PRECISION", "int8", "must be auto, fp32, bf16 or fp16"),
        ("BATCH_SIZE", "0", "must be a whole number between 1 and 65536, or auto"),
        ("BATCH_SIZE", "many", "must be a whole number between 1 and 65536, or auto"),
        ("BATCH_SIZE", "1.5", "must be a whole number between 1 and 65536, or auto"),
        ("BATCH_SIZE", "9" * 5000, "must be a whole number between 1 and 65536, or auto"),
        ("ARCHIVE_DAYS", "0", "must be at least 1"),
        ("ARCHIVE_DAYS", "a month", "must be a whole number"),
        ("NIGHTLY_CRON", "2 o'clock", "must be a cron expression of five fields"),
        ("NIGHTLY_CRON", "0 24 * * *", "must be a cron expression"),
        ("NIGHTLY_CRON", "0 2 * * * *", "must be a cron expression"),
        ("NIGHTLY_CRON", "0 5-2 * * *", "must be a cron expression"),
        ("NIGHTLY_CRON", "*/0 2 * * *", "must be a cron expression"),
        ("NIGHTLY_CRON", "0 2 * foo *", "must be a cron expression"),
        ("TIMEZONE", "Mars/Olympus", "must be an IANA time zone such as Europe/Paris"),
        ("TIMEZONE", "../../etc/passwd", "must be an IANA time zone"),
        ("TIMEZONE", "Europe", "must be an IANA time zone"),
        ("LOG_FORMAT", "xml", "must be auto, json or text"),
        ("LOG_LEVELS", "debug", "must be such as products=debug,images.download=info, with the"),
        ("LOG_LEVELS", "products=loud", "must be such as products=debug"),
        ("LOG_LEVELS", "produce=debug", "names no module of this project: produce"),
        ("LOG_LEVELS", "errors.x=debug", "names no module of this project: errors.x"),
        ("LOG_LEVELS", "..os=debug", "names no module of this project: ..os"),
    ],
)
def test_refuses_a_value_in_a_plain_sentence(name: str, value: str, problem: str) -> None:
    problems = refused(**{name: value})

    assert len(problems) == 1, problems
    assert problems[0].startswith(f"{PREFIX}{name}: {problem}")
    assert "canary" not in problems[0]


def test_names_every_wrong_variable_at_once() -> None:
    problems = refused(BATCH_SIZE="x", DEVICE="y", DATA_DIR="s3://bucket", TIMEZON="UTC")

    assert [problem.split(":")[0].split(" ")[0] for problem in problems] == [
        "CATALOG_TIMEZON",
        "CATALOG_DATABASE_URL",
        "CATALOG_QDRANT_URL",
        "CATALOG_DEVICE",
        "CATALOG_BATCH_SIZE",
    ]
    assert problems[0] == "CATALOG_TIMEZON is not a setting; did you mean CATALOG_TIMEZONE?"


@pytest.mark.parametrize("absent", ["CATALOG_DATABASE_URL", "CATALOG_QDRANT_URL"])
def test_remote_data_needs_both_services(absent: str) -> None:
    environ = {name: value for name, value in REMOTE.items() if name != absent}

    with pytest.raises(
        ConfigurationError, match=f"{absent}: must be set, because CATALOG_DATA_DIR"
    ):
        load_settings(environ)


def test_other_programs_may_use_the_prefix() -> None:
    assert load_settings({"CATALOG_SERVICE_DISCOVERY_HOST": "x"}) == load_settings({})


@settings(max_examples=150, deadline=None)
@given(
    environ=st.dictionaries(
        st.sampled_from(VARIABLES),
        st.one_of(
            st.text(max_size=20),
            st.from_regex(r"(sqlite|postgresql\+psycopg|https?)://[a-z:@/\[\].0-9]{0,12}"),
            st.from_regex(r"([0-9*/,a-z-]{1,4} ){4}[0-9*]"),
        ),
        max_size=4,
    )
)
def test_any_environment_is_accepted_or_refused_as_a_whole(environ: dict[str, str]) -> None:
    try:
        loaded = load_settings(environ)
    except ConfigurationError as error:
        message = str(error)
    else:
        message = ""
        assert loaded.database
    assert not message or message.startswith("The settings are wrong:\n  CATALOG_")
