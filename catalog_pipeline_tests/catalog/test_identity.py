"""Ids and digests that rows and points depend on for ever."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_pipeline.catalog.identity import NAMESPACE, digest, image_point_id, product_id

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_ids_are_those_of_the_design() -> None:
    product = product_id("atelier", "42")
    assert product == uuid5(NAMESPACE, "atelier:42")
    assert product == UUID("7fab84f7-c629-5c2b-b9bd-db21e9a52adf")
    assert image_point_id(product, "7", is_main=True) == product
    assert image_point_id(product, "7", is_main=False) == uuid5(product, "7")


def test_digests_stay_what_they_are() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    value = {"b": [Decimal("1.50"), None, True], "a": "ü", "at": moment}
    assert digest(value) == "cb5feeb8b3b5abf42baa0acbd93e08c7"


@given(st.dictionaries(st.text(), JSON, min_size=2, max_size=5))
def test_the_order_of_keys_does_not_count(value: dict[str, object]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


@given(JSON, JSON)
def test_different_values_have_different_digests(one: object, other: object) -> None:
    same = repr(one) == repr(other)
    assert (digest({"v": one}) == digest({"v": other})) == same or one == other


def test_a_decimal_counts_by_its_text() -> None:
    assert digest(Decimal("1.50")) != digest(Decimal("1.5"))


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(TypeError):
        digest("\ud800")
