"""A store's way into a collection, on each engine that serves one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog_pipeline.vectors.index import VectorIndex
from catalog_pipeline_tests.vectors.engines import ENGINES, opened_engine


@pytest.fixture(params=ENGINES)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorIndex]:
    with opened_engine(request.param, tmp_path) as found:
        yield found
