"""The collection ends equal to what the database wants, whatever happened before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient
from sqlalchemy import delete, func, select

from catalog_pipeline.catalog.audit import entries
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import LeaseLostError
from catalog_pipeline.catalog.removal_approvals import Approval
from catalog_pipeline.catalog.schema import leases, points, products
from catalog_pipeline.embeddings.parts import read_vectors, write_part
from catalog_pipeline.embeddings.problems import MissingPartError, PartError
from catalog_pipeline.errors import PermanentError
from catalog_pipeline.files import DataFolder
from catalog_pipeline.vectors import load
from catalog_pipeline.vectors.adoption import adopt_collection
from catalog_pipeline.vectors.index import OwnershipError, Points, VectorIndex
from catalog_pipeline.vectors.qdrant_server import ServerIndex
from catalog_pipeline_tests.vectors.engines import close_to, simple_payload, unit_vectors
from catalog_pipeline_tests.vectors.shop import Shop, sha_of, vector_of


@pytest.fixture
def shop(database: Database, tmp_path: Path, index: VectorIndex) -> Shop:
    return Shop(database, DataFolder(str(tmp_path / "data")), index, alias=f"a{uuid4().hex}")


@pytest.fixture
def local_shop(database: Database, tmp_path: Path) -> Iterator[Shop]:
    """On the client's local mode alone, where the engine makes no difference."""
    client = QdrantClient(":memory:")
    yield Shop(database, DataFolder(str(tmp_path / "data")), ServerIndex(client))
    client.close()


def written(report: Any) -> int:
    return int(report.upserted + report.payload_refreshed + sum(report.deleted.values()))


def test_a_first_sync_loads_what_is_accepted_and_a_second_nothing(shop: Shop) -> None:
    shop.add(1, 2, 3)
    shop.product(4)
    shop.add(5, removed_by="absent")
    steps: list[tuple[int, int]] = []
    report = shop.sync(progress=lambda done, total: steps.append((done, total)))
    assert (report.upserted, report.points, report.recorded) == (3, 3, 3)
    assert (report.collection, report.alias_target) == (shop.collection, shop.collection)
    assert (report.status, report.deleted, report.waiting) == ("green", {}, {})
    assert steps[-1] == (3, 3)
    found = shop.points()
    assert set(found) == {shop.id(1), shop.id(2), shop.id(3)}
    assert close_to(found[shop.id(1)].vector, vector_of(sha_of("atelier-1")))
    again = shop.sync()
    assert (written(again), again.unchanged, again.points) == (0, 3, 3)


def test_the_payload_says_what_readers_filter_and_show(local_shop: Shop) -> None:
    shop = local_shop
    shop.add(1, price=Decimal("1234.50"), on_sale=True)
    shop.add(2, price=None, currency=None, sku=None, created_at=None, categories=[])
    shop.sync()
    found = shop.points()
    assert found[shop.id(1)].payload == {
        "product_id": str(shop.id(1)),
        "store_id": "atelier",
        "external_id": "1",
        "sku": "sku-1",
        "title": "Dress 1",
        "price": 1234.5,
        "currency": "EUR",
        "categories": ["Dresses"],
        "in_stock": True,
        "on_sale": True,
        "product_url": "https://atelier.example/p/1",
        "image_url": "https://atelier.example/1-0.jpg",
        "image_sha256": sha_of("atelier-1"),
        "created_at": "2025-03-01T12:30:00+00:00",
        "model_version": "m-1",
    }
    bare = found[shop.id(2)].payload
    assert bare is not None
    assert not {"price", "currency", "sku", "created_at"} & set(bare)
    assert bare["categories"] == []


def test_a_new_price_writes_the_payload_and_reads_no_vector(shop: Shop) -> None:
    shop.add(1, 2)
    shop.sync()
    shop.change(1, price=Decimal("9.00"))
    for part in shop.parts:
        shop.files.remove(part)
    report = shop.sync()
    assert (report.upserted, report.payload_refreshed, report.unchanged) == (0, 1, 1)
    payload = shop.points()[shop.id(1)].payload
    assert payload is not None
    assert payload["price"] == 9.0
    assert written(shop.sync()) == 0


def test_a_new_picture_writes_the_vector(local_shop: Shop) -> None:
    shop = local_shop
    shop.add(1, 2)
    shop.sync()
    new = sha_of("new")
    shop.picture(1, new)
    shop.judge(new)
    shop.embed(new)
    report = shop.sync()
    assert (report.upserted, report.unchanged) == (1, 1)
    point = shop.points()[shop.id(1)]
    assert close_to(point.vector, vector_of(new))
    assert point.payload is not None
    assert point.payload["image_sha256"] == new


def _failing_new_url(shop: Shop) -> None:
    shop.product(1, url=shop.url(1, 1), title="New title")
    shop.picture(1, None, outcome="failed", url=shop.url(1, 1))


def _new_url_not_tried(shop: Shop) -> None:
    shop.product(1, url=shop.url(1, 1), title="New title")


def _not_judged(shop: Shop) -> None:
    shop.product(1, title="New title")
    shop.picture(1, sha_of("new"))


def _not_embedded(shop: Shop) -> None:
    shop.product(1, title="New title")
    shop.picture(1, sha_of("new"))
    shop.judge(sha_of("new"))


@pytest.mark.parametrize(
    "happen", [_failing_new_url, _new_url_not_tried, _not_judged, _not_embedded]
)
def test_the_last_good_picture_stays_with_a_fresh_payload(
    local_shop: Shop, happen: Callable[[Shop], None]
) -> None:
    shop = local_shop
    shop.add(1, 2)
    shop.sync()
    happen(shop)
    report = shop.sync()
    assert (report.stale, report.payload_refreshed, report.upserted, report.deleted) == (
        1,
        1,
        0,
        {},
    )
    point = shop.points()[shop.id(1)]
    assert point.payload is not None
    assert (point.payload["title"], point.payload["image_sha256"]) == (
        "New title",
        sha_of("atelier-1"),
    )
    assert close_to(point.vector, vector_of(sha_of("atelier-1")))
    again = shop.sync()
    assert (written(again), again.stale, again.unchanged) == (0, 1, 2)


def test_a_failed_retry_of_the_same_picture_is_not_stale(local_shop: Shop) -> None:
    local_shop.add(1)
    local_shop.sync()
    local_shop.picture(1, sha_of("atelier-1"), outcome="failed")
    report = local_shop.sync()
    assert (written(report), report.stale, report.unchanged) == (0, 0, 1)


@pytest.mark.parametrize(
    ("reason", "happen"),
    [
        ("removed", lambda shop: shop.change(1, removed_by="absent")),
        ("left_out", lambda shop: shop.change(1, left_out_by="visibility")),
        ("no_image", lambda shop: shop.product(1, url=None)),
        ("image_gone", lambda shop: shop.picture(1, sha_of("atelier-1"), outcome="gone")),
        ("image_rejected", lambda shop: shop.judge(sha_of("atelier-1"), accepted=False)),
    ],
)
def test_a_point_goes_only_for_a_reason_that_is_counted(
    local_shop: Shop, reason: str, happen: Callable[[Shop], None]
) -> None:
    shop = local_shop
    shop.add(1, 2)
    shop.sync()
    happen(shop)
    report = shop.sync()
    assert (report.deleted, report.points, report.recorded) == ({reason: 1}, 1, 1)
    assert set(shop.points()) == {shop.id(2)}
    assert written(shop.sync()) == 0


def test_a_product_without_a_row_is_removed(local_shop: Shop) -> None:
    shop = local_shop
    shop.add(1, 2)
    shop.sync()
    with shop.database.write() as connection:
        connection.execute(delete(products).where(products.c.product_id == shop.id(1)))
    assert shop.sync().deleted == {"removed": 1}


def test_a_product_that_comes_back_is_loaded_again(local_shop: Shop) -> None:
    shop = local_shop
    shop.add(1)
    shop.sync()
    shop.change(1, removed_by="absent")
    shop.sync()
    shop.change(1, removed_by=None)
    assert shop.sync().upserted == 1
    assert set(shop.points()) == {shop.id(1)}


def test_too_many_removals_wait_and_nothing_else_does(local_shop: Shop) -> None:
    shop = local_shop
    shop.add(*range(20))
    shop.sync()
    for number in range(6):
        shop.change(number, removed_by="absent")
    for number in range(6, 11):
        shop.judge(sha_of(f"atelier-{number}"), accepted=False)
    shop.change(15, title="Renamed")
    shop.add(30)
    report = shop.sync()
    assert (report.deleted, report.waiting) == ({}, {"removed": 6, "image_rejected": 5})
    assert (report.removal_limit, report.payload_refreshed, report.upserted) == (10, 1, 1)
    assert len(shop.points()) == 21
    shop.judge(sha_of("atelier-10"))
    report = shop.sync()
    assert (report.deleted, report.waiting) == ({"removed": 6, "image_rejected": 4}, {})
    assert len(shop.points()) == 11


def test_what_is_loaded_in_a_run_does_not_widen_its_guard(local_shop: Shop) -> None:
    shop = local_shop
    shop.add(*range(12))
    shop.sync()
    for number in range(11):
        shop.change(number, removed_by="absent")
    shop.add(*range(100, 160))
    report = shop.sync()
    assert (report.deleted, report.waiting, report.removal_limit) == ({}, {"removed": 11}, 10)


def test_stores_and_pictures_do_not_mix(local_shop: Shop) -> None:
    shop = local_shop
    shop.add(1, 2, picture="shared")
    other = Shop(shop.database, shop.files, shop.index, "brise", shop.alias)
    other.add(1, picture="shared")
    other.judge(sha_of("shared"), accepted=False)
    assert (shop.sync().points, other.sync().points) == (2, 0)
    other.judge(sha_of("shared"))
    assert other.sync().points == 1
    for number in (1, 2):
        shop.change(number, removed_by="absent")
    assert shop.sync().deleted == {"removed": 2}
    assert set(other.points()) == {other.id(1)}


def test_a_sync_leaves_another_stores_removals_alone(local_shop: Shop) -> None:
    shop = local_shop
    other = Shop(shop.database, shop.files, shop.index, "brise", shop.alias)
    for each in (shop, other):
        each.add(1, 2)
        each.sync()
    other.change(1, removed_by="absent")
    assert shop.sync().deleted == {}
    assert len(other.points()) == 2
    assert other.sync().deleted == {"removed": 1}


def test_points_that_vanished_are_loaded_again(shop: Shop) -> None:
    shop.add(1, 2, 3)
    shop.sync()
    with shop.index.session(shop.collection) as opened:
        opened.delete([shop.id(1), shop.id(3)])
    report = shop.sync()
    assert (report.lost, report.upserted, report.unchanged, report.points) == (2, 2, 1, 3)


def test_a_collection_that_vanished_is_made_and_loaded_again(
    local_shop: Shop, tmp_path: Path
) -> None:
    shop = local_shop
    shop.add(1, 2, 3)
    shop.sync()
    client = QdrantClient(":memory:")
    report = shop.sync(index=ServerIndex(client))
    client.close()
    assert (report.lost, report.upserted, report.points) == (3, 3, 3)


def test_a_stray_point_goes_within_the_guard(shop: Shop) -> None:
    shop.add(1)
    shop.sync()
    stray = uuid4()
    with shop.index.session(shop.collection) as opened:
        opened.upsert([stray], unit_vectors(1), [simple_payload(stray)])
    report = shop.sync()
    assert (report.unrecorded, report.deleted) == (1, {"unrecorded": 1})
    assert set(shop.points()) == {shop.id(1)}


def test_many_stray_points_wait(local_shop: Shop) -> None:
    shop = local_shop
    shop.add(1)
    shop.sync()
    strays = [uuid4() for _ in range(15)]
    with shop.index.session(shop.collection) as opened:
        opened.upsert(strays, unit_vectors(15), [simple_payload(i) for i in strays])
    report = shop.sync()
    assert (report.waiting, report.deleted, report.points) == ({"unrecorded": 15}, {}, 16)
    report = shop.sync(approval=Approval(15, "kim", "left by a test"))
    assert (report.waiting, report.deleted, report.points) == ({}, {"unrecorded": 15}, 1)
    assert set(shop.points()) == {shop.id(1)}


def test_a_lost_record_of_a_point_that_is_to_stay_is_found_again(local_shop: Shop) -> None:
    shop = local_shop
    shop.add(1, 2)
    shop.sync()
    _failing_new_url(shop)
    with shop.database.write() as connection:
        connection.execute(delete(points))
    report = shop.sync()
    assert (report.unrecorded, report.deleted, report.stale, report.upserted) == (2, {}, 1, 1)
    assert set(shop.points()) == {shop.id(1), shop.id(2)}
    again = shop.sync()
    assert (written(again), again.unchanged, again.recorded) == (0, 2, 2)


def test_a_point_that_vanished_while_the_counts_agree_comes_back(local_shop: Shop) -> None:
    shop = local_shop
    shop.add(1, 2)
    shop.sync()
    stray = uuid4()
    with shop.index.session(shop.collection) as opened:
        opened.delete([shop.id(1)])
        opened.upsert([stray], unit_vectors(1), [simple_payload(stray)])
    shop.change(1, title="Renamed")
    report = shop.sync()
    assert (report.lost, report.upserted) == (1, 1)
    assert set(shop.points()) == {shop.id(1), shop.id(2), stray}
    assert shop.sync().deleted == {"unrecorded": 1}


def test_another_deployment_can_empty_nothing(shop: Shop) -> None:
    shop.add(1, 2)
    shop.sync()
    with shop.database.write() as connection:
        connection.execute(delete(products))
    with pytest.raises(OwnershipError, match="adopt"):
        shop.sync(deployment_id=uuid4())
    assert len(shop.points()) == 2


def test_a_collection_is_adopted_by_a_decision_on_record(shop: Shop) -> None:
    shop.add(1)
    lost = uuid4()
    collection = shop.sync(deployment_id=lost).collection
    with pytest.raises(OwnershipError, match=f"catalog adopt {collection}"):
        shop.sync()

    before = adopt_collection(
        shop.database, shop.index, collection, who="ada", reason="its database burnt"
    )

    assert before == lost
    assert shop.sync().points == 1
    with shop.database.read() as connection:
        (entry,) = entries(connection, subject=collection)
    assert (entry.who, entry.action, entry.reason) == (
        "ada",
        "collection.adopt",
        "its database burnt",
    )
    for wrong, said in ((collection, "already"), ("nothing", "no collection nothing")):
        with pytest.raises(PermanentError, match=said):
            adopt_collection(shop.database, shop.index, wrong, who="ada", reason="again")


@pytest.mark.parametrize("stage", ["upsert", "record", "delete", "forget"])
def test_dying_anywhere_the_next_run_does_the_rest(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(load, "BATCH", 2)
    monkeypatch.setattr(load, "GROUP", 4)
    shop.add(*range(4))
    shop.sync()
    shop.change(0, removed_by="absent")
    shop.add(*range(10, 19))
    with monkeypatch.context() as patch:
        index = _DyingIndex(shop.index, stage)
        if stage == "record":
            _die_at(patch, "catalog_pipeline.vectors.load.bulk.upsert", 2)
        if stage == "forget":
            _die_at(patch, "catalog_pipeline.vectors.sync.forget_points", 1)
        with pytest.raises(_DiedError):
            shop.sync(index=index)
    shop.sync()
    wanted = {shop.id(n) for n in [*range(1, 4), *range(10, 19)]}
    assert set(shop.points()) == wanted
    again = shop.sync()
    assert (written(again), again.points, again.recorded) == (0, 12, 12)


class _DiedError(BaseException):
    pass


def _die_at(patch: pytest.MonkeyPatch, name: str, call: int) -> None:
    left = [call]

    def die(*_args: Any, **_kwargs: Any) -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise _DiedError

    patch.setattr(name, die)


class _DyingIndex:
    """Dies after the second batch of one kind was written."""

    def __init__(self, inner: VectorIndex, stage: str) -> None:
        self._inner = inner
        self._stage = stage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @contextmanager
    def session(self, collection: str) -> Iterator[Points]:
        with self._inner.session(collection) as opened:
            for method in {self._stage} & {"upsert", "delete"}:
                real = getattr(opened, method)

                def dying(*args: Any, _real: Callable[..., None] = real) -> None:
                    _real(*args)
                    raise _DiedError

                setattr(opened, method, dying)
            yield opened


def test_a_lost_lease_stops_before_the_next_batch(
    local_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = local_shop
    shop.add(*range(6))
    monkeypatch.setattr(load, "BATCH", 2)
    real = shop.index.session
    batches: list[int] = []

    @contextmanager
    def watched(collection: str) -> Iterator[Points]:
        with real(collection) as opened:
            write = opened.upsert

            def upsert(*args: Any) -> None:
                write(*args)
                batches.append(len(args[0]))
                with shop.database.write() as connection:
                    connection.execute(leases.update().values(epoch=99))

            monkeypatch.setattr(opened, "upsert", upsert)
            yield opened

    monkeypatch.setattr(shop.index, "session", watched)
    with pytest.raises(LeaseLostError):
        shop.sync()
    assert batches == [2]
    with shop.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(points)) == 0


def test_vectors_that_are_missing_or_foreign_are_refused(local_shop: Shop) -> None:
    shop = local_shop
    shop.add(1)
    (part,) = shop.parts
    intact = shop.files.read(part)
    shop.files.remove(part)
    with pytest.raises(MissingPartError, match="embeddings"):
        shop.sync()
    foreign = write_part(shop.files, "m-1", [sha_of("foreign")], unit_vectors(1))
    shop.files.write(part, shop.files.read(foreign))
    with pytest.raises(PartError, match="other images"):
        shop.sync()
    shop.files.write(part, intact)
    assert shop.sync().upserted == 1


def test_each_part_is_read_once(local_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = local_shop
    for start in (0, 10, 20):
        shop.add(*range(start, start + 10))
    read: list[str] = []
    real = read_vectors

    def counting(files: DataFolder, part: str, rows: list[int]) -> Any:
        read.append(part)
        return real(files, part, rows)

    monkeypatch.setattr(load, "read_vectors", counting)
    monkeypatch.setattr(load, "BATCH", 4)
    monkeypatch.setattr(load, "GROUP", 10)
    assert shop.sync().upserted == 30
    assert sorted(read) == sorted(shop.parts)


def test_a_lease_on_another_store_is_refused(local_shop: Shop) -> None:
    other = Shop(local_shop.database, local_shop.files, local_shop.index, "brise")
    with pytest.raises(ValueError, match="atelier"), other.lease() as lease:
        local_shop.lease = lambda: _given(lease)  # type: ignore[method-assign]
        local_shop.sync()


@contextmanager
def _given(value: Any) -> Iterator[Any]:
    yield value


def test_postgresql_and_sqlite_agree(any_database: Database, tmp_path: Path) -> None:
    client = QdrantClient(":memory:")
    shop = Shop(any_database, DataFolder(str(tmp_path / "data")), ServerIndex(client))
    shop.add(*range(8))
    assert shop.sync().upserted == 8
    shop.change(1, removed_by="absent")
    shop.change(2, title="Renamed")
    shop.product(3, url=shop.url(3, 1))
    with shop.index.session(shop.collection) as opened:
        opened.delete([shop.id(4)])
    report = shop.sync()
    assert (report.lost, report.upserted, report.stale) == (1, 1, 1)
    assert (report.payload_refreshed, report.deleted) == (2, {"removed": 1})
    assert (written(shop.sync()), len(shop.points())) == (0, 7)
    client.close()


NUMBERS = st.integers(0, 7)
CHANGES = st.one_of(
    st.tuples(st.just("add"), NUMBERS),
    st.tuples(st.just("remove"), NUMBERS),
    st.tuples(st.just("leave_out"), NUMBERS),
    st.tuples(st.just("rename"), NUMBERS),
    st.tuples(st.just("no_image"), NUMBERS),
    st.tuples(st.just("new_url"), NUMBERS),
    st.tuples(st.just("new_picture"), NUMBERS),
    st.tuples(st.just("gone"), NUMBERS),
    st.tuples(st.just("reject"), NUMBERS),
    st.tuples(st.just("vanish"), NUMBERS),
    st.tuples(st.just("sync"), st.just(0)),
)
_EXAMPLES = iter(range(1_000_000))


class _Expected:
    """What should be in the collection, kept apart from any query: product → picture, title."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.live: dict[int, bool] = {}
        self.title: dict[int, str] = {}
        # Per product: "ready:<picture>", "pending", "bad", and the picture loaded last.
        self.image: dict[int, str] = {}
        self.loaded: dict[int, str] = {}
        self.steps = 0

    def apply(self, change: str, number: int) -> None:
        self.steps += 1
        if change == "add":
            self.shop.add(number, picture=f"{self.shop.store_id}/{number}/first")
            self.live[number], self.title[number] = True, f"Dress {number}"
            self.image[number] = f"ready:{self.shop.store_id}/{number}/first"
        elif change == "vanish":
            if self.shop.index.info(self.shop.collection) is not None:
                with self.shop.index.session(self.shop.collection) as opened:
                    opened.delete([self.shop.id(number)])
                self.loaded.pop(number, None)
        elif number in self.live:
            self._change(change, number)

    def _change(self, change: str, number: int) -> None:
        shop, name = self.shop, f"{self.shop.store_id}/{number}/{self.steps}"
        url = shop.url(number, self.steps)
        live = {} if self.live[number] else {"removed_by": "absent"}
        if change in {"remove", "leave_out"}:
            column = "removed_by" if change == "remove" else "left_out_by"
            shop.change(number, **{column: "rule"})
            self.live[number] = False
        elif change == "rename":
            shop.change(number, title=name)
            self.title[number] = name
        elif change == "no_image":
            shop.product(number, url=None, title=self.title[number], **live)
            self.image[number] = "bad"
        else:
            shop.product(number, url=url, title=self.title[number], **live)
            self.image[number] = "pending"
            if change == "new_picture":
                shop.picture(number, sha_of(name), url=url)
                shop.judge(sha_of(name))
                shop.embed(sha_of(name))
                self.image[number] = f"ready:{name}"
            elif change == "gone":
                shop.picture(number, None, outcome="gone", url=url)
                self.image[number] = "bad"
            elif change == "reject":
                shop.picture(number, sha_of(name), url=url)
                shop.judge(sha_of(name), accepted=False)
                self.image[number] = "bad"

    def sync(self) -> None:
        for number, live in self.live.items():
            image = self.image[number]
            if not live or image == "bad":
                self.loaded.pop(number, None)
            elif image != "pending":
                self.loaded[number] = image.removeprefix("ready:")
        self.shop.sync()
        found = self.shop.points()
        assert {point_id: _told(point.payload) for point_id, point in found.items()} == {
            self.shop.id(number): (self.title[number], sha_of(picture))
            for number, picture in self.loaded.items()
        }
        for number, picture in self.loaded.items():
            assert close_to(found[self.shop.id(number)].vector, vector_of(sha_of(picture)))
        again = self.shop.sync()
        assert (written(again), again.points) == (0, len(self.loaded))


def _told(payload: dict[str, Any] | None) -> tuple[str, str]:
    assert payload is not None
    return payload["title"], payload["image_sha256"]


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(changes=st.lists(CHANGES, min_size=3, max_size=25))
def test_any_sequence_of_changes_converges(
    local_shop: Shop, changes: list[tuple[str, int]]
) -> None:
    shop = Shop(
        local_shop.database,
        local_shop.files,
        local_shop.index,
        f"s{next(_EXAMPLES)}",
        local_shop.alias,
    )
    expected = _Expected(shop)
    for change, number in changes:
        if change == "sync":
            expected.sync()
        else:
            expected.apply(change, number)
    expected.sync()
