"""A whole deployment in a folder: generated stores, the demo's model, settings and an instance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from catalog_pipeline.demo.model import DEMO_MODEL
from catalog_pipeline.demo.samples import SampleStores
from catalog_pipeline.demo.stores_file import KEY_VARIABLE, SECRET_VARIABLE, stores_document
from catalog_pipeline.instance import ensure_dagster_home
from catalog_pipeline.settings import load_settings

STAGES = ["raw_products", "products", "product_images", "image_embeddings", "qdrant_points"]


@dataclass(frozen=True)
class Deployment:
    """Where everything is, and the environment that points processes at it."""

    folder: Path
    stores: SampleStores
    environ: dict[str, str]

    @property
    def dagster_home(self) -> Path:
        return Path(self.environ["DAGSTER_HOME"])


@contextmanager
def sample_deployment(
    folder: Path, *, products_per_store: int = 40, picture_size: int = 256, paused: bool = False
) -> Iterator[Deployment]:
    """The sample stores, serving, and the settings of a deployment that reads them.

    Paused stores are synced when it is asked for, and never by the daemon itself.
    """
    with SampleStores(products_per_store=products_per_store, picture_size=picture_size) as stores:
        document = stores_document(stores.base_url)
        entries = document["stores"]
        assert isinstance(entries, list)
        for entry in entries if paused else []:
            entry["paused"] = {"until": "2999-01-01", "reason": "only when it is asked for"}
        (folder / "stores.yaml").write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
        environ = {
            "CATALOG_DATA_DIR": str(folder),
            "CATALOG_STORES_FILE": str(folder / "stores.yaml"),
            "CATALOG_MODEL": DEMO_MODEL,
            KEY_VARIABLE: stores.key,
            SECRET_VARIABLE: stores.secret,
        }
        environ["DAGSTER_HOME"] = str(ensure_dagster_home(load_settings(environ), environ))
        yield Deployment(folder, stores, environ)
