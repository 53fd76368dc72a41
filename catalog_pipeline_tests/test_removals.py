"""The guard over removals: the larger of a share and ten, and all of them or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_pipeline.removals import ALWAYS_ALLOWED, decide, removal_limit


@pytest.mark.parametrize(
    ("requested", "points", "share", "allowed"),
    [
        (0, 0, 0.2, True),
        (10, 10, 0.2, True),
        (11, 11, 0.2, False),
        (11, 55, 0.2, True),
        (11, 54, 0.2, False),
        (200, 1_000, 0.2, True),
        (201, 1_000, 0.2, False),
        (29, 100, 0.29, True),
        (1_000, 1_000, 1.0, True),
        (11, 1_000, 0.0, False),
    ],
)
def test_the_larger_of_share_and_ten_may_go(
    requested: int, points: int, share: float, allowed: bool
) -> None:
    assert decide(requested, points, max_share=share).allowed is allowed


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.floats(0, 1, allow_nan=False))
def test_all_go_or_none(requested: int, points: int, share: float) -> None:
    decision = decide(requested, points, max_share=share)
    assert decision.waiting == (0 if decision.allowed else requested)
    assert decision.allowed is (requested <= ALWAYS_ALLOWED or requested <= decision.limit)
    assert decision.limit >= ALWAYS_ALLOWED
    # A rounding error of the share is forgiven, a product more is not.
    assert decision.limit <= max(share * points + 1e-6, ALWAYS_ALLOWED)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 1, allow_nan=False))
def test_a_larger_store_never_allows_less(points: int, more: int, share: float) -> None:
    assert removal_limit(points, max_share=share) <= removal_limit(points + more, max_share=share)
