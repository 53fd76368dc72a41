"""What every engine promises, held against each of them."""

from __future__ import annotations

from typing import cast
from uuid import UUID, uuid4

import numpy as np
import pytest

from catalog_pipeline.errors import PermanentError
from catalog_pipeline.vectors.index import (
    CollectionMismatchError,
    CollectionMissingError,
    CollectionSpec,
    InvalidVectorsError,
    OwnershipError,
    PointFilter,
    VectorIndex,
    Vectors,
    collection_name,
)
from catalog_pipeline_tests.vectors.engines import (
    DIMENSIONS,
    OWNER,
    close_to,
    new_spec,
    simple_payload,
    unit_vectors,
)

OTHER_OWNER = UUID("22222222-2222-4222-8222-222222222222")


@pytest.fixture
def spec(index: VectorIndex) -> CollectionSpec:
    made = new_spec()
    index.ensure(made, made.name.split("__")[0])
    return made


def load(
    index: VectorIndex, spec: CollectionSpec, count: int, store: str = "atelier"
) -> list[UUID]:
    ids = [uuid4() for _ in range(count)]
    with index.session(spec.name) as points:
        points.upsert(
            ids,
            unit_vectors(count),
            [
                simple_payload(
                    point_id,
                    store,
                    price=float(10 * number),
                    currency="EUR" if number % 2 else "DKK",
                    categories=["Dresses", f"C{number}"],
                    in_stock=number != 0,
                )
                for number, point_id in enumerate(ids)
            ],
        )
    return ids


def test_a_collection_is_created_once_and_described(
    index: VectorIndex, spec: CollectionSpec
) -> None:
    load(index, spec, 3)
    index.ensure(spec, "unused")
    info = index.info(spec.name)
    assert info is not None
    assert (info.name, info.dimensions, info.distance.lower()) == (spec.name, DIMENSIONS, "cosine")
    assert (info.owner, info.model_version, info.status) == (OWNER, "m-1", "green")
    with index.session(spec.name) as points:
        assert points.count() == 3


def test_unknown_collections_and_aliases_are_absent(index: VectorIndex) -> None:
    assert index.info("nothing") is None
    assert index.resolve("nothing") is None
    with pytest.raises(CollectionMissingError, match="nothing"), index.session("nothing"):
        pass
    with pytest.raises(CollectionMissingError, match="nothing"):
        index.adopt("nothing", OWNER)


def test_the_alias_comes_with_the_first_collection_and_stays(
    index: VectorIndex, spec: CollectionSpec
) -> None:
    alias = spec.name.split("__", maxsplit=1)[0]
    assert index.resolve(alias) == spec.name
    second = new_spec(name=f"{alias}__m-2")
    index.ensure(second, alias)
    assert index.resolve(alias) == spec.name
    assert index.info(second.name) is not None


def test_another_size_or_model_is_refused_and_left_alone(
    index: VectorIndex, spec: CollectionSpec
) -> None:
    load(index, spec, 2)
    with pytest.raises(CollectionMismatchError, match=r"holds 8-d .* but 16-d"):
        index.ensure(new_spec(name=spec.name, dimensions=16), "any")
    with pytest.raises(CollectionMismatchError, match="m-9"):
        index.ensure(CollectionSpec(spec.name, DIMENSIONS, "m-9", OWNER), "any")
    with index.session(spec.name) as points:
        assert points.count() == 2


def test_another_deployment_is_refused_until_it_adopts(
    index: VectorIndex, spec: CollectionSpec
) -> None:
    foreign = new_spec(name=spec.name, owner=OTHER_OWNER)
    with pytest.raises(OwnershipError, match=f"belongs to deployment {OWNER}.*adopt"):
        index.ensure(foreign, "any")
    index.adopt(spec.name, OTHER_OWNER)
    index.ensure(foreign, "any")
    with pytest.raises(OwnershipError, match=str(OTHER_OWNER)):
        index.ensure(spec, "any")
    info = index.info(spec.name)
    assert info is not None
    assert (info.owner, info.model_version) == (OTHER_OWNER, "m-1")


def test_points_come_back_as_they_went_in(index: VectorIndex, spec: CollectionSpec) -> None:
    ids = [uuid4(), uuid4()]
    vectors = unit_vectors(2)
    payloads = [
        simple_payload(ids[0], title="Kjole æøå 👗", price=12.5, categories=[]),
        simple_payload(ids[1], in_stock=True),
    ]
    with index.session(spec.name) as points:
        # Any float32 layout will do: half of a wider array is not contiguous.
        points.upsert(ids, np.hstack([vectors, vectors])[:, :DIMENSIONS], payloads)
    with index.session(spec.name) as points:
        found = {p.point_id: p for p in points.retrieve([*ids, uuid4()], payload=True, vector=True)}
        assert set(found) == set(ids)
        for point_id, vector, payload in zip(ids, vectors, payloads, strict=True):
            assert found[point_id].payload == payload
            assert close_to(found[point_id].vector, vector)
        bare = points.retrieve(ids[:1])
    assert (bare[0].payload, bare[0].vector) == (None, None)


def test_an_upsert_overwrites_the_whole_point(index: VectorIndex, spec: CollectionSpec) -> None:
    ids = load(index, spec, 3)
    after = unit_vectors(1, seed=7)
    with index.session(spec.name) as points:
        points.upsert(ids[:1], after, [simple_payload(ids[0], title="New")])
    with index.session(spec.name) as points:
        (point,) = points.retrieve(ids[:1], payload=True, vector=True)
        assert points.count() == 3
    assert point.payload == simple_payload(ids[0], title="New")
    assert close_to(point.vector, after[0])


def test_a_payload_is_overwritten_without_its_vector(
    index: VectorIndex, spec: CollectionSpec
) -> None:
    ids = load(index, spec, 2)
    absent = uuid4()
    payload = simple_payload(ids[0], title="New")
    with index.session(spec.name) as points:
        (before,) = points.retrieve(ids[:1], vector=True)
        missing = points.overwrite_payloads([absent, ids[0]], [simple_payload(absent), payload])
    assert list(missing) == [absent]
    with index.session(spec.name) as points:
        (after,) = points.retrieve(ids[:1], payload=True, vector=True)
        assert points.count() == 2
    assert after.payload == payload
    assert before.vector is not None
    assert close_to(after.vector, before.vector)


def test_deleting_is_exact_and_idempotent(index: VectorIndex, spec: CollectionSpec) -> None:
    ids = load(index, spec, 4)
    for _ in range(2):
        with index.session(spec.name) as points:
            points.delete([*ids[:2], uuid4()])
            points.delete([])
        with index.session(spec.name) as points:
            assert {i for page in points.ids() for i in page} == set(ids[2:])


def test_counts_and_ids_are_per_store(index: VectorIndex, spec: CollectionSpec) -> None:
    ours = load(index, spec, 1_203)
    theirs = load(index, spec, 5, store="brise")
    with index.session(spec.name) as points:
        assert points.count() == 1_208
        assert points.count(PointFilter(stores=("atelier",))) == 1_203
        assert points.count(PointFilter(stores=("atelier", "brise"))) == 1_208
        assert points.count(PointFilter(stores=("nobody",))) == 0
        pages = list(points.ids(PointFilter(stores=("atelier",))))
        found = [point_id for page in pages for point_id in page]
        assert len(found) == len(set(found))
        assert set(found) == set(ours)
        assert {i for page in points.ids(PointFilter(stores=("brise",))) for i in page} == set(
            theirs
        )


def test_search_ranks_by_cosine(index: VectorIndex, spec: CollectionSpec) -> None:
    ids = load(index, spec, 50)
    vectors = unit_vectors(50)
    query = unit_vectors(1, seed=3)[0]
    with index.session(spec.name) as points:
        found = points.search(query, 10)
    expected = np.argsort(-(vectors @ query))[:10]
    assert [point.point_id for point in found] == [ids[i] for i in expected]
    np.testing.assert_allclose(
        [point.score for point in found], (vectors @ query)[expected], atol=1e-5
    )
    assert found[0].payload["product_id"] == str(found[0].point_id)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (PointFilter(min_price=10), {1, 2, 3, 4}),
        (PointFilter(max_price=10), {0, 1}),
        (PointFilter(min_price=10, max_price=30), {1, 2, 3}),
        (PointFilter(currency="EUR"), {1, 3}),
        (PointFilter(categories=("C2", "C3")), {2, 3}),
        (PointFilter(in_stock=False), {0}),
        (PointFilter(in_stock=True, currency="DKK"), {2, 4}),
        (PointFilter(stores=("nobody",)), set()),
    ],
    ids=str,
)
def test_filters(
    index: VectorIndex, spec: CollectionSpec, where: PointFilter, expected: set[int]
) -> None:
    ids = load(index, spec, 5)
    unpriced = uuid4()
    with index.session(spec.name) as points:
        points.upsert([unpriced], unit_vectors(1), [simple_payload(unpriced, "other")])
        found = points.search(unit_vectors(1)[0], 10, where)
        assert {point.point_id for point in found} == {ids[i] for i in expected}
        assert points.count(where) == len(expected)


def test_products_are_picked_and_left_out(index: VectorIndex, spec: CollectionSpec) -> None:
    ids = load(index, spec, 4)
    with index.session(spec.name) as points:
        picked = points.search(unit_vectors(1)[0], 10, PointFilter(product_ids=tuple(ids[:2])))
        others = points.search(
            unit_vectors(1)[0], 10, PointFilter(excluded_products=tuple(ids[:2]))
        )
    assert {point.point_id for point in picked} == set(ids[:2])
    assert {point.point_id for point in others} == set(ids[2:])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_refused(
    index: VectorIndex, spec: CollectionSpec, bad: float
) -> None:
    vectors = unit_vectors(2)
    vectors[1, 3] = bad
    ids = [uuid4(), uuid4()]
    with index.session(spec.name) as points:
        with pytest.raises(InvalidVectorsError, match="not finite"):
            points.upsert(ids, vectors, [simple_payload(i) for i in ids])
        with pytest.raises(InvalidVectorsError, match="not finite"):
            points.search(vectors[1], 1)
        assert points.count() == 0


def test_vectors_of_another_shape_or_type_are_refused(
    index: VectorIndex, spec: CollectionSpec
) -> None:
    one = uuid4()
    with index.session(spec.name) as points:
        for vectors in (
            unit_vectors(1, dimensions=7),
            unit_vectors(2),
            cast("Vectors", unit_vectors(1).astype(np.float64)),
        ):
            with pytest.raises(InvalidVectorsError, match="expected float32"):
                points.upsert([one], vectors, [simple_payload(one)])
        assert points.count() == 0


def test_a_payload_that_is_no_json_is_refused(index: VectorIndex, spec: CollectionSpec) -> None:
    one = uuid4()
    with index.session(spec.name) as points, pytest.raises(PermanentError):
        points.upsert([one], unit_vectors(1), [simple_payload(one, title=object())])


def test_names_of_collections_carry_alias_and_model() -> None:
    assert collection_name("products", "siglip-0a1b-2c3d") == "products__siglip-0a1b-2c3d"
    assert collection_name("products", "a/b c") == "products__a-b-c"
