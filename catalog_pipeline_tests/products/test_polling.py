"""Who is polled when, and what an answer leads to; no request and no waiting anywhere."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_pipeline.products.circuit import FAILURES_TO_OPEN, FIRST_PAUSE
from catalog_pipeline.products.polling import (
    FEWEST_TO_BLAME_US,
    FIRST_WAIT,
    MOST_REQUESTS,
    OUTAGE,
    Answer,
    Decision,
    Known,
    PollCursor,
    back_off,
    blamed,
    decide,
    due_stores,
    first_syncs,
    is_news,
    share,
)
from catalog_pipeline.products.probe import PATIENCE_SECONDS, WORKERS

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
TICK = timedelta(seconds=30)
SWEEP = 40.0


def answered(store: str, *ids: str, announced: int | None = None) -> Answer:
    pairs = tuple((found, NOW) for found in ids)
    return Answer(store, NOW, pairs, len(ids) if announced is None else announced)


def failed(store: str) -> Answer:
    return Answer(store, NOW, problem="connection refused", store_failed=True)


def decided(
    answers: Sequence[Answer],
    known: Mapping[str, Known] | None = None,
    *,
    due: Sequence[str] | None = None,
    unfinished: Sequence[str] = (),
    resting: Mapping[str, datetime] | None = None,
) -> Decision:
    stores = [answer.store_id for answer in answers]
    wanted = stores if due is None else due
    return decide(wanted, answers, known or {}, unfinished, NOW, resting=resting)


def test_a_version_that_is_not_stored_asks_for_a_run() -> None:
    stored = Known(frozenset({("1", NOW), ("2", NOW - timedelta(days=1))}))

    assert decided([answered("atelier", "1")], {"atelier": stored}).requests == ()
    assert decided([answered("atelier", "2")], {"atelier": stored}).requests == ("atelier",)
    assert decided([answered("atelier", "3")], {"atelier": stored}).requests == ("atelier",)
    assert decided([answered("atelier")], {"atelier": stored}).requests == ()


def test_what_one_answer_does_not_show_is_judged_by_number() -> None:
    ids = [str(number) for number in range(100)]
    stored = frozenset((found, NOW) for found in ids)
    answer = answered("atelier", *ids, announced=140)

    assert not is_news(answer, Known(stored, newer=140))
    assert is_news(answer, Known(stored, newer=139))


def test_no_run_is_asked_for_while_one_is_unfinished() -> None:
    found = decided([answered("atelier", "1"), answered("mode", "1")], unfinished=["atelier"])

    assert found.requests == ("mode",)
    assert [line for line in found.lines if "atelier" in line]


def test_a_store_that_changed_during_a_run_is_asked_as_soon_as_that_is_over() -> None:
    stores = {"atelier": QUARTER, "mode": QUARTER}
    cursor = decided([answered("atelier", "1"), answered("mode")], unfinished=["atelier"]).cursor
    assert cursor.held == ("atelier",)
    soon = NOW + TICK
    assert "atelier" not in due_stores(stores, cursor, soon, {"atelier"})
    later = decide((), (), {}, {"atelier"}, soon, held=cursor.held).cursor
    assert due_stores(stores, later, soon + TICK)[0] == "atelier"
    done = decide(["atelier"], [answered("atelier")], {}, (), soon + TICK, held=later.held)
    assert done.cursor.held == ()
    assert due_stores({"mode": QUARTER}, later, soon + TICK) in {(), ("mode",)}


def test_a_store_whose_runs_fail_is_left_alone_for_a_while() -> None:
    held = decided([answered("s", "1")], resting={"s": NOW + TICK})
    assert held.requests == ()
    assert "its last runs failed" in held.lines[0]
    assert decided([answered("s", "1")], resting={"s": NOW}).requests == ("s",)


def test_at_most_a_hundred_runs_a_tick_and_the_rest_comes_next() -> None:
    names = [f"s{number}" for number in range(MOST_REQUESTS + 7)]
    found = decided([answered(name, "1") for name in names])

    assert found.requests == tuple(names[:MOST_REQUESTS])
    assert due_stores(dict.fromkeys(names, QUARTER), found.cursor, NOW + TICK)[:7] == tuple(
        names[MOST_REQUESTS:]
    )


def test_a_store_that_fails_is_named_and_stops_no_other() -> None:
    found = decided([failed("dead"), answered("alive", "1")])

    assert found.requests == ("alive",)
    assert found.lines == ("dead: no answer (connection refused)",)


def test_stores_that_were_not_reached_come_first() -> None:
    cursor = decided([answered("a")], due=["a", "b", "c"]).cursor
    stores = dict.fromkeys(["a", "b", "c"], QUARTER)

    assert due_stores(stores, cursor, NOW + TICK)[:2] == ("b", "c")


def test_the_cursor_tells_since_when_a_store_that_was_due_gave_no_answer() -> None:
    first = decided([answered("a"), failed("b")], due=["a", "b", "c"]).cursor
    assert first.unanswered == {"b": NOW, "c": NOW}
    assert PollCursor.read(first.model_dump_json()) == first

    then = NOW + QUARTER
    second = decide(
        ["b", "c"], [failed("b"), answered("c")], {}, (), then, unanswered=first.unanswered
    ).cursor
    assert second.unanswered == {"b": NOW}
    quiet = decide((), (), {}, (), then + TICK, unanswered=second.unanswered).cursor
    assert quiet.unanswered == {"b": NOW}
    ahead = decide((), (), {}, (), NOW, unanswered={"b": NOW + timedelta(days=365)}).cursor
    assert ahead.unanswered == {"b": NOW}


def test_a_store_that_left_the_file_leaves_the_cursor() -> None:
    cursor = decided([failed("dead")], due=["dead", "late"]).cursor

    assert cursor.late == ("late",)
    assert due_stores({"other": QUARTER}, cursor, NOW + TICK) in {(), ("other",)}


def test_everything_is_due_without_a_cursor_or_with_a_clock_set_back() -> None:
    stores = {"a": QUARTER, "b": QUARTER}

    assert due_stores(stores, PollCursor.read(None), NOW) == ("a", "b")
    assert due_stores(stores, PollCursor.read("not a cursor"), NOW) == ("a", "b")
    assert due_stores(stores, PollCursor(served_until=NOW + QUARTER), NOW) == ("a", "b")


def test_the_cursor_survives_being_written_and_read() -> None:
    cursor = decided([failed("dead")], due=["dead", "late"]).cursor

    assert PollCursor.read(cursor.model_dump_json()) == cursor


@settings(max_examples=50, deadline=None)
@given(
    every=st.integers(1, 24 * 60).map(lambda minutes: timedelta(minutes=minutes)),
    steps=st.lists(st.integers(1, 7200), min_size=1, max_size=40),
)
def test_no_slot_is_ever_lost_between_ticks(every: timedelta, steps: list[int]) -> None:
    """However ticks fall, a store is due whenever its interval has passed since it was served."""
    cursor, now, probed = PollCursor(), NOW, NOW
    for step in [0, *steps]:
        now += timedelta(seconds=step)
        if due_stores({"s": every}, cursor, now):
            probed = now
        assert now - probed < every
        cursor = PollCursor(served_until=now)


def test_two_thousand_stores_of_which_fifty_are_dead() -> None:
    """A virtual clock over three hours: every live store is probed within its interval."""
    names = [f"store-{number}" for number in range(2000)]
    dead = set(names[::40])
    assert len(dead) == 50
    intervals = dict.fromkeys(names, QUARTER)
    probes: dict[str, list[datetime]] = defaultdict(list)
    alone: dict[str, datetime] = {}
    cursor, now = PollCursor(), NOW
    while now < NOW + timedelta(hours=3):
        polled = {name: every for name, every in intervals.items() if alone.get(name, NOW) <= now}
        due = due_stores(polled, cursor, now)
        answers, lasted = swept(due, dead, now, probes)
        for name in {answer.store_id for answer in answers} & dead:
            failures = len(probes[name])
            if failures >= FAILURES_TO_OPEN:
                alone[name] = now + back_off(FIRST_PAUSE, failures - FAILURES_TO_OPEN)
        cursor = decide(due, answers, {}, (), now).cursor
        now += max(TICK, timedelta(seconds=lasted))

    for name in set(names) - dead:
        moments = [NOW, *probes[name], now]
        gaps = [later - earlier for earlier, later in pairwise(moments)]
        assert max(gaps) <= QUARTER, name
    assert all(FAILURES_TO_OPEN <= len(probes[name]) <= 7 for name in dead)


def swept(
    due: Sequence[str], dead: set[str], now: datetime, probes: dict[str, list[datetime]]
) -> tuple[list[Answer], float]:
    """What `probe_all` does, in virtual time: a dead store takes the whole time-out."""
    workers = [0.0] * WORKERS
    answers = []
    ended = 0.0
    for name in due:
        begun = heapq.heappop(workers)
        if begun + PATIENCE_SECONDS > SWEEP:
            break
        end = begun + (PATIENCE_SECONDS if name in dead else 1.0)
        heapq.heappush(workers, end)
        ended = max(ended, end)
        probes[name].append(now + timedelta(seconds=end))
        answers.append(failed(name) if name in dead else answered(name))
    return answers, ended


def test_shares_spread_evenly() -> None:
    found = sorted(share(f"store-{number}") for number in range(2000))

    assert 0.0 <= found[0] < found[-1] < 1.0
    assert all(sum(low / 10 <= x < (low + 1) / 10 for x in found) >= 150 for low in range(10))


def test_a_first_sync_is_asked_for_once_and_again_after_a_while() -> None:
    wanted, asked = first_syncs(["new", "busy"], {}, {"busy"}, NOW)
    assert wanted == ("new",)

    assert first_syncs(["new"], asked, (), NOW + TICK) == ((), asked)
    now = NOW + 2 * FIRST_WAIT
    again, asked = first_syncs(["new"], asked, (), now)
    assert again == ("new",)
    assert first_syncs(["new"], asked, (), now + 4 * FIRST_WAIT - TICK)[0] == ()
    assert first_syncs(["new"], asked, (), now + 4 * FIRST_WAIT)[0] == ("new",)
    assert first_syncs([], asked, (), NOW) == ((), {})
    assert first_syncs(["new"], asked, (), NOW - timedelta(days=9))[0] == ("new",), "set back"


_OUTCOMES = {
    "answers": Answer("", NOW),
    "refuses": Answer("", NOW, problem="answered 500", store_failed=True),
    "is out of reach": Answer("", NOW, problem="x", store_failed=True, out_of_reach=True),
    "has no key": Answer("", NOW, problem="the key is not set"),
}


@settings(max_examples=300, deadline=None)
@given(
    outcomes=st.lists(st.sampled_from(sorted(_OUTCOMES)), max_size=8),
    ago=st.lists(st.none() | st.timedeltas(-2 * OUTAGE, 2 * OUTAGE), min_size=8, max_size=8),
)
def test_a_failure_counts_unless_it_may_be_our_own_networks(
    outcomes: list[str], ago: list[timedelta | None]
) -> None:
    answers = [
        replace(_OUTCOMES[outcome], store_id=f"s{place}") for place, outcome in enumerate(outcomes)
    ]
    last = {f"s{place}": NOW - one for place, one in enumerate(ago) if one is not None}

    found = {answer.store_id for answer in blamed(answers, last, NOW)}

    failing = {answer.store_id for answer in answers if answer.store_failed}
    was_reached = {"answers", "refuses"} & set(outcomes)
    if was_reached or len(failing) < FEWEST_TO_BLAME_US:
        assert found == failing
    else:
        assert found == {
            one for one in failing if one not in last or abs(NOW - last[one]) >= OUTAGE
        }


@settings(max_examples=100, deadline=None)
@given(
    every=st.integers(1, 90).map(lambda minutes: timedelta(minutes=minutes)),
    ticks=st.integers(1, 400),
    number=st.integers(FEWEST_TO_BLAME_US, 6),
)
def test_stores_that_stay_out_of_reach_together_are_found_out_in_hours(
    every: timedelta, ticks: int, number: int
) -> None:
    answers = [replace(_OUTCOMES["is out of reach"], store_id=f"s{n}") for n in range(number)]
    last: dict[str, datetime] = {}
    counted = 0
    for tick in range(ticks):
        now = NOW + tick * every
        blame = blamed(answers, last, now)
        assert len(blame) in (0, number)
        counted += bool(blame)
        last |= {answer.store_id: now for answer in blame}
    lasted = (ticks - 1) * every

    assert counted <= 1 + lasted / OUTAGE
    assert counted >= 1 + lasted // (OUTAGE + every)
    if lasted < (FAILURES_TO_OPEN - 1) * OUTAGE:
        assert counted < FAILURES_TO_OPEN
