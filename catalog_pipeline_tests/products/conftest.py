"""Fixtures of the products room."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.archive import Archive
from catalog_pipeline_tests.products.wordpress import KEY, SECRET


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's keys, where its configuration says they are."""
    monkeypatch.setenv("CANARY_KEY", KEY)
    monkeypatch.setenv("CANARY_SECRET", SECRET)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty archive."""
    return Archive(DataFolder(str(tmp_path / "data")))
