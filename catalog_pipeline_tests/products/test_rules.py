"""Which products are wanted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_pipeline.products.rules import WantedRules
from catalog_pipeline_tests.products.wordpress import store

SHIRT: dict[str, Any] = {
    "status": "publish",
    "type": "simple",
    "visibility": "visible",
    "categories": [{"name": "Shirts & Tops", "slug": "shirts"}],
    "tags": [{"name": "New In", "slug": "new-in"}],
}


@pytest.mark.parametrize(
    ("rules", "changes", "rule"),
    [
        ({}, {}, None),
        ({}, {"status": "draft"}, "status:draft"),
        ({}, {"status": "trash"}, "status:trash"),
        ({"statuses": ["publish", "draft"]}, {"status": "draft"}, None),
        ({}, {"visibility": "hidden"}, "exclude.visibility:hidden"),
        ({"exclude": {}}, {"visibility": "hidden"}, None),
        ({"exclude": {"category": ["SHIRTS"]}}, {}, "exclude.category:shirts"),
        ({"exclude": {"category": ["shirts & tops "]}}, {}, "exclude.category:shirts & tops"),
        ({"exclude": {"tag": ["new-in"]}}, {}, "exclude.tag:new-in"),
        ({"exclude": {"type": ["Simple"]}}, {}, "exclude.type:simple"),
        ({"include": {"category": ["Shirts"]}}, {}, None),
        ({"include": {"category": ["Shoes", "Shirts"]}}, {}, None),
        ({"include": {"category": ["Shoes"]}}, {}, "include.category"),
        ({"include": {"category": ["Shirts"], "tag": ["sale"]}}, {}, "include.tag"),
        ({"include": {"type": ["variable"]}}, {}, "include.type"),
        ({"include": {"tag": ["New In"]}}, {"tags": []}, "include.tag"),
        (
            {"include": {"category": ["Shirts"]}, "exclude": {"tag": ["new-in"]}},
            {},
            "exclude.tag:new-in",
        ),
    ],
)
def test_rules(rules: dict[str, Any], changes: dict[str, Any], rule: str | None) -> None:
    assert WantedRules(store(**rules)).left_out_by(**{**SHIRT, **changes}) == rule


@given(st.text(min_size=1, max_size=300))
def test_a_rules_name_fits_its_column(name: str) -> None:
    rules = WantedRules(store(exclude={"category": [name]}))
    left_out_by = rules.left_out_by(**{**SHIRT, "categories": [{"name": name, "slug": ""}]})
    assert left_out_by is not None
    assert len(left_out_by) <= 64


def test_the_digest_changes_with_what_is_decided() -> None:
    same = WantedRules(store(statuses=["publish", "draft"])).digest
    assert WantedRules(store(statuses=["draft", "publish"], currency="DKK")).digest == same
    others = [
        {},
        {"statuses": ["publish", "draft"], "exclude": {}},
        {"statuses": ["publish", "draft"], "include": {"tag": ["a"]}},
        {"statuses": ["publish", "draft"], "include": {"category": ["a"]}},
    ]
    assert len({same, *(WantedRules(store(**settings)).digest for settings in others)}) == 5
