"""The one check that stands between two stages: vectors that must not reach the collection.

It is made inside the embedding asset, which costs no step, and it speaks of the run's own store
alone, because it blocks: the points of a store are not loaded while its new vectors are broken, and
its last good ones stay. A run that leaves embedding out finds the same vectors waiting, so it asks
the same, and refreshes payloads alone where they are broken.
"""

import dagster as dg

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.verdicts import StoreVerdict, record_verdict
from catalog_pipeline.defs.verdicts import judged
from catalog_pipeline.files import DataFolder
from catalog_pipeline.health.vectors import new_vectors_are_sound
from catalog_pipeline.settings import load_settings
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.index import collection_name

NEW_VECTORS = dg.AssetCheckSpec(
    "new_vectors_are_sound",
    asset="image_embeddings",
    blocking=True,
    description=(
        "The vectors that wait to be loaded are finite, of length 1 and not all alike; where they "
        "are not, nothing of the store is loaded and its last good points stay. "
        "**When it fails**: the model or its preprocessing is broken, or a part was damaged. Mend "
        "CATALOG_MODEL, then launch the partition with `reembed: true` in the run config of "
        "`image_embeddings`."
    ),
)


def check_new_vectors(
    database: Database, files: DataFolder, store: StoreConfig, model_version: str
) -> dg.AssetCheckResult:
    """Look at the store's vectors that no point has yet, and keep the verdict.

    Raises:
        ServiceUnavailableError: the database was lost.
    """
    collection = collection_name(load_settings().collection, model_version)

    def judge(_: str) -> StoreVerdict:
        return new_vectors_are_sound(database, files, store, model_version, collection)

    verdict = judged(judge, store.id)
    with database.write() as connection:
        record_verdict(connection, NEW_VECTORS.name, verdict)
    return dg.AssetCheckResult(
        passed=verdict.passed,
        check_name=NEW_VECTORS.name,
        severity=dg.AssetCheckSeverity.ERROR,
        description=None if verdict.passed else verdict.told,
        metadata=dict(verdict.counts),
    )


def must_withhold(
    context: dg.AssetExecutionContext,
    database: Database,
    files: DataFolder,
    store: StoreConfig,
    model_version: str,
) -> bool:
    """Whether a run that embeds nothing must leave the store's new vectors out of the collection.

    In one that embeds, the check has stood before the points already.
    """
    if context.job_def.has_node_named(NEW_VECTORS.asset_key.to_python_identifier()):
        return False
    found = check_new_vectors(database, files, store, model_version)
    if not found.passed:
        context.log.warning("no new vector is loaded: %s", found.description)
    return not found.passed
