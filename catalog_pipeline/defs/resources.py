"""The five things an asset is handed: stores, database, files, embedder and vector index.

They read the settings when a run begins, never at import, and hold no configuration of their own:
the environment is the one place for it, so no secret can end in Dagster's run storage.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import dagster as dg
from pydantic import PrivateAttr

from catalog_pipeline.catalog.accepted import stores_in_force
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.defs.runs import executed_here
from catalog_pipeline.embeddings.encode import Embedder
from catalog_pipeline.embeddings.model import ModelSpec, resolve_model
from catalog_pipeline.errors import ConfigurationError, PermanentError
from catalog_pipeline.files import DataFolder
from catalog_pipeline.settings import Device, Precision, load_settings
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.stores_file import load_stores
from catalog_pipeline.vectors.index import VectorIndex
from catalog_pipeline.vectors.open import check_index, open_index


class StoresResource(dg.ConfigurableResource[None]):
    """The stores of `stores.yaml`, named by CATALOG_STORES_FILE."""

    def get(self, store_id: str) -> StoreConfig:
        """One store that may be asked for something.

        Raises:
            ConfigurationError: the file is wrong, and none was ever accepted.
            PermanentError: the store is not in the file, or inactive.
        """
        store = self.stored(store_id)
        if not store.active:
            raise PermanentError(f"store {store_id} is inactive in {load_settings().stores_file}")
        return store

    def stored(self, store_id: str) -> StoreConfig:
        """One store, active or not, for work on what is stored of it.

        It is as the last accepted version of the file has it, if the file itself is wrong.

        Raises:
            ConfigurationError: the file is wrong, and none was ever accepted.
            PermanentError: the store is not in the file.
        """
        path = load_settings().stores_file
        store = _stores_in_force(path).get(store_id)
        if store is None:
            raise PermanentError(f"store {store_id} is not in {path}: add it, or pick another")
        return store


def _stores_in_force(path: Path) -> Mapping[str, StoreConfig]:
    try:
        return load_stores(path).stores
    except ConfigurationError:
        database = Database(load_settings().database)
        try:
            database.migrate()
            return stores_in_force(database, path).file.stores
        finally:
            database.dispose()


class DatabaseResource(dg.ConfigurableResource[None]):
    """Product metadata and the record of what is done: SQLite, or PostgreSQL by
    CATALOG_DATABASE_URL.
    """

    _database: Database | None = PrivateAttr(default=None)

    def get(self) -> Database:
        """The database, brought to this code's schema on first use."""
        if self._database is None:
            database = Database(load_settings().database)
            database.migrate()
            self._database = database
        return self._database

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Name this process on the run before it writes anything; no run goes without a database.

        A sensor or schedule that uses the database has no run.
        """
        if context.run is not None and context.instance is not None:
            context.instance.add_run_tags(context.run.run_id, executed_here(context.run.run_id))

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Close the connections when the run ends."""
        if self._database is not None:
            self._database.dispose()


class FilesResource(dg.ConfigurableResource[None]):
    """The data folder of archive, images and vector parts, by CATALOG_DATA_DIR."""

    def get(self) -> DataFolder:
        """The folder, local or remote."""
        return DataFolder(load_settings().data_dir)


class EmbedderResource(dg.ConfigurableResource[None]):
    """The GPU resource: an open_clip model by CATALOG_MODEL, on CATALOG_DEVICE.

    The model is loaded when the first image must be embedded, and kept while the run lasts.
    """

    def spec(self) -> ModelSpec:
        """The model's identity, without loading it."""
        return resolve_model(load_settings().model)

    def get(
        self,
        device: Device | None = None,
        precision: Precision | None = None,
        batch_size: int | None = None,
    ) -> Embedder:
        """An embedder by the settings, with what the run overrides."""
        settings = load_settings()
        return Embedder(
            settings.model,
            device=device or settings.device,
            precision=precision or settings.precision,
            batch_size=batch_size or settings.batch_size,
        )


class VectorIndexResource(dg.ConfigurableResource[None]):
    """The Qdrant collection: Qdrant Edge, or a server by CATALOG_QDRANT_URL."""

    @property
    def alias(self) -> str:
        """The name that readers use."""
        return load_settings().collection

    def dashboard(self, collection: str) -> str | None:
        """Where a Qdrant server shows the collection; None for Qdrant Edge, which has no page."""
        url = load_settings().qdrant_url
        return f"{url.rstrip('/')}/dashboard#/collections/{quote(collection)}" if url else None

    def check(self) -> None:
        """Make sure that the server answers.

        Raises:
            ServiceUnavailableError: it does not.
            PermanentError: it refuses the key.
        """
        check_index(load_settings())

    @contextmanager
    def open(self, run_id: str) -> Iterator[VectorIndex]:
        """The index, closed at the end of the block; whoever waits for it is told this run."""
        with open_index(load_settings(), run=f"run {run_id}") as index:
            yield index
