"""When a reading of a listing ends, what it asks for, and what it says it may have missed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from catalog_pipeline.products import listing
from catalog_pipeline.products.answers import Answer, Facts, StoreUnavailableError, Trouble
from catalog_pipeline.products.listing import (
    Flaw,
    Pages,
    Reading,
    StoreMisbehavedError,
    Totals,
    pages_of,
)

# The ids of a page, and the totals that its headers announce.
Scripted = tuple[list[Any], int | None, int | None]


def answer(ids: list[Any], total: int | None, pages: int | None) -> Answer:
    told = {"X-WP-Total": total, "X-WP-TotalPages": pages}
    headers = {name: str(value) for name, value in told.items() if value is not None}
    return Answer(httpx.Headers(headers), b"", [{"id": found} for found in ids])


def begun(
    script: list[Scripted], first: tuple[int | None, int | None] | None = None, **limits: Any
) -> Reading:
    """A reading of a store that answers by the script, its last line for ever."""
    pages = Pages(
        lambda number, given_up: answer(*script[min(number, len(script)) - 1]),
        lambda: None,
        lambda: 1,
        1,
    )
    return Reading("atelier", pages, Totals(*(first or script[0][1:])), **limits)


def ids_of(reading: Reading) -> list[tuple[str | None, ...]]:
    return [ids for _answer, ids in reading.pages()]


def test_a_whole_reading_shows_every_page_once_and_has_no_flaw() -> None:
    reading = begun([([1, 2], 6, 3), ([3, 4], 6, 3), ([5, 6], 6, 3), ([7], 6, 3)])

    assert ids_of(reading) == [("1", "2"), ("3", "4"), ("5", "6")]
    assert reading.totals == Totals(6, 3)
    assert reading.announced == 6
    assert reading.flaw() is None
    assert reading.flaw(may_grow=True) is None


def test_neither_a_short_page_nor_an_empty_one_is_the_last() -> None:
    reading = begun([([1], 4, 4), ([], 4, 4), ([None], 4, 4), ([2, 3], 4, 4)])

    assert ids_of(reading) == [("1",), (), (None,), ("2", "3")]
    assert reading.flaw() is Flaw.TOO_FEW
    assert reading.doubt(Flaw.TOO_FEW) == "the store announces 4 products and showed 3"


def test_unreadable_ids_are_no_repetition() -> None:
    reading = begun([([None], 3, 3), ([None], 3, 3), ([1], 3, 3)])

    assert len(ids_of(reading)) == 3


def test_an_empty_page_does_not_hide_that_a_page_repeats() -> None:
    reading = begun([([1], 9, 9), ([], 9, 9), ([1], 9, 9)])

    with pytest.raises(StoreMisbehavedError, match=r"^store atelier: page 3 holds the products of"):
        ids_of(reading)


def test_a_page_that_repeats_is_a_cache() -> None:
    with pytest.raises(StoreMisbehavedError) as caught:
        ids_of(begun([([1, 2], 4, 2), ([1, 2], 4, 2)]))

    assert str(caught.value) == (
        "store atelier: page 2 holds the products of the page before it: something in front of "
        "the store caches answers and ignores the query; exclude /wp-json/ from that cache"
    )


def test_more_than_announced_is_a_flaw_unless_the_listing_may_grow() -> None:
    reading = begun([([1, 2, 3], 2, 1)])
    ids_of(reading)

    assert reading.flaw() is Flaw.TOO_MANY
    assert reading.flaw(may_grow=True) is None


def test_what_came_in_meanwhile_may_be_missed_where_a_listing_may_grow() -> None:
    reading = begun([([1, 2], 6, 2), ([3, 4], 6, 2)], first=(4, 2))
    ids_of(reading)

    assert reading.flaw() is Flaw.TOO_FEW
    assert reading.flaw(may_grow=True) is None


def test_of_what_was_there_at_first_nothing_may_be_missed() -> None:
    reading = begun([([1, 2], 6, 2), ([3], 6, 2)], first=(4, 2))
    ids_of(reading)

    assert reading.flaw(may_grow=True) is Flaw.TOO_FEW


@pytest.mark.parametrize(
    ("totals", "fell"),
    [
        ([6, 5, 5], "from 6 to 5"),
        ([6, 8, 7], "from 8 to 7"),
        ([8, 7, 6], "from 8 to 6"),
        ([8, 6, 7], "from 8 to 6"),
        ([6, None, 5], "from 6 to 5"),
        ([5, 3, 9, 4], "from 9 to 4"),
    ],
)
def test_a_total_that_fell_is_told_from_its_highest(totals: list[int | None], fell: str) -> None:
    script: list[Scripted] = [
        ([number], total, len(totals)) for number, total in enumerate(totals, 1)
    ]
    reading = begun(script)
    ids_of(reading)

    assert reading.flaw() is reading.flaw(may_grow=True) is Flaw.SHRANK
    assert reading.doubt(Flaw.SHRANK) == (
        f"products were deleted meanwhile (the total fell {fell}), so later ones may have been "
        "skipped"
    )


def test_without_totals_the_first_empty_page_is_the_end() -> None:
    reading = begun([([1], None, None), ([2], None, None), ([], None, None), ([3], None, None)])

    assert ids_of(reading) == [("1",), ("2",), ()]
    assert reading.flaw() is Flaw.NO_TOTALS
    assert reading.doubt(Flaw.NO_TOTALS) == "the store announces no totals"


def test_a_total_that_comes_late_proves_nothing_of_the_beginning() -> None:
    reading = begun([([1], 1, 1)], first=(None, 1))
    ids_of(reading)

    assert reading.flaw() is Flaw.NO_TOTALS


def test_a_page_without_totals_changes_none() -> None:
    reading = begun([([1], 3, 3), ([2], None, None), ([3], 3, None)])

    assert len(ids_of(reading)) == 3
    assert reading.totals == Totals(3, 3)
    assert reading.flaw() is None


def test_pages_that_are_announced_later_are_read() -> None:
    reading = begun([([1], 2, 1), ([2], 3, 3), ([3], 3, 3)], first=(2, 2))

    assert ids_of(reading) == [("1",)]
    assert reading.totals.pages == 1
    reading = begun([([1], 2, 2), ([2], 3, 3), ([3], 3, 3)])
    assert ids_of(reading) == [("1",), ("2",), ("3",)]


def test_a_reading_ends_at_the_page_that_it_was_told() -> None:
    script: list[Scripted] = [([number], 9, 9) for number in range(1, 10)]

    assert ids_of(begun(script, last_page=2)) == [("1",), ("2",)]
    assert ids_of(begun(script, last_page=1)) == [("1",)]


@pytest.mark.parametrize(("fruitless", "ends"), [(49, True), (50, False)])
def test_fifty_pages_that_bring_nothing_new_are_an_end_without_end(
    fruitless: int, ends: bool
) -> None:
    turns: list[Scripted] = [
        ([1, 2] if number % 2 else [2, 1], 60, 60) for number in range(1, fruitless + 2)
    ]
    reading = begun([*turns, ([3], 60, fruitless + 2)])

    if ends:
        assert len(ids_of(reading)) == fruitless + 2
        return
    with pytest.raises(
        StoreMisbehavedError,
        match=r"the last 50 of 51 pages .* product, and the store announces still more$",
    ):
        ids_of(reading)


def test_the_first_pages_may_be_fruitless_as_well() -> None:
    unreadable: list[Scripted] = [([None], 60, 50) for _ in range(49)]

    assert ids_of(begun([*unreadable, ([1], 60, 50)]))[-1] == ("1",)


def test_pages_far_beyond_those_announced_have_no_end() -> None:
    script: list[Scripted] = [([number], 999, 999) for number in range(1, 200)]

    with pytest.raises(
        StoreMisbehavedError,
        match=r"^store atelier: no end after 54 pages, .* or than a shop can have$",
    ):
        ids_of(begun(script, first=(2, 2)))


@pytest.mark.parametrize(("bound", "first"), [("_MOST_PAGES", None), ("_MOST_PAGES_EVER", 900)])
def test_no_shop_is_larger_than_any(
    monkeypatch: pytest.MonkeyPatch, bound: str, first: int | None
) -> None:
    monkeypatch.setattr(listing, bound, 20)
    script: list[Scripted] = [([number], None, None) for number in range(1, 30)]

    with pytest.raises(StoreMisbehavedError, match="no end after 20 pages"):
        ids_of(begun(script, first=(first, first)))


@pytest.mark.parametrize(
    ("products", "per_page", "pages"), [(None, 100, None), (0, 100, 0), (1, 100, 1), (101, 100, 2)]
)
def test_pages_hold_so_many_products(
    products: int | None, per_page: int, pages: int | None
) -> None:
    assert pages_of(products, per_page) == pages


class Asked:
    """A store that notes which pages it is asked for, and fails at some or answers them late."""

    def __init__(
        self,
        totals: Callable[[int], int],
        *,
        failing: list[int] | None = None,
        late: tuple[int, ...] = (),
    ) -> None:
        self.pages: list[int] = []
        self.threads: set[str] = set()
        self._totals = totals
        self._failing = failing or []
        self._late = late

    def __call__(self, number: int, given_up: threading.Event) -> Answer:
        self.pages.append(number)
        self.threads.add(threading.current_thread().name)
        # So that the pages asked for along with this one are under way.
        time.sleep(0.2 if number in self._late else 0.005)
        if number in self._failing:
            self._failing.remove(number)
            raise StoreUnavailableError("later", Trouble.SERVER_ERROR, Facts(status=500))
        return answer([number], self._totals(number), 20)

    def reading(self, at_once: int, most: int = 5) -> Reading:
        pages = Pages(self, lambda: None, lambda: at_once, most)
        return Reading("atelier", pages, Totals(20, 20))


def test_no_more_is_asked_for_than_is_allowed_just_now() -> None:
    store = Asked(lambda number: 20)

    for taken, _ in enumerate(store.reading(at_once=1).pages(), 1):
        assert store.pages == list(range(1, taken + 1))
    assert {name.startswith("walk-atelier") for name in store.threads} == {True}


# In vain go pages 2 to 5 beside the first, and page 4 beside the third.
@pytest.mark.parametrize(("moves_at", "in_vain"), [((1, 2), 4), ((1, 3), 5)])
def test_where_totals_move_little_is_asked_for_in_vain(
    moves_at: tuple[int, ...], in_vain: int
) -> None:
    """One page alone after each change, then two at once, then four."""
    store = Asked(lambda number: 20 + sum(number >= one for one in moves_at), late=moves_at)

    assert len(ids_of(store.reading(at_once=5))) == 20
    assert len(store.pages) <= 20 + in_vain


@pytest.mark.parametrize("at_once", [2, 5])
@pytest.mark.parametrize("page", [1, 20])
def test_a_page_that_fails_among_others_is_asked_for_alone_once_more(
    at_once: int, page: int
) -> None:
    store = Asked(lambda number: 20, failing=[page])

    assert len(ids_of(store.reading(at_once))) == 20
    assert store.pages.count(page) == 2
    with pytest.raises(StoreUnavailableError):
        ids_of(Asked(lambda number: 20, failing=[page, page]).reading(at_once))


def test_a_page_that_fails_alone_is_not_asked_for_again() -> None:
    store = Asked(lambda number: 20, failing=[1])

    with pytest.raises(StoreUnavailableError):
        ids_of(store.reading(at_once=1))
    assert store.pages == [1]
