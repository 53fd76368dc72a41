"""The checks that hold every store against what it should be, on the assets that they concern.

They ask the database and so cost no step of a sync: one step of one run makes them all for all
stores, after syncs (`report.py`), and a run from the asset graph makes those of its assets for its
own store. Their results speak for all stores, so none of them blocks. What is wrong and what is
only odd is decided in `health/`; severity is ERROR where readers are served something wrong or old,
WARN where a person should look.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import dagster as dg
from dagster import AssetCheckSeverity
from dagster._core.scheduler.instigation import InstigatorType, SensorInstigatorData
from sqlalchemy import Connection

from catalog_pipeline.catalog.accepted import stores_in_force
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.verdicts import StoreVerdict
from catalog_pipeline.defs.embeddings import image_embeddings
from catalog_pipeline.defs.images import product_images
from catalog_pipeline.defs.night import last_night
from catalog_pipeline.defs.products import products, raw_products
from catalog_pipeline.defs.resources import DatabaseResource, EmbedderResource, FilesResource
from catalog_pipeline.defs.run_records import settle
from catalog_pipeline.defs.sensors import poll_stores
from catalog_pipeline.defs.soundness import NEW_VECTORS
from catalog_pipeline.defs.vectors import qdrant_points
from catalog_pipeline.defs.verdicts import check_stores
from catalog_pipeline.errors import PermanentError
from catalog_pipeline.health.pictures import acceptance_is_usual, accepted_have_vectors
from catalog_pipeline.health.rows import (
    currency_is_the_stores,
    few_are_quarantined,
    no_removals_wait,
    prices_are_plausible,
)
from catalog_pipeline.health.vectors import CHECK as OWN_PICTURE
from catalog_pipeline.health.walks import (
    Timetable,
    is_in_time,
    none_is_left_failed,
    walks_are_complete,
)
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.polling import PollCursor
from catalog_pipeline.settings import load_settings
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.index import collection_name
from catalog_pipeline.vectors.reconcile import CHECK as AGREES

_SETTLE_SECONDS = 10.0


class _Sight:
    """What the judges of a run look at, each thing made when the first of them asks for it."""

    def __init__(
        self,
        context: dg.AssetCheckExecutionContext,
        database: Database,
        files: FilesResource,
        embedder: EmbedderResource,
    ) -> None:
        self.now = datetime.now(UTC)
        self._instance = context.instance
        self._database = database
        self._files = files
        self._embedder = embedder

    @cached_property
    def stores(self) -> Mapping[str, StoreConfig]:
        return stores_in_force(self._database, load_settings().stores_file).file.stores

    @cached_property
    def archive(self) -> Archive:
        return Archive(self._files.get())

    @cached_property
    def model_version(self) -> str:
        return self._embedder.spec().model_version

    @cached_property
    def collection(self) -> str:
        return collection_name(load_settings().collection, self.model_version)

    @cached_property
    def timetable(self) -> Timetable:
        return Timetable(self.now, last_night(load_settings(), self.now), self._polled())

    def _polled(self) -> PollCursor | None:
        # An instance in memory keeps none of what sensors leave.
        if self._instance.schedule_storage is None:
            return None
        for state in self._instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
            data = state.instigator_data
            if state.instigator_name == poll_stores.name and isinstance(data, SensorInstigatorData):
                return PollCursor.read(data.cursor)
        return None


@dataclass(frozen=True)
class StandingCheck:
    """A check: the asset that it is shown on, what it says, and how it looks at a store."""

    asset: dg.AssetsDefinition
    name: str
    severity: AssetCheckSeverity
    holds: str
    when_it_fails: str
    judge: Callable[[_Sight, Connection, StoreConfig], StoreVerdict]

    @property
    def spec(self) -> dg.AssetCheckSpec:
        """As Dagster shows it."""
        return dg.AssetCheckSpec(
            self.name,
            asset=self.asset,
            description=(
                f"{self.holds} Fails while the last word on any active store does, and names them. "
                f"**When it fails**: {self.when_it_fails}"
            ),
        )


STANDING = [
    StandingCheck(
        raw_products,
        "walks_are_complete",
        AssetCheckSeverity.WARN,
        "The newest walk of each kind saw all that the store announced.",
        "nothing is lost or removed meanwhile, and the next walk of that kind tries again. If it "
        "stays, the reason says what the store did; `catalog stores check STORE` asks it.",
        lambda see, connection, store: walks_are_complete(connection, see.archive, store),
    ),
    StandingCheck(
        raw_products,
        "no_store_is_stale",
        AssetCheckSeverity.ERROR,
        "Every store answers, is polled by its `poll_every`, and was walked whole since last night "
        "began (CATALOG_NIGHTLY_CRON). A paused store is not late.",
        "a store that fails is told with its last failure: mend that, then `catalog stores resume "
        "STORE`. Why one gives no answer, such as a key that is not set, is said by the ticks of "
        "`poll_stores`. If many are late at once, look whether the daemon runs, whether the sensor "
        "`poll_stores` and the schedule `nightly_walks` are on, and what the queue waits for.",
        lambda see, connection, store: is_in_time(connection, store, see.timetable),
    ),
    StandingCheck(
        products,
        "few_are_quarantined",
        AssetCheckSeverity.WARN,
        "Fewer than three of a store's records are in quarantine, or no more than 5% of them.",
        "the reasons name the fields. Their last valid rows and points stay. What the store sends "
        "wrong is mended there; what this version does not understand, by the next one.",
        lambda _, connection, store: few_are_quarantined(connection, store),
    ),
    StandingCheck(
        products,
        "no_removals_wait",
        AssetCheckSeverity.WARN,
        "No product and no point waits for a person because too many would go at once.",
        "`catalog removals STORE` lists them. If they are to go, approve their number with "
        "`catalog removals STORE --approve N --reason TEXT`; this passes from then on. If not, the "
        "store, a rule or a threshold is wrong: until it is mended, everything stays searchable.",
        lambda see, connection, store: no_removals_wait(
            connection, store, model_version=see.model_version, collection=see.collection
        ),
    ),
    StandingCheck(
        products,
        "currency_is_the_stores",
        AssetCheckSeverity.ERROR,
        "Every live product's price is in the currency of its store.",
        "prices of two currencies stand beside each other in searches. Read the store whole: "
        "`catalog sync STORE --full`. If the API tells the wrong one, set `currency:` for the "
        "store in stores.yaml first.",
        lambda _, connection, store: currency_is_the_stores(connection, store),
    ),
    StandingCheck(
        products,
        "prices_are_plausible",
        AssetCheckSeverity.WARN,
        "No price is negative or a hundred times off the store's median, and most have one.",
        "look at the products that are named, in the store itself: a plug-in that writes cents, or "
        "an import gone wrong. Once it is mended there, the next poll brings the prices.",
        lambda _, connection, store: prices_are_plausible(connection, store),
    ),
    StandingCheck(
        product_images,
        "acceptance_is_usual",
        AssetCheckSeverity.WARN,
        "The share of accepted pictures is not 15 points below the store's own median of 30 days.",
        "the contact sheet of the store's last run shows what is rejected and why. A changed "
        "threshold, a placeholder for every product or a server that answers with thumbnails look "
        "like this. `catalog override` accepts single pictures; `quality:` in stores.yaml, many.",
        lambda see, connection, store: acceptance_is_usual(connection, store, see.now),
    ),
    StandingCheck(
        image_embeddings,
        "accepted_have_vectors",
        AssetCheckSeverity.WARN,
        "Every accepted picture has a vector of the configured model.",
        "a store bounded by `max_images_per_run` is owed them and comes to them by itself, run by "
        "run. Any other: `catalog sync STORE`; if they stay, the metadata of its last run say what "
        "failed.",
        lambda see, connection, store: accepted_have_vectors(connection, store, see.model_version),
    ),
    StandingCheck(
        qdrant_points,
        "no_partition_is_left_failed",
        AssetCheckSeverity.ERROR,
        "No run of any store failed that no later one made up for.",
        "the error is told with the run. Mend its cause and run `catalog sync STORE`; whatever the "
        "failed run had done is kept.",
        lambda _, connection, store: none_is_left_failed(connection, store),
    ),
]


# Of every check there is: one that is no more leaves its last verdicts behind.
CHECKS = [*(check.name for check in STANDING), NEW_VECTORS.name, AGREES, OWN_PICTURE]


@dg.multi_asset_check(
    name="standing_checks",
    specs=[check.spec for check in STANDING],
    can_subset=True,
)
def standing_checks(
    context: dg.AssetCheckExecutionContext,
    database: DatabaseResource,
    files: FilesResource,
    embedder: EmbedderResource,
) -> Iterator[dg.AssetCheckResult]:
    """Judge the run's stores by every check that was asked for."""
    catalog = database.get()
    settle(context.instance, catalog, seconds=_SETTLE_SECONDS)
    see = _Sight(context, catalog, files, embedder)
    for check in STANDING:
        spec = check.spec
        if spec.key in context.selected_asset_check_keys:
            yield check_stores(
                context,
                check.name,
                catalog,
                _judge(check, see, catalog),
                severity=check.severity,
                asset_key=spec.asset_key,
            )


def _judge(check: StandingCheck, see: _Sight, database: Database) -> Callable[[str], StoreVerdict]:
    def judge(store_id: str) -> StoreVerdict:
        store = see.stores.get(store_id)
        if store is None:
            raise PermanentError(f"store {store_id} is not in {load_settings().stores_file}")
        with database.read() as connection:
            return check.judge(see, connection, store)

    return judge
