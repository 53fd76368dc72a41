"""README's pictures are there and small, and its Python does what it shows."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

import pytest

from catalog_pipeline.demo.model import DEMO_MODEL
from catalog_pipeline.embeddings.encode import Embedder
from catalog_pipeline.search import Hit
from catalog_pipeline.vectors.index import CollectionSpec
from catalog_pipeline.vectors.qdrant_edge import EdgeIndex

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MOST_BYTES = 200_000


def test_every_picture_is_there_and_small() -> None:
    shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", README)
    assert {path for _, path in shown} == {
        str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "docs" / "images").iterdir()
    }
    for title, path in shown:
        assert title
        assert 1_000 < (REPOSITORY / path).stat().st_size < MOST_BYTES, path


def test_the_search_in_python_finds_what_its_words_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.setenv("CATALOG_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CATALOG_MODEL", DEMO_MODEL)
    embedder = Embedder(DEMO_MODEL)
    spec = embedder.spec
    name = f"products__{spec.model_version}"
    words = ["plain red hat", "striped blue dress", "green checked trousers"]
    index = EdgeIndex(tmp_path / "qdrant", run="test")
    index.ensure(CollectionSpec(name, spec.dimensions, spec.model_version, UUID(int=1)), "products")
    with index.session(name) as points:
        points.upsert(
            [UUID(int=number) for number in range(3)],
            embedder.encode_texts(words),
            [
                {"product_id": str(UUID(int=number)), "title": text}
                for number, text in enumerate(words)
            ],
        )
    found: dict[str, list[Hit]] = {}
    exec(code, found)
    hits = found["hits"]
    assert hits[0].payload["title"] == "striped blue dress"
    assert len(hits) == 3
