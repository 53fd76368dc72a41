"""The generated products: deterministic, varied, and cheap in any number."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_pipeline.demo import ATELIER, NORDHAVN, Attributes, caption, captions
from catalog_pipeline.demo.catalogue import ROLES, Catalogue
from catalog_pipeline.demo.garments import COLOURS, KINDS, PATTERNS


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 450), more=st.integers(0, 300))
def test_a_longer_catalogue_begins_with_the_shorter_one(seed: int, count: int, more: int) -> None:
    short = Catalogue(ATELIER, seed, count)
    long = Catalogue(ATELIER, seed, count + more)
    index = (seed * 7919) % count
    ours, theirs = short.product(index), long.product(index)
    if ours.type == "grouped":
        return  # at the end, what it groups wraps around to the first products
    assert ours == theirs


@pytest.mark.parametrize("profile", [ATELIER, NORDHAVN])
def test_two_hundred_products_hold_every_oddity(profile: object) -> None:
    catalogue = Catalogue(ATELIER if profile is ATELIER else NORDHAVN, 2024, 400)
    for start in (0, 200):
        roles = Counter(catalogue.role(i) for i in range(start, start + 200))
        assert {role: n for role, n in roles.items() if role} == ROLES
    products = [catalogue.product(i) for i in range(200)]
    assert {p.type for p in products} == {"simple", "variable", "grouped", "external"}
    assert sum(bool(p.sale_price) for p in products) > 10
    assert any(len(p.images) > 2 for p in products)
    assert sum(p.status == "publish" for p in products) > 180


def test_ids_are_unique_over_products_variations_and_pictures() -> None:
    catalogue = Catalogue(NORDHAVN, 5, 600)
    ids: Counter[int] = Counter()
    for index in range(catalogue.count):
        product = catalogue.product(index)
        ids[product.id] += 1
        ids.update(variation.id for variation in product.variations)
        attachments = {image.id for image in product.images}
        attachments |= {variation.image.id for variation in product.variations}
        ids.update(attachments - {0})
        assert all(catalogue.index_of(i) == index for i in attachments - {0})
    assert max(ids.values()) == 1
    assert max(ids) < catalogue.next_id


def test_stores_differ_but_share_some_articles() -> None:
    ours, theirs = (Catalogue(p, 2024, 200) for p in (ATELIER, NORDHAVN))
    assert ours.product(0).name != theirs.product(0).name or ours.product(1) != theirs.product(1)

    def resold(catalogue: Catalogue) -> list[str]:
        return [
            catalogue.product(i).images[0].media.fingerprint
            for i in range(200)
            if catalogue.role(i) == "resold"
        ]

    assert set(resold(ours)) == set(resold(theirs))
    assert len(set(resold(ours))) == ROLES["resold"] - 1


def test_titles_and_captions_say_what_the_picture_shows() -> None:
    look = Attributes("dress", "blue", "striped")
    assert look.title == "Striped Blue Dress"
    assert caption(look) == "a striped blue dress"
    assert caption(Attributes("shoes", "red", "plain")) == "a pair of red shoes"
    assert caption(Attributes("t-shirt", "orange", "plain")) == "an orange t-shirt"
    assert Attributes("t-shirt", "orange", "plain").title == "Orange T-Shirt"
    for kind in KINDS:
        for text in captions(Attributes(kind, "navy", "dotted")):
            assert {"navy", "dotted"} <= set(text.replace(",", "").split())
    with pytest.raises(ValueError, match="'sock' is not one of"):
        Attributes("sock", "red", "plain")


def test_every_word_of_a_title_is_from_the_vocabulary() -> None:
    catalogue = Catalogue(ATELIER, 11, 300)
    for index in range(300):
        product = catalogue.product(index)
        look = product.attributes
        assert look.kind in KINDS
        assert look.colour in COLOURS
        assert look.pattern in PATTERNS
        assert look.title in product.name


def test_a_hundred_thousand_products_cost_little_memory() -> None:
    tracemalloc.start()
    catalogue = Catalogue(ATELIER, 3, 100_000, 800)
    for index in range(0, catalogue.count, 1000):
        catalogue.product(index)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 30e6
    with pytest.raises(IndexError):
        catalogue.product(100_000)
