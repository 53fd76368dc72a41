"""One database and one archive for all cases: each case is a store of its own in them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.archive import Archive
from catalog_pipeline_tests.products.hostile.walking import Room


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """An empty catalogue."""
    folder = tmp_path_factory.mktemp("hostile")
    database = Database(f"sqlite:///{folder / 'catalog.sqlite'}")
    database.migrate()
    yield Room(database, Archive(DataFolder(str(folder / "data"))))
    database.dispose()
