"""Vectors that are sound, and those that are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import embeddings
from catalog_pipeline.catalog.verdicts import StoreVerdict
from catalog_pipeline.files import DataFolder
from catalog_pipeline.health.vectors import (
    ALL_ALIKE,
    ASKED_FOR,
    NOT_FINITE,
    NOT_NORMALISED,
    own_picture_comes_first,
    unsound,
)
from catalog_pipeline_tests.vectors.engines import opened_engine
from catalog_pipeline_tests.vectors.shop import MODEL, Shop, store_config


def unit(count: int, seed: int = 3) -> np.typing.NDArray[np.float32]:
    found = np.random.default_rng(seed).normal(size=(count, 32)).astype(np.float32)
    lengths: np.typing.NDArray[np.float32] = np.linalg.norm(found, axis=1, keepdims=True)
    return found / lengths


@pytest.mark.parametrize("count", [0, 1, 9, 200])
def test_different_vectors_of_length_1_are_sound(count: int) -> None:
    assert unsound(unit(count), range(count)) == {}
    assert unsound(unit(count).astype(np.float16).astype(np.float32), range(count)) == {}


def test_each_fault_is_told_with_its_rows() -> None:
    vectors = unit(30)
    vectors[3, 5], vectors[4, 0] = np.nan, np.inf
    vectors[7] = 0
    vectors[8] *= 1.01

    assert unsound(vectors, range(30)) == {NOT_FINITE: [3, 4], NOT_NORMALISED: [7, 8]}


def test_a_model_that_sees_the_same_in_everything_is_told_from_few_copies() -> None:
    same = np.repeat(unit(1), 40, axis=0) + np.float32(1e-4) * unit(40)
    same /= np.linalg.norm(same, axis=1, keepdims=True)

    assert unsound(same, range(40)) == {ALL_ALIKE: list(range(40))}
    assert unsound(same[:9], range(9)) == {}
    assert unsound(np.concatenate([same, unit(4)]), range(44)) == {}


def test_copies_of_one_picture_are_rightly_alike() -> None:
    """A shop may show one picture for many products, saved anew each time."""
    same = np.repeat(unit(1), 40, axis=0)

    assert unsound(same, ["a look"] * 40) == {}
    assert unsound(same, [row % 9 for row in range(40)]) == {}
    assert unsound(same, [row % 10 for row in range(40)]) == {ALL_ALIKE: list(range(40))}


def test_related_pictures_are_not_alike() -> None:
    near = np.repeat(unit(1), 40, axis=0) + np.float32(0.2) * unit(40)
    near /= np.linalg.norm(near, axis=1, keepdims=True)

    assert unsound(near, range(40)) == {}


def found_first(shop: Shop) -> StoreVerdict:
    return own_picture_comes_first(
        shop.database,
        shop.files,
        shop.index,
        store_config(shop.store_id),
        MODEL.model_version,
        shop.collection,
    )


def test_points_that_nobody_can_ask_for_are_not_found(database: Database, tmp_path: Path) -> None:
    files = DataFolder(str(tmp_path / "data"))
    with opened_engine("local client", tmp_path / "index") as index:
        shop = Shop(database, files, index)
        nothing_yet = found_first(shop)
        assert nothing_yet.passed
        assert nothing_yet.counts == {ASKED_FOR: 0}
        shop.add(1, 2, 3)
        shop.sync()
        assert found_first(shop).counts[ASKED_FOR] == 3
        assert found_first(shop).passed

    with opened_engine("local client", tmp_path / "empty") as index:
        gone = found_first(Shop(database, files, index))
    assert not gone.passed
    assert gone.told == f"points are recorded, and there is no collection {shop.collection}"

    with database.write() as connection:
        connection.execute(delete(embeddings))
    with opened_engine("local client", tmp_path / "index") as index:
        without = found_first(Shop(database, files, index))
    assert not without.passed
    assert without.told == "3 points are recorded, and none of their pictures has a vector"
