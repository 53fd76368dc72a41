"""When each store is asked whether anything changed, and what its answer leads to.

Pure decisions over clocks, answers and records: no request is made here, nothing is stored, and
nothing is known of Dagster. Asking a store is `probe.py`; who keeps the cursor is not known here.

Every store has its own slot in the interval that `poll_every` gives it, so the stores spread evenly
and the cursor need not name them: it holds the moment up to which slots were served, the stores
that were due and not reached, those that changed while they had a run, which are asked again as
soon as it is over, and since when a store that was due has given no answer. A store that keeps
failing is not polled: see `circuit.py`.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import floor
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

# What a scheduler asks for at once; the rest waits for the next tick.
MOST_REQUESTS = 100
# A slot is served by the tick after it, so slots come this much more often than `poll_every` says.
SLACK = timedelta(seconds=90)
LONGEST_BACK_OFF = timedelta(hours=6)
FIRST_WAIT = timedelta(minutes=15)
# Fewer stores that are out of reach at once may well all be down.
FEWEST_TO_BLAME_US = 3
# What an outage of ours must outlast to count against a store once more.
OUTAGE = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# A product's id in the source, and when the source last changed it (None: it does not say).
Pair = tuple[str, datetime | None]


class Waiting(BaseModel):
    """A store that is left alone until then, after so many attempts that came to nothing."""

    model_config = ConfigDict(frozen=True)

    attempts: int
    again_at: AwareDatetime


class PollCursor(BaseModel):
    """What one tick leaves for the next.

    `unanswered` has the stores that were due and not reached, or gave no answer, since when.
    """

    model_config = ConfigDict(frozen=True)

    served_until: AwareDatetime | None = None
    late: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    unanswered: Mapping[str, AwareDatetime] = {}

    @classmethod
    def read(cls, text: str | None) -> Self:
        """The cursor of an earlier tick; an unreadable one counts as none, so that all are due."""
        try:
            return cls.model_validate_json(text) if text else cls()
        except ValidationError:
            return cls()


@dataclass(frozen=True)
class Answer:
    """What a store said to a probe; `problem` says why it said nothing.

    `announced` is how many products the store says have changed `since`; None if it does not say.
    `store_failed` tells a problem that is the store's from one of ours, such as a missing key;
    `out_of_reach` one where nothing came back, for which our own network may be to blame.
    """

    store_id: str
    since: datetime
    pairs: tuple[Pair, ...] = ()
    announced: int | None = None
    problem: str | None = None
    store_failed: bool = False
    out_of_reach: bool = False


@dataclass(frozen=True)
class Known:
    """What is stored of the products in an answer.

    `newer` counts the store's records, stored or refused, that changed after the answer's `since`.
    """

    pairs: frozenset[Pair] = frozenset()
    newer: int = 0


@dataclass(frozen=True)
class Decision:
    """The stores to request a run for, the next cursor, and lines for a person to read."""

    requests: tuple[str, ...]
    cursor: PollCursor
    lines: tuple[str, ...] = field(default=())


def due_stores(
    intervals: Mapping[str, timedelta],
    cursor: PollCursor,
    now: datetime,
    unfinished: Collection[str] = (),
) -> tuple[str, ...]:
    """The stores to probe now, those left over first.

    Args:
        intervals: `poll_every` of each store that is polled now.
        cursor: of the tick before.
        now: the clock.
        unfinished: the stores that have a run which is not over.
    """
    free = [store for store in cursor.held if store in intervals and store not in unfinished]
    late = [store for store in cursor.late if store in intervals]
    fresh = [
        store
        for store, every in intervals.items()
        if _slot_passed(store, every, cursor.served_until, now)
    ]
    return tuple(dict.fromkeys([*free, *late, *fresh]))


def decide(
    due: Sequence[str],
    answers: Sequence[Answer],
    known: Mapping[str, Known],
    unfinished: Collection[str],
    now: datetime,
    *,
    resting: Mapping[str, datetime] | None = None,
    held: Collection[str] = (),
    unanswered: Mapping[str, datetime] | None = None,
) -> Decision:
    """What the answers of a tick lead to.

    Args:
        due: the stores that should have been probed.
        answers: of those that were.
        known: what is stored of each answer's products.
        unfinished: the stores that have a run which is not over.
        now: the moment for which `due` was made; slots up to it count as served.
        resting: stores whose runs fail, and until when no other is asked for.
        held: stores that were seen to change during a run before this tick.
        unanswered: stores, read still, that had given no answer before this tick, since when.
    """
    resting = resting or {}
    busy: list[str] = []
    lines: list[str] = []
    changed: list[str] = []
    for answer in answers:
        store = answer.store_id
        if answer.problem is not None:
            lines.append(f"{store}: no answer ({answer.problem})")
            continue
        if not is_news(answer, known.get(store, Known())):
            continue
        if store in unfinished:
            lines.append(f"{store}: has changed, and has a run that is not over")
            busy.append(store)
        elif store in resting and resting[store] > now:
            lines.append(
                f"{store}: has changed, but its last runs failed; tried again from "
                f"{resting[store]:%Y-%m-%d %H:%M:%S} UTC on"
            )
        else:
            changed.append(store)
    answered = {answer.store_id for answer in answers}
    heard = {answer.store_id for answer in answers if answer.problem is None}
    # A clock that was ahead must not make a silence begin in the future.
    silent = {store: min(at, now) for store, at in (unanswered or {}).items()}
    silent = dict.fromkeys([*due, *answered], now) | silent
    unreached = [store for store in due if store not in answered]
    if unreached:
        lines.append(f"{len(unreached)} stores were not reached in time and come first next time")
    late = [*unreached, *changed[MOST_REQUESTS:]]
    still = [store for store in held if store in unfinished and store not in answered]
    return Decision(
        requests=tuple(changed[:MOST_REQUESTS]),
        cursor=PollCursor(
            served_until=now,
            late=tuple(late),
            held=(*still, *busy),
            unanswered={store: at for store, at in silent.items() if store not in heard},
        ),
        lines=tuple(lines),
    )


def is_news(answer: Answer, known: Known) -> bool:
    """Whether an answer shows, or implies, a product version that is not stored."""
    if any(pair not in known.pairs for pair in answer.pairs):
        return True
    # More than one answer holds: what it does not show, the oldest, is judged by number.
    announced = answer.announced or 0
    return announced > len(answer.pairs) and announced != known.newer


def blamed(
    answers: Sequence[Answer], last_failed: Mapping[str, datetime], now: datetime
) -> list[Answer]:
    """The answers that count as failures of their stores.

    Where not one of several stores is within reach, our own network may be away, or they may all
    be down. So each failure counts, but none within an hour of the one before: a short outage of
    ours leaves no store alone, and stores that stay away are found out all the same.

    Args:
        answers: what the probes of one tick brought.
        last_failed: when the last failure that counted was, of the stores that had failed before.
        now: the clock.
    """
    failed = [answer for answer in answers if answer.store_failed]
    answered = [answer for answer in answers if answer.problem is None]
    if answered or len(failed) < FEWEST_TO_BLAME_US or not all(one.out_of_reach for one in failed):
        return failed
    # A clock that was set back must not keep a failure from counting until it has caught up.
    return [one for one in failed if abs(now - last_failed.get(one.store_id, _EPOCH)) >= OUTAGE]


def first_syncs(
    never_synced: Collection[str],
    asked: Mapping[str, Waiting],
    unfinished: Collection[str],
    now: datetime,
) -> tuple[tuple[str, ...], dict[str, Waiting]]:
    """The stores whose first sync to request, and when each may be requested again.

    One that came to nothing is requested again after waits that grow from twice `FIRST_WAIT`.

    Args:
        never_synced: stores that are read and were never walked to the end.
        asked: those for which a first sync was requested before.
        unfinished: the stores that have a run which is not over.
        now: the clock.
    """
    kept = {store: held for store, held in asked.items() if store in never_synced}
    wanted = [
        store
        for store in never_synced
        if store not in unfinished and (store not in kept or _is_over(kept[store], now))
    ][:MOST_REQUESTS]
    again = {store: _once_more(kept.get(store), FIRST_WAIT, now) for store in wanted}
    return tuple(wanted), kept | again


def back_off(every: timedelta, failures: int) -> timedelta:
    """How long a store is left alone after so many failures in a row."""
    # The exponent is bounded too: a store may be dead for years.
    doublings = min(failures, 16)
    return min(every * (1 << doublings), max(LONGEST_BACK_OFF, every))


def share(store_id: str) -> float:
    """A number in [0, 1) that is a store's own and spreads stores evenly; it never changes."""
    return zlib.crc32(store_id.encode()) / 2**32


def _slot_passed(store: str, every: timedelta, served: datetime | None, now: datetime) -> bool:
    # A clock that was set back must not silence every store until it has caught up.
    if served is None or served > now:
        return True
    period = max(every - SLACK, every / 2)
    shift = share(store) * period
    return floor((now - _EPOCH - shift) / period) > floor((served - _EPOCH - shift) / period)


def _is_over(waiting: Waiting, now: datetime) -> bool:
    # No wait is longer: a clock that was set back must not hold a store up until it has caught up.
    return not now < waiting.again_at <= now + LONGEST_BACK_OFF


def _once_more(before: Waiting | None, every: timedelta, now: datetime) -> Waiting:
    attempts = 1 if before is None else before.attempts + 1
    return Waiting(attempts=attempts, again_at=now + back_off(every, attempts))
