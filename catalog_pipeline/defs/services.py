"""What a sensor or schedule must have before it starts anything: services that answer, and stores.

One reason here stands for a failed run of every store.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from catalog_pipeline.catalog.accepted import StoresInForce, stores_in_force
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import deployment
from catalog_pipeline.defs.resources import DatabaseResource, FilesResource, VectorIndexResource
from catalog_pipeline.errors import ServiceUnavailableError
from catalog_pipeline.settings import load_settings
from catalog_pipeline.stores import StoreConfig


@dataclass(frozen=True)
class Ready:
    """A deployment that runs can be started in."""

    database: Database
    stores: StoresInForce

    def polled(self, now: datetime) -> dict[str, StoreConfig]:
        """The stores that are read without anyone asking for it, in the order of the file."""
        return {
            store_id: store
            for store_id, store in self.stores.file.stores.items()
            if store.is_polled(now)
        }

    def intervals(self, now: datetime) -> dict[str, timedelta]:
        """How often each of them is looked at."""
        return {store_id: store.poll_every for store_id, store in self.polled(now).items()}


def reach_database(database: DatabaseResource) -> Database:
    """The database, at this code's schema.

    Raises:
        CatalogError: it cannot be used now, or is of another version.
    """
    try:
        return database.get()
    except OSError as error:
        # The folder of an embedded one.
        raise ServiceUnavailableError(f"the database cannot be used now: {error}") from error


def make_ready(
    database: DatabaseResource, files: FilesResource, vector_index: VectorIndexResource
) -> Ready:
    """Reach database, data folder and Qdrant once, and read the stores in force.

    Raises:
        CatalogError: a run could not work now; the message is the one reason to give.
    """
    settings = load_settings()
    files.get().check()
    catalog = reach_database(database)
    with catalog.read() as connection:
        connection.execute(select(deployment.c.key)).one()
    vector_index.check()
    return Ready(catalog, stores_in_force(catalog, settings.stores_file))
