"""One bad store of ten harms no other: each way of being bad, against the same ten all well.

Stores run as in a deployment: some at once, one writer each, over one database and one data folder,
the bad one first. The whole job in processes of its own is `benchmarks/isolation.py`.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from catalog_pipeline.catalog.circuits import read_circuits
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.demo.faults import Fault
from catalog_pipeline.demo.messages import Response
from catalog_pipeline.demo.profiles import ATELIER
from catalog_pipeline.demo.samples import SampleStores
from catalog_pipeline.demo.stores_file import KEY_VARIABLE, SECRET_VARIABLE, stores_document
from catalog_pipeline.errors import CatalogError
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.decode import Decoder
from catalog_pipeline.images.quality import Issue
from catalog_pipeline.images.sync import sync_images
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.circuit import watched_walk
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.reading import read_store
from catalog_pipeline.products.sync import sync_products
from catalog_pipeline.products.woocommerce import WooCommerceSource
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.stores_file import load_stores
from catalog_pipeline_tests.images.sabotage import poison, sabotage

pytestmark = pytest.mark.timeout(300)

STORES = [f"store-{number}" for number in range(10)]
BAD, GOOD = STORES[0], STORES[1:]
PRODUCTS = 8
# As a deployment's `max_concurrent_runs`.
AT_ONCE = 4
# Of the client of a store that hangs; the others wait as long as they always do.
PATIENCE = 1.5
# A test beside others tells stores that wait for another from stores that do not, and no more; how
# much slower they are, the benchmark measures.
MOST_SECONDS_MORE = 12.0
MOST_TIMES_SLOWER = 3.0


@contextmanager
def stuck_server(drip: bytes) -> Iterator[str]:
    """A server that takes every connection and answers byte by byte, or never; its address."""
    server = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def answer(connection: socket.socket) -> None:
        with closing(connection), suppress(OSError):
            for byte in drip:
                connection.sendall(bytes([byte]))
                if over.wait(0.1):
                    return
            over.wait()

    def serve() -> None:
        while not over.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/{BAD}"
    finally:
        over.set()
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


@dataclass(frozen=True)
class Outcome:
    """How one store's run went, and when it was over, in seconds since all began."""

    live: int
    accepted: int
    corrupt: int
    error: str | None
    ended: float


class Deployment:
    """Ten sample stores, and everything that their runs share."""

    def __init__(self, folder: Path, samples: SampleStores) -> None:
        self.samples = samples
        self.database = Database(f"sqlite:///{folder / 'catalog.sqlite'}")
        self.database.migrate()
        self.files = DataFolder(str(folder / "data"))
        profiles = [replace(ATELIER, id=store) for store in STORES]
        document = stores_document(samples.base_url, profiles)
        document["defaults"] = {
            "requests_per_second": 1_000,
            "connections": 2,
            "quality": {"min_side": 32},
        }
        path = folder / "stores.yaml"
        path.write_text(yaml.safe_dump(document))
        self.stores: dict[str, StoreConfig] = dict(load_stores(path).stores)

    def sync_all(self, patience: float | None = None) -> dict[str, Outcome]:
        """Every store through its first stages, as many at once as a deployment allows.

        Args:
            patience: of the bad store's client, in seconds for one attempt.
        """
        began = time.monotonic()

        def sync(store: StoreConfig) -> Outcome:
            is_bad = store.id == BAD
            try:
                counts = self._sync(store, decoders[is_bad], patience if is_bad else None)
                error = None
            except CatalogError as caught:
                counts, error = (0, 0, 0), str(caught)
            return Outcome(*counts, error, time.monotonic() - began)

        # A run decodes in processes of its own; those of well stores are one pool here, for speed.
        with (
            Decoder(workers=2, function=sabotage) as shared,
            Decoder(workers=1, function=sabotage) as own,
            ThreadPoolExecutor(AT_ONCE) as threads,
        ):
            decoders = (shared, own)
            found = {id_: threads.submit(sync, store) for id_, store in self.stores.items()}
            return {store: future.result() for store, future in found.items()}

    def _sync(
        self, store: StoreConfig, decoder: Decoder, patience: float | None
    ) -> tuple[int, int, int]:
        archive = Archive(self.files)
        with hold_store(self.database, store.id, "run") as lease:
            with (
                watched_walk(self.database, store.id, by_hand=False),
                StoreClient(store, patience=patience, retry_waits=(0.1, 0.2)) as client,
            ):
                read_store(self.database, WooCommerceSource(store, client), archive, store)
            rows = sync_products(lease, archive, store)
            pictures = sync_images(lease, self.files, store, decoder=decoder)
        return rows.live, pictures.accepted, pictures.rejected.get(Issue.CORRUPT, 0)


@contextmanager
def deployment(folder: Path) -> Iterator[Deployment]:
    folder.mkdir()
    profiles = [replace(ATELIER, id=store) for store in STORES]
    with (
        SampleStores(products_per_store=PRODUCTS, picture_size=64, profiles=profiles) as samples,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv(KEY_VARIABLE, samples.key)
        patch.setenv(SECRET_VARIABLE, samples.secret)
        opened = Deployment(folder, samples)
        try:
            yield opened
        finally:
            opened.database.dispose()


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """How the same ten stores go when nothing is wrong with any."""
    with deployment(tmp_path_factory.mktemp("healthy") / "data") as opened:
        found = opened.sync_all()
    assert {outcome.error for outcome in found.values()} == {None}
    assert all(outcome.accepted > 0 for outcome in found.values())
    return found


def throttled(opened: Deployment) -> None:
    opened.samples.stores[BAD].faults.add(status=429, headers={"Retry-After": "1"})


def endless(opened: Deployment) -> None:
    opened.samples.stores[BAD].faults.wrong_totals(100_000, pages=1_000)


def refusing(opened: Deployment) -> None:
    opened.samples.stores[BAD].faults.forbid_rest_api()


def poisoned(response: Response) -> Response:
    """The picture, so that each is another one, behind what kills the decoder."""
    return replace(response, payload=poison("SIGKILL") + response.body())


def others_are_as_well_as_ever(found: dict[str, Outcome], healthy: dict[str, Outcome]) -> None:
    for store in GOOD:
        expected = replace(healthy[store], ended=0.0)
        assert replace(found[store], ended=0.0) == expected, store
    usual = max(healthy[store].ended for store in GOOD)
    allowed = MOST_TIMES_SLOWER * usual + MOST_SECONDS_MORE
    assert max(found[store].ended for store in GOOD) < allowed


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (throttled, "answered 429"),
        (endless, "brought no new product"),
        (refusing, "answered 401"),
    ],
)
def test_a_store_that_answers_badly_fails_alone(
    tmp_path: Path,
    healthy: dict[str, Outcome],
    break_it: Callable[[Deployment], None],
    said: str,
) -> None:
    with deployment(tmp_path / "data") as opened:
        break_it(opened)
        found = opened.sync_all()
        with opened.database.read() as connection:
            circuits = read_circuits(connection)
    assert said in (found[BAD].error or "")
    assert {store: circuit.failures for store, circuit in circuits.items()} == {BAD: 1}
    others_are_as_well_as_ever(found, healthy)


@pytest.mark.parametrize("drip", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 10_000])
def test_a_store_that_hangs_or_drips_fails_alone_and_in_time(
    tmp_path: Path, healthy: dict[str, Outcome], drip: bytes
) -> None:
    with deployment(tmp_path / "data") as opened, stuck_server(drip) as url:
        opened.stores[BAD] = opened.stores[BAD].model_copy(update={"url": url})
        found = opened.sync_all(PATIENCE)
    assert "took too long" in (found[BAD].error or "")
    # Three attempts and the pauses between them, beside nine others.
    usual = healthy[BAD].ended
    assert found[BAD].ended < 3 * PATIENCE + MOST_TIMES_SLOWER * usual + MOST_SECONDS_MORE
    others_are_as_well_as_ever(found, healthy)


def test_pictures_that_kill_the_decoder_cost_their_own_store_alone(
    tmp_path: Path, healthy: dict[str, Outcome]
) -> None:
    with deployment(tmp_path / "data") as opened:
        fault = Fault("uploads", times=3, change=poisoned)
        opened.samples.stores[BAD].faults.insert(fault)
        found = opened.sync_all()
    assert fault.struck == 3
    assert (found[BAD].error, found[BAD].live) == (None, healthy[BAD].live)
    assert found[BAD].corrupt == healthy[BAD].corrupt + 3
    assert 0 < found[BAD].accepted < healthy[BAD].accepted
    others_are_as_well_as_ever(found, healthy)
