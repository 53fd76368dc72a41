"""A circuit breaker for each store: one that keeps failing is left alone for a growing while.

It stands around a whole walk and around a probe, not around single requests, whose retries are in
`http.py`. A failure counts if the store is unavailable, refuses or contradicts itself; one of our
own database, settings or disk counts neither way. An answered probe proves nothing of a walk that
failed, so it takes a walk to clear that. The state is kept by `catalog/circuits.py`: closed,
open, and half-open once the pause is over, when the next attempt decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Literal

import pybreaker

from catalog_pipeline.catalog.audit import AuditEntry, record
from catalog_pipeline.catalog.circuits import (
    Asked,
    Circuit,
    forget_circuit,
    keep_circuit,
    read_circuit,
)
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.errors import TransientError
from catalog_pipeline.products.answers import StoreRefusedError, StoreUnavailableError
from catalog_pipeline.products.listing import StoreMisbehavedError
from catalog_pipeline.products.polling import Answer, back_off, blamed
from catalog_pipeline.products.text import storable

logger = logging.getLogger(__name__)

FAILURES_TO_OPEN = 3
FIRST_PAUSE = timedelta(minutes=15)
STORE_FAILURES = (StoreRefusedError, StoreUnavailableError, StoreMisbehavedError)

State = Literal["closed", "open", "half-open"]

_LONGEST_REASON = 1_000


class CircuitOpenError(TransientError):
    """The store is left alone for now; nothing was asked of it."""


class _FailureError(Exception):
    """Tells the breaker of a failure that is over."""


def asked_again_at(circuit: Circuit) -> datetime | None:
    """When the pause of an open circuit is over; None for a closed one."""
    if circuit.opened_at is None:
        return None
    # The first pause, doubled by each failure after the one that opened it.
    return circuit.opened_at + back_off(FIRST_PAUSE, circuit.failures - FAILURES_TO_OPEN)


def state_of(circuit: Circuit | None, now: datetime) -> State:
    """The state of a store's circuit; None stands for a store that answers."""
    if circuit is None or circuit.opened_at is None:
        return "closed"
    again = asked_again_at(circuit)
    assert again is not None
    # A clock that was set back must not leave a store alone until it has caught up.
    is_of_now = circuit.opened_at <= now + FIRST_PAUSE
    return "open" if is_of_now and now < again else "half-open"


def open_circuits(circuits: Mapping[str, Circuit], now: datetime) -> dict[str, Circuit]:
    """Those of the stores that are left alone now."""
    return {
        store: circuit for store, circuit in circuits.items() if state_of(circuit, now) == "open"
    }


def describe(circuit: Circuit, now: datetime) -> str:
    """A circuit as a sentence that says what to do, without the reason of the last failure."""
    failed = f"failed {circuit.failures} times in a row"
    again = asked_again_at(circuit)
    if again is None:
        return f"store {circuit.store_id} {failed}; at {FAILURES_TO_OPEN} it is left alone"
    if state_of(circuit, now) == "open":
        return (
            f"store {circuit.store_id} {failed} and is left alone until {again:%Y-%m-%d %H:%M} "
            f"UTC; once its fault is mended, end that with `catalog stores resume "
            f"{circuit.store_id}`, or try now with `catalog sync {circuit.store_id}`"
        )
    return f"store {circuit.store_id} {failed}; its pause is over, and the next attempt decides"


@contextmanager
def watched_walk(database: Database, store_id: str, *, by_hand: bool) -> Iterator[Circuit | None]:
    """Let the block walk a store unless its circuit is open, and record how that went.

    The block is given the store's failures before; None for a store that answered.

    Args:
        database: where the state is kept.
        store_id: the store.
        by_hand: a person asked for this walk, so it is made whatever the state.

    Raises:
        CircuitOpenError: the store is left alone now.
    """
    with database.read() as connection:
        before = read_circuit(connection, store_id)
    now = datetime.now(UTC)
    if before is not None and not by_hand and state_of(before, now) == "open":
        raise CircuitOpenError(f"{describe(before, now)}. Its last failure: {before.reason}")
    try:
        yield before
    except STORE_FAILURES as error:
        after = record_failure(database, store_id, "walk", str(error))
        if after.opened_at is not None:
            error.add_note(f"{describe(after, datetime.now(UTC))}.")
        raise
    record_success(database, store_id, "walk")


def record_answers(
    database: Database, answers: Sequence[Answer], circuits: Mapping[str, Circuit]
) -> dict[str, Circuit]:
    """Record how probes went; returns the circuits of the stores whose failure counts.

    Args:
        database: where the state is kept.
        answers: what the probes brought.
        circuits: the stores that had failed before; the success of any other changes nothing.
    """
    last_failed = {store: circuit.failed_at for store, circuit in circuits.items()}
    failed = {
        answer.store_id: record_failure(database, answer.store_id, "probe", answer.problem or "")
        for answer in blamed(answers, last_failed, datetime.now(UTC))
    }
    for answer in answers:
        if answer.problem is None and answer.store_id in circuits:
            record_success(database, answer.store_id, "probe")
    return failed


def record_failure(database: Database, store_id: str, asked: Asked, reason: str) -> Circuit:
    """Count a failure of the store, which may open its circuit."""

    def fail() -> None:
        raise _FailureError

    with database.write() as connection:
        before = read_circuit(connection, store_id, for_update=True)
        state = _State(before)
        state.settle(fail)
        circuit = Circuit(
            store_id=store_id,
            failures=state.counter,
            # It takes a walk to clear a walk's failure, whatever failed after it.
            failed="walk" if before is not None and before.failed == "walk" else asked,
            reason=storable(reason)[:_LONGEST_REASON],
            failed_at=datetime.now(UTC),
            opened_at=state.opened_at,
        )
        keep_circuit(connection, circuit)
    if circuit.opened_at is not None:
        logger.warning("%s", describe(circuit, circuit.failed_at))
    return circuit


def record_success(database: Database, store_id: str, asked: Asked) -> None:
    """Close the store's circuit; a probe does not where a walk has failed."""
    with database.read() as connection:
        if read_circuit(connection, store_id) is None:
            return
    with database.write() as connection:
        before = read_circuit(connection, store_id, for_update=True)
        if before is None or (asked == "probe" and before.failed == "walk"):
            return
        state = _State(before)
        state.settle(lambda: None)
        if state.state == pybreaker.STATE_CLOSED:
            forget_circuit(connection, store_id)
            logger.info("store %s answers again after %d failures", store_id, before.failures)


def resume_store(database: Database, store_id: str, *, who: str, reason: str) -> Circuit | None:
    """Close a store's circuit on a person's word; returns what it was, None if it had not failed.

    Args:
        database: where the state is kept.
        store_id: the store.
        who: decided it.
        reason: why; kept with the decision.
    """
    now = datetime.now(UTC)
    with database.write() as connection:
        before = read_circuit(connection, store_id, for_update=True)
        if before is None:
            return None
        forget_circuit(connection, store_id)
        entry = AuditEntry(
            at=now,
            who=who,
            action="store.resume",
            store_id=store_id,
            subject=store_id,
            reason=reason or None,
            details={
                "state": state_of(before, now),
                "failures": before.failures,
                "last_failure": before.reason,
            },
        )
        record(connection, entry)
    return before


class _State(pybreaker.CircuitBreakerStorage):
    """A record as the breaker works on it, inside one transaction."""

    def __init__(self, circuit: Circuit | None) -> None:
        super().__init__("catalog")
        self._opened_at = None if circuit is None else circuit.opened_at
        self._state = pybreaker.STATE_CLOSED if self._opened_at is None else pybreaker.STATE_OPEN
        self._failures = 0 if circuit is None else circuit.failures
        self._successes = 0

    def settle(self, outcome: Callable[[], None]) -> None:
        """Tell the breaker of an attempt that is over: `outcome` raises if it failed."""
        breaker = pybreaker.CircuitBreaker(
            fail_max=FAILURES_TO_OPEN, state_storage=self, throw_new_error_on_trip=False
        )
        if self._state == pybreaker.STATE_OPEN:
            # Whether the attempt was allowed was decided before it was made.
            breaker.half_open()
        with suppress(_FailureError):
            breaker.call(outcome)
        if self._state == pybreaker.STATE_CLOSED:
            self._opened_at = None

    @property
    def state(self) -> str:
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        self._state = state

    @property
    def counter(self) -> int:
        return self._failures

    def increment_counter(self) -> None:
        self._failures += 1

    def reset_counter(self) -> None:
        self._failures = 0

    @property
    def success_counter(self) -> int:
        return self._successes

    def increment_success_counter(self) -> None:
        self._successes += 1

    def reset_success_counter(self) -> None:
        self._successes = 0

    @property
    def opened_at(self) -> datetime | None:
        return self._opened_at

    @opened_at.setter
    def opened_at(self, moment: datetime) -> None:
        self._opened_at = moment
