"""Real input: photographs of clothing served by a store, synced, and found again."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pytest

from catalog_pipeline.definitions import build_defs
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.demo import ATELIER, SampleStores, StoredFile
from catalog_pipeline.demo.model import DEMO_MODEL
from catalog_pipeline.demo.stores_file import KEY_VARIABLE, SECRET_VARIABLE, write_stores_file
from catalog_pipeline.embeddings.encode import Embedder
from catalog_pipeline.search import search
from catalog_pipeline.settings import load_settings
from catalog_pipeline.vectors.open import open_index
from training.evaluate import worse_copy

pytestmark = pytest.mark.end_to_end

ASKED = 100
LEAST_FOUND = 95


@pytest.mark.timeout(240)
def test_a_worse_copy_of_a_photograph_finds_its_product_first(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs = sorted((shared_data / "photos").glob("*/*.jpg"))
    assert len(photographs) == 500
    with SampleStores(products_per_store=0, profiles=[ATELIER]) as stores:
        shop = stores.stores["atelier"]
        by_title = {f"Photograph {number:03d}": path for number, path in enumerate(photographs)}
        for title, path in by_title.items():
            shop.add(name=title, media=StoredFile(path))
        write_stores_file(tmp_path / "stores.yaml", stores.base_url, [ATELIER])
        monkeypatch.setenv("CATALOG_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setenv("CATALOG_STORES_FILE", str(tmp_path / "stores.yaml"))
        monkeypatch.setenv("CATALOG_MODEL", DEMO_MODEL)
        monkeypatch.setenv(KEY_VARIABLE, stores.key)
        monkeypatch.setenv(SECRET_VARIABLE, stores.secret)
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions(STORES, ["atelier"])
            job = build_defs().resolve_job_def("sync_store")
            result = job.execute_in_process(instance=instance, partition_key="atelier")
        assert result.success
        served = shop.traffic.images_served
    assert served == 500
    settings = load_settings(os.environ)
    embedder = Embedder(settings.model)
    found = 0
    every = len(photographs) // ASKED
    with open_index(settings) as index:
        for title, path in list(by_title.items())[::every]:
            (hit,) = search(
                index, settings.collection, worse_copy(path.read_bytes()), encoder=embedder, limit=1
            )
            found += hit.payload["title"] == title
    assert found >= LEAST_FOUND, f"{found} of {ASKED}"
