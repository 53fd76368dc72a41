"""What a person gets for a wrong call: one message, no traceback, and the exit code for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from catalog_pipeline.cli.main import main

STORE = """
  - id: atelier
    url: https://shop.example.com
    consumer_key: {env: ATELIER_KEY}
    consumer_secret: {env: ATELIER_SECRET}
"""

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls `catalog` in an empty folder, with the variables given and no others of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATELIER_KEY", "ck_canary")
    monkeypatch.setenv("ATELIER_SECRET", "cs_canary")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    (tmp_path / "stores.yaml").write_text(f"stores:{STORE}")

    def run(*arguments: str, **variables: str) -> Result:
        return CliRunner().invoke(main, arguments, env=variables)

    return run


def refusal(result: Result) -> str:
    """The message of a call that was refused as wrong; makes sure that it is nothing else."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert "canary" not in result.output
    assert result.stderr.count("Error") == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sync"], "Missing argument"),
        (["sync", "ateiler"], "did you mean atelier"),
        (["sync", "nowhere"], "known: atelier"),
        (["sync", "atelier", "--sample", "0"], "--sample"),
        (["sync", "atelier", "--sample", "many"], "--sample"),
        (["sync", "atelier", "--full", "--sample", "5"], "exclude each other"),
        (["sync", "atelier", "--everything"], "--everything"),
        (["stores", "check", "nowhere"], "nowhere"),
        (["search"], "one of --text, --image and --product"),
        (["search", "--text", "dress", "--product", "atelier:1"], "one of"),
        (["search", "--text", " "], "the text is empty"),
        (["search", "--image", "absent.jpg"], "absent.jpg"),
        (["search", "--product", "no-id"], "STORE:EXTERNAL_ID"),
        (["search", "--product", "atelier:1", "--image", "stores.yaml"], "one of"),
        (["search", "--product", "atelier:1", "--limit", "0"], "--limit"),
        (["search", "--product", "atelier:1", "--min-price", "cheap"], "--min-price"),
        (["search", "--product", "atelier:1", "--min-price", "nan"], "min_price"),
        (["search", "--product", "atelier:1", "--min-price", "-1"], "min_price"),
        (
            ["search", "--product", "atelier:1", "--min-price", "9", "--max-price", "1"],
            "above max_price",
        ),
        (["search", "--product", "atelier:1", "--currency", "euro"], "ISO 4217"),
        (["demo", "--port", "0"], "--port"),
        (["demo", "--ui", "--json"], "--json"),
        (["gate", "preview", "--set", "min_side"], "not NAME=VALUE"),
        (["gate", "preview", "--set", "min_sise=3"], "did you mean min_side"),
        (["gate", "preview", "--set", "min_sise=3"], "min_side        200"),
        (["gate", "preview", "--set", "min_side=small"], "must be a whole number"),
        (["gate", "preview", "--set", "max_bytes=1"], "max_bytes       20000000"),
        (["gate", "preview", "--store", "ateiler"], "did you mean atelier"),
        (["gate", "preview", "--sheet", "sheet.jpg"], ".webp or .png"),
        (["completion", "tcsh"], "tcsh"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_a_wrong_call_is_refused(call: Call, arguments: list[str], said: str) -> None:
    assert said in refusal(call(*arguments))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"CATALOG_DEVICE": "tpu"}, "CATALOG_DEVICE"),
        ({"CATALOG_BATCH_SIZE": "0"}, "CATALOG_BATCH_SIZE"),
        ({"CATALOG_DEVICES": "cpu"}, "did you mean CATALOG_DEVICE"),
        ({"CATALOG_DATA_DIR": "s3://bucket/catalog"}, "CATALOG_DATABASE_URL"),
        ({"CATALOG_DATABASE_URL": "mysql://u:canary@db/x"}, "CATALOG_DATABASE_URL"),
        ({"CATALOG_QDRANT_URL": "qdrant:6334"}, "CATALOG_QDRANT_URL"),
        ({"CATALOG_QDRANT_API_KEY": "canary"}, "CATALOG_QDRANT_URL"),
        ({"CATALOG_COLLECTION": "a/b"}, "CATALOG_COLLECTION"),
        ({"CATALOG_STORES_FILE": "absent.yaml"}, "absent.yaml"),
        ({"DAGSTER_HOME": "relative"}, "DAGSTER_HOME"),
    ],
)
def test_wrong_settings_are_refused_before_anything_starts(
    call: Call, tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    assert said in refusal(call("sync", "atelier", **variables))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stores.yaml"]


def test_every_error_of_a_wrong_stores_file_is_named_by_line(call: Call, tmp_path: Path) -> None:
    (tmp_path / "stores.yaml").write_text(
        "stores:\n"
        "  - id: Atelier\n"
        "    url: http://shop.example.com\n"
        "    consumer_key: ck_canary\n"
        "    consumer_secret: {env: S}\n"
        "    colour: blue\n"
    )
    message = refusal(call("stores", "check"))
    for line in (2, 3, 4, 6):
        assert f"stores.yaml:{line}: " in message


def test_an_inactive_store_is_not_synced(call: Call, tmp_path: Path) -> None:
    (tmp_path / "stores.yaml").write_text(f"stores:{STORE}    active: false\n")
    assert "inactive" in refusal(call("sync", "atelier"))


def test_an_unsynced_catalogue_is_a_failure_that_says_what_to_do(call: Call) -> None:
    result = call("search", "--product", "atelier:1")
    assert result.exit_code == 1
    assert "sync a store first" in result.stderr


def test_a_missing_key_fails_the_check_of_its_store_alone(call: Call) -> None:
    result = call("stores", "check", "--json", ATELIER_KEY="")
    assert result.exit_code == 1
    (store,) = json.loads(result.stdout)["stores"]
    assert store["ok"] is False
    assert "ATELIER_KEY" in store["sentence"]


def test_status_of_stores_never_synced(call: Call) -> None:
    text = call("status", CATALOG_MODEL="local-dir:absent")
    assert text.exit_code == 0, text.output
    assert "never synced; run: catalog sync atelier" in text.stdout
    found = call("status", "--json", CATALOG_MODEL="local-dir:absent")
    (store,) = json.loads(found.stdout)["stores"]
    assert store["products"] == 0
