"""What each asset's code version says: its code, the model that is configured, the gates in use.

Dagster calls an asset's partitions stale when its own code version changes, and not those of what
is below it. So what decides over pictures and vectors stands in the version of every asset that
has to follow. A wrong environment or stores.yaml keeps no code location from loading: a run will
say what is wrong with it.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import dagster as dg

from catalog_pipeline.catalog.identity import digest
from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.images.quality import gate_version
from catalog_pipeline.settings import PREFIX, Settings
from catalog_pipeline.stores import QualityThresholds, StoreConfig
from catalog_pipeline.stores_file import load_stores

# To be raised where the same input would come out otherwise, asset by asset.
CODE = {
    "raw_products": "1",
    "products": "1",
    "product_images": "1",
    "image_embeddings": "1",
    "qdrant_points": "1",
}
FOLLOW_GATE = {"product_images", "image_embeddings", "qdrant_points"}
FOLLOW_MODEL = {"image_embeddings", "qdrant_points"}


def with_code_versions(
    assets: Iterable[dg.AssetsDefinition], environ: Mapping[str, str] | None = None
) -> list[dg.AssetsDefinition]:
    """The assets, each with its code version under these settings.

    Args:
        assets: those of the stages.
        environ: the settings; those of this process by default.
    """
    versions = code_versions(environ)
    return [
        asset.map_asset_specs(
            lambda spec: spec.replace_attributes(code_version=versions[spec.key.to_user_string()])
        )
        for asset in assets
    ]


def code_versions(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The code version of each asset: `1`, `1 gate 0a1b2c3d`, `1 gate 0a1b2c3d model NAME`."""
    source = os.environ if environ is None else environ
    gate = f" gate {_gates(source)}"
    model = f" model {_configured(source, 'model')}"
    return {
        name: code + (gate if name in FOLLOW_GATE else "") + (model if name in FOLLOW_MODEL else "")
        for name, code in CODE.items()
    }


def _gates(environ: Mapping[str, str]) -> str:
    """Of the usual thresholds, and of each store that has others.

    One version speaks for all partitions: a new store with the usual thresholds keeps the others
    fresh, while one that changes its own shows, whatever is in use elsewhere.
    """
    usual = QualityThresholds()
    stores: Mapping[str, StoreConfig] = {}
    # Whatever is wrong there, a run says.
    with suppress(ConfigurationError):
        file = load_stores(Path(_configured(environ, "stores_file")))
        usual, stores = file.quality, file.stores
    gates = sorted((name, gate_version(store.quality)) for name, store in stores.items())
    gate = gate_version(usual)
    return digest([gate, [[name, own] for name, own in gates if own != gate]])[:8]


def _configured(environ: Mapping[str, str], setting: str) -> str:
    """One setting as it stands, whatever is wrong with the others."""
    return environ.get(f"{PREFIX}{setting.upper()}") or str(Settings.model_fields[setting].default)
