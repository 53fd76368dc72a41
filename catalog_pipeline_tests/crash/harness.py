"""Two deployments over the same stores: one that is disturbed, one that never is.

After every disturbance and the sync that follows it, both must hold the same. How a sync is run is
`nursery.py`'s, what is compared `contents.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from catalog_pipeline.instance import ensure_dagster_home
from catalog_pipeline.settings import load_settings
from catalog_pipeline_tests.crash.contents import (
    contents_of,
    differences,
    differing_rows,
    rows_of,
)
from catalog_pipeline_tests.crash.edits import Assistant
from catalog_pipeline_tests.crash.faults import SITES, Fault, Site
from catalog_pipeline_tests.crash.nursery import Nursery, Order, Sync, nursery
from catalog_pipeline_tests.deployment import Deployment, sample_deployment

PRODUCTS = 25
PICTURE_SIZE = 200
# Reads what changed and finds what is gone.
_WHOLE = "nightly"
_FIRST_LOADS = 0.3
_TAKEN_BACK = 0.5
_KILLED_AGAIN = 0.25
_BY_THE_CLOCK = 0.3


@dataclass(frozen=True)
class Place:
    """A deployment of its own over the stores of another."""

    folder: Path
    environ: dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """One disturbance: what was done, what was owed after it, and how the two differed in the end.

    `owed` counts rows by table; `problems` is empty where both hold the same.
    """

    edits: list[str]
    where: list[str]
    kills: int
    owed: dict[str, int]
    problems: list[str]
    seconds: float

    def __str__(self) -> str:
        owed = ", ".join(f"{name} {count}" for name, count in self.owed.items()) or "nothing"
        verdict = "equal" if not self.problems else "; ".join(self.problems[:6])
        return (
            f"{' | '.join(self.where)} [{', '.join(self.edits) or 'first load'}] "
            f"owed: {owed} -> {verdict} ({self.seconds:.1f} s)"
        )


@dataclass
class World:
    """The stores, the process that syncs, and the two deployments."""

    deployment: Deployment
    nursery: Nursery
    random: Random
    reference: Place
    disturbed: Place
    first_load: Sync
    in_step: bool = True
    _assistants: dict[str, Assistant] = field(default_factory=dict)
    _places: int = 0

    def assistant(self, store_id: str) -> Assistant:
        """Who edits a store."""
        if store_id not in self._assistants:
            store = self.deployment.stores.stores[store_id]
            self._assistants[store_id] = Assistant(store, self.random)
        return self._assistants[store_id]

    def sync(
        self,
        place: Place,
        store_id: str,
        *,
        walk: str = _WHOLE,
        fault: Fault | None = None,
        kill_after: float | None = None,
    ) -> Sync:
        """One sync of a store in a deployment."""
        self.in_step = False
        order = Order(
            store_id=store_id,
            walk=walk,
            environ=place.environ,
            folder=place.folder,
            fault=fault,
        )
        return self.nursery.sync(order, kill_after=kill_after)

    def sync_well(self, place: Place, store_id: str) -> Sync:
        """One undisturbed sync, which must succeed."""
        done = self.sync(place, store_id)
        assert done.success, done.error
        return done

    def start_anew(self, **environ: str) -> None:
        """Put an empty deployment in the place of the disturbed one."""
        self._places += 1
        self.disturbed = new_place(self.deployment, f"disturbed-{self._places}", environ)

    def catch_up(self, *store_ids: str) -> Sync:
        """Sync stores, or all, undisturbed in both deployments; the disturbed one's last sync."""
        done = None
        for store_id in store_ids or tuple(self.deployment.stores.stores):
            self.sync_well(self.reference, store_id)
            done = self.sync_well(self.disturbed, store_id)
        assert done is not None
        return done

    def problems(self) -> list[str]:
        """How the disturbed deployment differs from the other."""
        expected = contents_of(self.reference.environ)
        assert expected.payloads
        found = differences(expected, contents_of(self.disturbed.environ))
        self.in_step = not found
        return found

    def loaded_products(self, store_id: str) -> list[int]:
        """The store's ids of products that the reference has points of, in the store's order."""
        tables = rows_of(self.reference.environ)
        loaded = {row["product_id"] for row in tables["points"].values()}
        ids = {
            int(row["external_id"])
            for row in tables["products"].values()
            if row["store_id"] == store_id and row["product_id"] in loaded
        }
        published = self.deployment.stores.stores[store_id].product_ids("publish")
        return [product for product in published if product in ids]

    def owed(self) -> dict[str, int]:
        """Rows of the disturbed deployment by table that are not yet as they will be."""
        different = differing_rows(rows_of(self.reference.environ), rows_of(self.disturbed.environ))
        return {table: len(rows) for table, rows in different.items()}

    def kill_once(self, store_id: str) -> Outcome:
        """Edit a store, kill the sync that follows once or twice, let another end, and compare."""
        random, assistant = self.random, self.assistant(store_id)
        edits: list[str] = []
        if random.random() < _FIRST_LOADS:
            self.start_anew()
            # The other store is there undisturbed: the collection and its pictures are shared.
            for other in self.deployment.stores.stores:
                if other != store_id:
                    self.sync_well(self.disturbed, other)
            usual = self.first_load
        else:
            edits = assistant.edit()
            usual = self.sync_well(self.reference, store_id)
        where = [self._kill(store_id, usual)]
        if random.random() < _KILLED_AGAIN:
            where.append(self._kill(store_id, usual))
        owed = self.owed()
        if edits and random.random() < _TAKEN_BACK:
            edits += assistant.take_back()
            self.sync_well(self.reference, store_id)
        last = self.sync_well(self.disturbed, store_id)
        killed = [one for one in where if one.startswith("killed")]
        return Outcome(edits, where, len(killed), owed, self.problems(), last.seconds)

    def _kill(self, store_id: str, usual: Sync) -> str:
        random = self.random
        walk = random.choice(["auto", _WHOLE, _WHOLE])
        if random.random() < _BY_THE_CLOCK:
            seconds = random.uniform(0.0, usual.seconds)
            done = self.sync(self.disturbed, store_id, walk=walk, kill_after=seconds)
            how = f"by the clock after {seconds:.2f} s, last seen {done.last}"
        else:
            fault = self._draw(usual)
            done = self.sync(self.disturbed, store_id, walk=walk, fault=fault)
            how = f"{fault.when} {fault.site} {fault.number} of {usual.calls[fault.site]}"
        if not done.killed:
            assert done.success, done.error
        return f"{'killed' if done.killed else 'survived'} {how}"

    def _draw(self, usual: Sync) -> Fault:
        sites: list[Site] = [site for site in SITES if usual.calls.get(site)]
        site = self.random.choice(sites)
        number = self.random.randint(1, usual.calls[site])
        return Fault(site=site, number=number, when=self.random.choice(["before", "after"]))


def new_place(deployment: Deployment, name: str, more: dict[str, str] | None = None) -> Place:
    """An empty deployment over a deployment's stores."""
    folder = deployment.folder / name
    folder.mkdir()
    environ = {**deployment.environ, "CATALOG_DATA_DIR": str(folder), **(more or {})}
    del environ["DAGSTER_HOME"]
    environ["DAGSTER_HOME"] = str(ensure_dagster_home(load_settings(environ), environ))
    return Place(folder, environ)


@contextmanager
def world(folder: Path, seed: int) -> Iterator[World]:
    """Stores, a nursery, and two deployments that hold the same."""
    with (
        sample_deployment(
            folder, products_per_store=PRODUCTS, picture_size=PICTURE_SIZE
        ) as deployment,
        nursery() as started,
    ):
        reference, disturbed = (new_place(deployment, name) for name in ("reference", "disturbed"))
        first, *others = deployment.stores.stores
        order = Order(
            store_id=first, walk=_WHOLE, environ=reference.environ, folder=reference.folder
        )
        made = World(deployment, started, Random(seed), reference, disturbed, started.sync(order))
        assert made.first_load.success, made.first_load.error
        for store_id in others:
            made.sync_well(reference, store_id)
        for store_id in deployment.stores.stores:
            made.sync_well(disturbed, store_id)
        yield made
