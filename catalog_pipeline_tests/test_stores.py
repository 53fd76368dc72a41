"""Where a store's secrets come from, and what its models hold back."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from catalog_pipeline.errors import PermanentError
from catalog_pipeline.stores import MissingSecretError, SecretSource, StoreConfig, not_served


def test_reads_a_secret_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", " ck_1 \n")

    assert SecretSource(env="A_KEY").read("consumer_key") == "ck_1"


def test_reads_a_secret_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("ck_2\n")

    assert SecretSource(file=tmp_path / "key").read("consumer_key") == "ck_2"


def test_names_the_place_where_a_secret_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMPTY", " ")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    cases = {
        SecretSource(env="NOT_THERE"): "variable NOT_THERE is not set",
        SecretSource(env="EMPTY"): "variable EMPTY is not set",
        SecretSource(file=tmp_path / "absent"): "absent cannot be read",
        SecretSource(file=tmp_path): "cannot be read",
        SecretSource(file=tmp_path / "binary"): "binary cannot be read",
        SecretSource(file=tmp_path / "empty"): "empty is empty",
    }

    for source, problem in cases.items():
        with pytest.raises(MissingSecretError, match=f"^consumer_key: .*{problem}") as caught:
            source.read("consumer_key")
        assert isinstance(caught.value, PermanentError)


def test_a_store_can_be_built_in_code() -> None:
    store = StoreConfig.model_validate(
        {
            "id": "a",
            "url": "https://a.example.com/shop/",
            "consumer_key": {"env": "A"},
            "consumer_secret": SecretSource(file=Path("secret")),
        }
    )

    assert store.url == "https://a.example.com/shop"
    assert store.exclude.visibility == ("hidden",)
    assert store.consumer_secret.file == Path("secret")


def test_validation_errors_do_not_hold_the_secret() -> None:
    canary = "cs_feedfacefeedfacefeedface"

    with pytest.raises(ValidationError) as caught:
        StoreConfig.model_validate({"id": "a", "consumer_key": canary})

    assert canary not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"), [("active", True), ("images", "main"), ("source", "woocommerce"), ("id", "x")]
)
def test_what_is_served_is_not_held_back(key: str, value: object) -> None:
    assert not_served(key, value) is None
