"""`catalog adopt` as a person and as a script calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import audit
from catalog_pipeline.cli.main import main
from catalog_pipeline.vectors.index import CollectionSpec
from catalog_pipeline.vectors.qdrant_edge import EdgeIndex

COLLECTION = "products__m-1"
STRANGER = UUID(int=7)

Adopt = Callable[..., Result]


@pytest.fixture
def index(tmp_path: Path) -> EdgeIndex:
    """One that another deployment filled."""
    made = EdgeIndex(tmp_path / "qdrant", run="test")
    made.ensure(CollectionSpec(COLLECTION, 2, "m-1", STRANGER), "products")
    return made


@pytest.fixture
def adopt(tmp_path: Path) -> Adopt:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(
            main, ["adopt", *arguments], env={"CATALOG_DATA_DIR": str(tmp_path)}
        )

    return run


def test_a_collection_is_taken_over_once(adopt: Adopt, index: EdgeIndex, tmp_path: Path) -> None:
    done = adopt(COLLECTION, "--reason", "its database burnt")
    assert done.exit_code == 0, done.output
    database = Database(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    owner = database.deployment_id()
    assert done.stdout == f"{COLLECTION}: belongs to this database now, deployment {owner}.\n"
    found = index.info(COLLECTION)
    assert found is not None
    assert found.owner == owner
    with database.read() as connection:
        (entry,) = connection.execute(select(audit)).mappings()
    database.dispose()
    assert (entry["action"], entry["subject"]) == ("collection.adopt", COLLECTION)
    assert entry["reason"] == "its database burnt"
    again = adopt(COLLECTION, "--reason", "twice")
    assert again.exit_code == 1
    assert "belongs to this database already" in again.stderr


def test_a_script_is_told_from_whom_to_whom(adopt: Adopt, index: EdgeIndex) -> None:
    done = adopt(COLLECTION, "--reason", "moved", "--json")
    assert done.exit_code == 0, done.output
    found = index.info(COLLECTION)
    assert found is not None
    assert json.loads(done.stdout) == {
        "collection": COLLECTION,
        "from": str(STRANGER),
        "to": str(found.owner),
    }


def test_what_cannot_be_adopted_is_refused(adopt: Adopt) -> None:
    absent = adopt("products__none", "--reason", "moved")
    assert absent.exit_code == 1
    assert "there is no collection products__none" in absent.stderr
    assert adopt(COLLECTION).exit_code == 2
