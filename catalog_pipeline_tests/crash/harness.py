"""Two deployments over the same stores: one that is disturbed, one that never is.

After every disturbance and the sync that follows it, both must hold the same. How a sync is run is
`syncs.py`'s, what is compared `contents.py`'s.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from subprocess import Popen

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
from catalog_pipeline_tests.crash.syncs import Order, Sync, kill_process, run_sync
from catalog_pipeline_tests.deployment import Deployment, sample_deployment

PRODUCTS = 25
PICTURE_SIZE = 200
# Reads what changed and finds what is gone.
WHOLE = ("--nightly",)
CHANGES = ()
_FIRST_LOADS = 0.2
_TAKEN_BACK = 0.25
_IN_A_ROW = (3, 6)
_BY_THE_CLOCK = 0.5


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

    def __str__(self) -> str:
        owed = ", ".join(f"{name} {count}" for name, count in self.owed.items()) or "nothing"
        verdict = "equal" if not self.problems else "; ".join(self.problems[:6])
        return f"{' | '.join(self.where)} [{', '.join(self.edits)}] owed: {owed} -> {verdict}"


@dataclass
class World:
    """The stores and the two deployments."""

    deployment: Deployment
    random: Random
    store_ids: list[str]
    reference: Place
    disturbed: Place
    # The last undisturbed sync of each store: what there is to kill in one.
    usual: dict[str, Sync] = field(default_factory=dict)
    in_step: bool = False
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
        options: tuple[str, ...] = WHOLE,
        fault: Fault | None = None,
        strike_after: float | None = None,
        strike: Callable[[Popen[bytes]], None] = kill_process,
        is_patient: bool = False,
    ) -> Sync:
        """One sync of a store in a deployment."""
        self.in_step = False
        order = Order(
            store_id=store_id,
            options=options,
            folder=place.folder,
            fault=fault,
            is_patient=is_patient,
        )
        return run_sync(order, place.environ, strike_after=strike_after, strike=strike)

    def sync_well(self, place: Place, store_id: str) -> Sync:
        """One undisturbed sync, which must succeed."""
        done = self.sync(place, store_id)
        assert done.success, done.failures
        return done

    def start_anew(self, **environ: str) -> None:
        """Put an empty deployment in the place of the disturbed one."""
        self._places += 1
        self.disturbed = new_place(self.deployment, f"disturbed-{self._places}", environ)
        self.in_step = False

    def start_in_step(self) -> None:
        """Put a copy of the reference in the place of the disturbed one."""
        self.start_anew()
        # Its Dagster instance goes with it: both are files, and name no folder of theirs.
        shutil.copytree(self.reference.folder, self.disturbed.folder, dirs_exist_ok=True)
        self.in_step = True

    def catch_up(self, *store_ids: str) -> None:
        """Sync stores, or all, undisturbed in both deployments."""
        for store_id in store_ids or self.store_ids:
            self.sync_well(self.reference, store_id)
            self.sync_well(self.disturbed, store_id)

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

    def disturb(self, store_id: str) -> Outcome:
        """Edit a store and kill its sync a few times, let another sync end, and compare."""
        random, assistant = self.random, self.assistant(store_id)
        is_first = random.random() < _FIRST_LOADS
        if is_first:
            self.start_anew()
        edits: list[str] = []
        where: list[str] = []
        for _ in range(random.randint(*_IN_A_ROW)):
            edits += assistant.edit()
            where.append(self.kill(store_id))
        if random.random() < _TAKEN_BACK:
            edits += assistant.take_back()
        self.usual[store_id] = self.sync_well(self.reference, store_id)
        owed = self.owed()
        self.sync_well(self.disturbed, store_id)
        if is_first:
            for other in self.store_ids:
                if other != store_id:
                    self.sync_well(self.disturbed, other)
        killed = [one for one in where if one.startswith("killed")]
        return Outcome(edits, where, len(killed), owed, self.problems())

    def kill(self, store_id: str) -> str:
        """Kill a sync at a random moment or a random write of a usual one; what came of it."""
        random, usual = self.random, self.usual[store_id]
        options = random.choice([CHANGES, WHOLE, WHOLE])
        if random.random() < _BY_THE_CLOCK:
            seconds = usual.seconds * self._early()
            done = self.sync(self.disturbed, store_id, options=options, strike_after=seconds)
            how = f"{seconds:.2f} s after the first write, {done.last}"
        else:
            fault = self._draw(usual)
            done = self.sync(self.disturbed, store_id, options=options, fault=fault)
            how = f"{fault.when} {fault.site} {fault.number} of {usual.calls[fault.site]}"
        if not done.killed:
            assert done.success, done.failures
        return f"{'killed' if done.killed else 'survived'} {how}"

    def _draw(self, usual: Sync) -> Fault:
        sites: list[Site] = [site for site in SITES if usual.calls.get(site)]
        site = self.random.choice(sites)
        number = 1 + int(usual.calls[site] * self._early())
        return Fault(site=site, number=number, when=self.random.choice(["before", "after"]))

    def _early(self) -> float:
        """A share of a usual sync, rather small: one that comes after a kill has less to do."""
        return self.random.random() ** 2


def new_place(deployment: Deployment, name: str, more: dict[str, str] | None = None) -> Place:
    """An empty deployment over a deployment's stores."""
    folder = deployment.folder / name
    folder.mkdir()
    environ = {**deployment.environ, "CATALOG_DATA_DIR": str(folder), **(more or {})}
    del environ["DAGSTER_HOME"]
    environ["DAGSTER_HOME"] = str(ensure_dagster_home(load_settings(environ), environ))
    return Place(folder, environ)


@contextmanager
def world(folder: Path, seed: int, stores: Sequence[str] = ()) -> Iterator[World]:
    """Stores, by default all; a deployment that has loaded them, and one that holds nothing yet."""
    with sample_deployment(
        folder, products_per_store=PRODUCTS, picture_size=PICTURE_SIZE
    ) as deployment:
        reference, disturbed = (new_place(deployment, name) for name in ("reference", "disturbed"))
        store_ids = list(stores or deployment.stores.stores)
        made = World(deployment, Random(seed), store_ids, reference, disturbed)
        for store_id in made.store_ids:
            made.usual[store_id] = made.sync_well(reference, store_id)
        yield made
