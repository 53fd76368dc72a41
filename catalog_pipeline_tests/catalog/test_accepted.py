"""Which version of stores.yaml is in force, on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog_pipeline.catalog.accepted import stores_in_force
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.errors import ConfigurationError

ONE = """stores:
  - id: atelier
    url: https://shop.example.com
    consumer_key: {env: A_KEY}
    consumer_secret: {env: A_SECRET}
    ca_file: certs/private.pem
"""
OTHER = ONE.replace("atelier", "nordhavn")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "stores.yaml"
    found.write_text(ONE)
    return found


def test_the_last_accepted_version_stays_in_force(any_database: Database, path: Path) -> None:
    assert stores_in_force(any_database, path).problem is None
    path.write_text(OTHER)
    accepted = stores_in_force(any_database, path)
    assert list(accepted.file.stores) == ["nordhavn"]

    path.write_text(OTHER + "    colour: red\n")
    found = stores_in_force(any_database, path)
    assert found.file == accepted.file
    assert "stays in force" in str(found.problem)
    assert ":7: stores[0].colour" in str(found.problem)
    assert found.file.stores["nordhavn"].ca_file == path.parent / "certs" / "private.pem"


def test_an_earlier_version_can_be_accepted_again(any_database: Database, path: Path) -> None:
    for text in (ONE, OTHER, ONE):
        path.write_text(text)
        stores_in_force(any_database, path)
    path.unlink()

    found = stores_in_force(any_database, path)
    assert list(found.file.stores) == ["atelier"]
    assert "there is no such file" in str(found.problem)


def test_without_an_accepted_version_the_errors_stand(any_database: Database, path: Path) -> None:
    path.write_text("stores: []\n")
    with pytest.raises(ConfigurationError, match="at least one store"):
        stores_in_force(any_database, path)
