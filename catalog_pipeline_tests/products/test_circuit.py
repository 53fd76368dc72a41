"""A store's circuit opens, half-opens and closes, and every process sees the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_pipeline.catalog.audit import entries
from catalog_pipeline.catalog.circuits import Circuit, read_circuit, read_circuits
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.errors import ConfigurationError, ServiceUnavailableError
from catalog_pipeline.products.answers import (
    Facts,
    StoreRefusedError,
    StoreUnavailableError,
    Trouble,
)
from catalog_pipeline.products.circuit import (
    FAILURES_TO_OPEN,
    FIRST_PAUSE,
    CircuitOpenError,
    asked_again_at,
    describe,
    open_circuits,
    record_answers,
    record_failure,
    record_success,
    resume_store,
    state_of,
    watched_walk,
)
from catalog_pipeline.products.listing import StoreMisbehavedError
from catalog_pipeline.products.polling import LONGEST_BACK_OFF, Answer
from catalog_pipeline.stores import MissingSecretError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STORE = "atelier"
BLOCKED = StoreRefusedError("blocked by a firewall", Trouble.DENIED, Facts(status=403))
AWAY = StoreUnavailableError("answered 502", Trouble.SERVER_ERROR, Facts(status=502))
CONTRADICTS = StoreMisbehavedError("page 2 holds the products of the page before it")


def circuit(database: Database) -> Circuit | None:
    with database.read() as connection:
        return read_circuit(connection, STORE)


def known(database: Database) -> Circuit:
    found = circuit(database)
    assert found is not None
    return found


def walk(database: Database, error: Exception | None = None, *, by_hand: bool = False) -> None:
    """A walk that ends at once, well or with this error."""
    with watched_walk(database, STORE, by_hand=by_hand):
        if error is not None:
            raise error


def fail(database: Database, times: int) -> None:
    for _ in range(times):
        record_failure(database, STORE, "walk", "answered 502")


def test_repeated_failures_open_the_circuit_for_every_process(any_database: Database) -> None:
    with time_machine.travel(NOW, tick=False):
        for error in (BLOCKED, AWAY, CONTRADICTS):
            assert state_of(circuit(any_database), NOW) == "closed"
            with pytest.raises(type(error)):
                walk(any_database, error)
        assert "\n".join(CONTRADICTS.__notes__).startswith(
            "store atelier failed 3 times in a row and is left alone until 2026-03-01 12:15 UTC"
        )
        with pytest.raises(CircuitOpenError, match="catalog stores resume atelier") as caught:
            walk(any_database)
        assert "page 2 holds the products" in str(caught.value)
    found = known(any_database)
    assert (found.failures, found.failed, found.opened_at) == (3, "walk", NOW)
    assert state_of(found, NOW + FIRST_PAUSE - timedelta(seconds=1)) == "open"
    assert state_of(found, NOW + FIRST_PAUSE) == "half-open"


@pytest.mark.parametrize(
    "error",
    [
        ServiceUnavailableError("the database is away"),
        ConfigurationError("ca_file cannot be read"),
        MissingSecretError("consumer_key is not set"),
        OSError("disk full"),
    ],
)
def test_a_failure_that_is_ours_counts_neither_way(database: Database, error: Exception) -> None:
    fail(database, 2)
    with pytest.raises(type(error)):
        walk(database, error)
    assert known(database).failures == 2


def test_a_success_closes_it_and_leaves_no_record(database: Database) -> None:
    fail(database, 2)
    walk(database)
    assert circuit(database) is None
    fail(database, 5)
    with time_machine.travel(datetime.now(UTC) + LONGEST_BACK_OFF):
        assert state_of(known(database), datetime.now(UTC)) == "half-open"
        walk(database)
    assert circuit(database) is None


def test_a_trial_that_fails_opens_it_for_longer(database: Database) -> None:
    fail(database, FAILURES_TO_OPEN)
    with time_machine.travel(datetime.now(UTC) + FIRST_PAUSE, tick=False):
        trial = datetime.now(UTC)
        with pytest.raises(StoreUnavailableError):
            walk(database, AWAY)
        assert asked_again_at(known(database)) == trial + 2 * FIRST_PAUSE
        with pytest.raises(CircuitOpenError):
            walk(database)


def test_a_person_may_try_at_any_time(database: Database) -> None:
    fail(database, FAILURES_TO_OPEN)
    with pytest.raises(StoreRefusedError):
        walk(database, BLOCKED, by_hand=True)
    assert known(database).failures == FAILURES_TO_OPEN + 1
    walk(database, by_hand=True)
    assert circuit(database) is None


def test_a_probe_clears_what_probes_found_and_no_walk_that_failed(database: Database) -> None:
    def probe(problem: str | None, *, store_failed: bool = False) -> None:
        with database.read() as connection:
            before = read_circuits(connection)
        answer = Answer(STORE, NOW, problem=problem, store_failed=store_failed)
        record_answers(database, [answer], before)

    probe("answered 502", store_failed=True)
    probe("consumer_key is not set")
    assert (known(database).failures, known(database).failed) == (1, "probe")
    probe(None)
    assert circuit(database) is None
    fail(database, 1)
    probe(None)
    assert known(database).failures == 1


def test_probes_that_fail_after_a_walk_did_let_no_probe_clear_it(database: Database) -> None:
    with time_machine.travel(NOW, tick=False) as clock:
        fail(database, 2)
        record_failure(database, STORE, "probe", "time-out")
        found = known(database)
        assert (found.failures, found.reason) == (FAILURES_TO_OPEN, "time-out")
        clock.shift(FIRST_PAUSE)
        record_success(database, STORE, "probe")
        assert known(database) == found
        walk(database)
        assert circuit(database) is None


def test_what_began_before_it_opened_may_still_close_it(database: Database) -> None:
    with watched_walk(database, STORE, by_hand=False):
        for _ in range(FAILURES_TO_OPEN):
            record_failure(database, STORE, "probe", "time-out")
    assert circuit(database) is None


def test_a_clock_that_was_set_back_leaves_no_store_alone_for_years(database: Database) -> None:
    with time_machine.travel(NOW + timedelta(days=3_000), tick=False):
        fail(database, FAILURES_TO_OPEN)
    found = known(database)
    assert state_of(found, NOW) == "half-open"
    assert "the next attempt decides" in describe(found, NOW)
    with time_machine.travel(NOW, tick=False):
        fail(database, 1)
    assert known(database).opened_at == NOW
    assert state_of(known(database), NOW - timedelta(seconds=9)) == "open", "clocks differ a little"


def test_one_store_opens_alone(database: Database) -> None:
    fail(database, FAILURES_TO_OPEN)
    record_failure(database, "nordhavn", "walk", "answered 502")
    with database.read() as connection:
        found = read_circuits(connection)
    assert set(found) == {STORE, "nordhavn"}
    assert set(open_circuits(found, datetime.now(UTC))) == {STORE}
    assert "at 3 it is left alone" in describe(found["nordhavn"], NOW)


def test_resuming_is_a_decision_on_record(any_database: Database) -> None:
    assert resume_store(any_database, STORE, who="kim", reason="") is None
    fail(any_database, 4)
    before = resume_store(any_database, STORE, who="kim", reason="firewall rule added")
    assert before is not None
    assert before.failures == 4
    assert circuit(any_database) is None
    with any_database.read() as connection:
        (entry,) = entries(connection, subject=STORE)
    assert (entry.who, entry.action, entry.reason) == (
        "kim",
        "store.resume",
        "firewall rule added",
    )
    assert entry.details == {"state": "open", "failures": 4, "last_failure": "answered 502"}


def test_a_reason_that_no_database_takes_is_kept_readable(any_database: Database) -> None:
    record_failure(any_database, STORE, "probe", "an\0swer \ud800" + "x" * 5_000)
    assert known(any_database).reason.startswith("an\N{REPLACEMENT CHARACTER}swer")
    assert len(known(any_database).reason) == 1_000


@settings(max_examples=60, deadline=None)
@given(failures=st.integers(0, 10_000))
def test_pauses_grow_and_are_bounded(failures: int) -> None:
    opened = NOW if failures >= FAILURES_TO_OPEN else None
    found = Circuit(STORE, failures, "walk", "", NOW, opened)
    again = asked_again_at(found)
    if again is None:
        assert failures < FAILURES_TO_OPEN
        return
    assert FIRST_PAUSE <= again - NOW <= LONGEST_BACK_OFF
    later = asked_again_at(Circuit(STORE, failures + 1, "walk", "", NOW, opened))
    assert later is not None
    assert later >= again
    assert state_of(found, again) == "half-open"


def test_the_record_of_a_success_is_written_once(database: Database) -> None:
    record_success(database, STORE, "walk")
    assert circuit(database) is None


def out_of_reach(*stores: str) -> list[Answer]:
    return [
        Answer(one, NOW, problem="no route", store_failed=True, out_of_reach=True) for one in stores
    ]


def tick(database: Database, answers: list[Answer]) -> dict[str, Circuit]:
    with database.read() as connection:
        before = read_circuits(connection)
    return record_answers(database, answers, before)


def test_three_dead_stores_that_are_always_asked_together_are_left_alone_in_the_end(
    database: Database,
) -> None:
    dead = ("atelier", "nordhavn", "porto")
    with time_machine.travel(NOW, tick=False) as clock:
        for _ in range(9):
            tick(database, out_of_reach(*dead))
            clock.shift(timedelta(minutes=14))
        with database.read() as connection:
            found = read_circuits(connection)
        assert {one.failures for one in found.values()} == {2}
        assert open_circuits(found, datetime.now(UTC)) == {}
        clock.shift(timedelta(minutes=14))
        assert set(open_circuits(tick(database, out_of_reach(*dead)), datetime.now(UTC))) == {*dead}


def test_stores_that_refuse_were_reached_so_their_failures_count_at_once(
    database: Database,
) -> None:
    names = ("atelier", "nordhavn", "porto")
    refusals = [Answer(one, NOW, problem="answered 500", store_failed=True) for one in names]
    for _ in range(FAILURES_TO_OPEN):
        failed = tick(database, refusals)
    assert set(open_circuits(failed, datetime.now(UTC))) == {*names}
