"""A deployment whose stores answer, with a Dagster instance of its own, for tests of automation."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.definitions.schedule_definition import ScheduleExecutionData
from dagster._core.definitions.sensor_definition import SensorExecutionData

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.definitions import defs
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.defs.products import products, raw_products
from catalog_pipeline.defs.resources import DatabaseResource, FilesResource, StoresResource
from catalog_pipeline.demo.samples import SampleStores
from catalog_pipeline.demo.stores_file import KEY_VARIABLE, SECRET_VARIABLE, stores_document
from catalog_pipeline.files import DataFolder
from catalog_pipeline.instance import ensure_dagster_home
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.reading import ReadRequest, WalkChoice, read_store
from catalog_pipeline.products.sync import sync_products
from catalog_pipeline.products.woocommerce import WooCommerceSource
from catalog_pipeline.settings import load_settings
from catalog_pipeline.stores_file import load_stores


@dataclass
class Shops:
    """The sample stores, what is configured of them, and the instance that runs them."""

    folder: Path
    samples: SampleStores
    instance: DagsterInstance

    @property
    def stores_file(self) -> Path:
        return self.folder / "stores.yaml"

    @contextmanager
    def database(self) -> Iterator[Database]:
        found = Database(load_settings().database)
        found.migrate()
        try:
            yield found
        finally:
            found.dispose()

    def configure(self, changes: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Write stores.yaml: every sample store, some with other keys."""
        changes = changes or {}
        listed = [{**entry, **changes.get(entry["id"], {})} for entry in self._entries()]
        self.stores_file.write_text(yaml.safe_dump({"stores": listed}, sort_keys=False))

    def leave_only(self, *store_ids: str, **keys: Any) -> None:
        """Write stores.yaml with these stores alone, and these keys in each of them."""
        listed = [{**entry, **keys} for entry in self._entries() if entry["id"] in store_ids]
        self.stores_file.write_text(yaml.safe_dump({"stores": listed}, sort_keys=False))

    def tick(self, sensor: dg.SensorDefinition, cursor: str | None = None) -> SensorExecutionData:
        """One evaluation as the daemon asks for it, with the partitions it wants added."""
        repository = defs.get_repository_def()
        with dg.build_sensor_context(
            instance_ref=self.instance.get_ref(),
            cursor=cursor,
            sensor_name=sensor.name,
            repository_def=repository,
            resources=repository.get_top_level_resources(),
        ) as context:
            found = repository.get_sensor_def(sensor.name).evaluate_tick(context)
        for request in found.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(STORES, list(request.partition_keys))
        return found

    def schedule_tick(
        self, schedule: dg.ScheduleDefinition, now: datetime
    ) -> ScheduleExecutionData:
        """One evaluation of a schedule at a moment of its own."""
        repository = defs.get_repository_def()
        with dg.build_schedule_context(
            instance_ref=self.instance.get_ref(),
            scheduled_execution_time=now,
            repository_def=repository,
            resources=repository.get_top_level_resources(),
        ) as context:
            return repository.get_schedule_def(schedule.name).evaluate_tick(context)

    def store_products(self, store_id: str, walk: WalkChoice = "auto") -> None:
        """Read the store and write its rows, without Dagster."""
        config = load_stores(self.stores_file).stores[store_id]
        archive = Archive(DataFolder(load_settings().data_dir))
        with self.database() as database, StoreClient(config) as client:
            source = WooCommerceSource(config, client)
            read_store(database, source, archive, config, ReadRequest(walk))
            with hold_store(database, store_id, "run") as lease:
                sync_products(lease, archive, config)

    def run(self, store_id: str, **tags: str) -> dg.ExecuteInProcessResult:
        """Run the two assets that need no model, as a whole run of their own."""
        return dg.materialize(
            [raw_products, products],
            instance=self.instance,
            partition_key=store_id,
            tags=tags,
            raise_on_error=False,
            resources={
                "stores": StoresResource(),
                "database": DatabaseResource(),
                "files": FilesResource(),
            },
        )

    @contextmanager
    def copy(self, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Shops]:
        """The same shops over a copy of all that is written, which the environment then names."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        with _opened(folder, self.samples, patch) as found:
            yield found

    def _entries(self) -> list[dict[str, Any]]:
        document = stores_document(self.samples.base_url)
        entries = document["stores"]
        assert isinstance(entries, list)
        return [{**entry, "requests_per_second": 1000, "poll_every": "15m"} for entry in entries]


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An instance's folder with its databases made, which takes seconds; to be copied."""
    home = tmp_path_factory.mktemp("dagster")
    settings = load_settings({"CATALOG_DATA_DIR": str(home)})
    ensure_dagster_home(settings, {"DAGSTER_HOME": str(home)})
    with DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs()
        instance.get_dynamic_partitions(STORES)
        instance.all_instigator_state()
    return home


@pytest.fixture
def shops(tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    """Two small stores, configured and never synced."""
    with open_shops(tmp_path, empty_home, monkeypatch) as opened:
        yield opened


@contextmanager
def open_shops(folder: Path, empty_home: Path, patch: pytest.MonkeyPatch) -> Iterator[Shops]:
    """Two small stores of a folder's own, which the environment then names."""
    shutil.copytree(empty_home, folder / "home")
    with (
        SampleStores(products_per_store=12, picture_size=64) as samples,
        _opened(folder, samples, patch) as found,
    ):
        found.configure()
        yield found


@contextmanager
def _opened(folder: Path, samples: SampleStores, patch: pytest.MonkeyPatch) -> Iterator[Shops]:
    home = folder / "home"
    for name, value in {
        "CATALOG_DATA_DIR": str(folder / "data"),
        "CATALOG_STORES_FILE": str(folder / "stores.yaml"),
        KEY_VARIABLE: samples.key,
        SECRET_VARIABLE: samples.secret,
        "DAGSTER_HOME": str(home),
    }.items():
        patch.setenv(name, value)
    with DagsterInstance.from_config(str(home)) as instance:
        yield Shops(folder, samples, instance)
