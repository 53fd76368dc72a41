"""Whether a store is read as it should be: walks to their end, in time, and its runs without fail.

When a night begins and how far polling has come is told by whoever schedules both.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from catalog_pipeline.catalog.circuits import read_circuit
from catalog_pipeline.catalog.schema import store_states, walks
from catalog_pipeline.catalog.syncs import standing_failures
from catalog_pipeline.catalog.verdicts import StoreVerdict
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.circuit import asked_again_at
from catalog_pipeline.products.polling import PollCursor
from catalog_pipeline.products.source import WalkKind
from catalog_pipeline.products.timetable import seen_whole_at
from catalog_pipeline.stores import StoreConfig

# Beyond its interval; a store is probed by the tick after its slot, and a tick may be late.
_POLL_GRACE = timedelta(minutes=15)
# Walks that are looked at for one that is no sample.
_LOOKED_AT = 16
_LONGEST = 300


@dataclass(frozen=True)
class Timetable:
    """What a store that is read in time has behind it.

    Attributes:
        now: the clock.
        night: the beginning of the last night that every store should have been walked since.
        polled: how far polling has come; None where nothing polls.
    """

    now: datetime
    night: datetime
    polled: PollCursor | None = None


def walks_are_complete(
    connection: Connection, archive: Archive, store: StoreConfig
) -> StoreVerdict:
    """Whether the newest walk of each kind saw all that it was to see.

    A full walk stands for the other kinds, too. A sample of a store that was read whole before says
    nothing of the store.

    Raises:
        ArchiveError: the records of a walk are damaged.
    """
    read_whole = connection.scalar(
        select(store_states.c.watermark).where(store_states.c.store_id == store.id)
    )
    full = _newest(connection, store, "full", archive if read_whole else None)
    name = "walks not complete"
    told = []
    for kind in ("full", "incremental", "sweep"):
        found = full if kind == "full" else _newest(connection, store, kind)
        superseded = (
            kind != "full" and full is not None and found is not None and found[0] < full[0]
        )
        if found is not None and not superseded and not found[1]:
            told.append(f"{found[0]}: {_reason(archive, store, found[0])}")
    return StoreVerdict(store.id, not told, {name: len(told)}, {name: told} if told else {})


def is_in_time(connection: Connection, store: StoreConfig, timetable: Timetable) -> StoreVerdict:
    """Whether a store was asked within `poll_every`, answers, and was walked whole last night.

    A store that is paused is not asked, so it is never late.
    """
    if not store.is_polled(timetable.now):
        return StoreVerdict(store.id, passed=True, counts={"paused": 1})
    late = _late(connection, store, timetable)
    name = "stale"
    return StoreVerdict(
        store.id,
        late is None,
        {name: int(late is not None)},
        {} if late is None else {name: [late]},
    )


def none_is_left_failed(connection: Connection, store: StoreConfig) -> StoreVerdict:
    """Whether no run of a store failed that no later one made up for.

    Runs are told by their records, which are derived from Dagster's own.
    """
    last = next(iter(standing_failures(connection, store.id)), None)
    name = "left failed"
    if last is None:
        return StoreVerdict(store.id, passed=True, counts={name: 0})
    moment = last.completed_at or last.updated_at
    error = (last.error or "no reason is on record").splitlines()[0][:_LONGEST]
    told = f"run {last.run_id[:8]} of {moment:%Y-%m-%d %H:%M} UTC: {error}"
    return StoreVerdict(store.id, passed=False, counts={name: 1}, examples={name: [told]})


def _late(connection: Connection, store: StoreConfig, timetable: Timetable) -> str | None:
    """Why a store is stale; None if it is not."""
    circuit = read_circuit(connection, store.id)
    if circuit is not None and (again := asked_again_at(circuit)) is not None:
        return (
            f"failed {circuit.failures} times in a row, asked again at {again:%Y-%m-%d %H:%M} UTC: "
            f"{circuit.reason[:_LONGEST]}"
        )
    walked = seen_whole_at(connection, store.id, timetable.now)
    if walked is None:
        return "never read whole"
    if walked < timetable.night:
        return (
            f"last walked whole {walked:%Y-%m-%d %H:%M} UTC, not in the night that began "
            f"{timetable.night:%Y-%m-%d %H:%M} UTC"
        )
    return _not_polled(store, timetable)


def _not_polled(store: StoreConfig, timetable: Timetable) -> str | None:
    """Since when no poll told anything of a store; None if that is not too long ago."""
    polled = timetable.polled
    if polled is None or polled.served_until is None:
        return None
    oldest = timetable.now - store.poll_every - _POLL_GRACE
    if polled.served_until < oldest:
        return f"not polled since {polled.served_until:%Y-%m-%d %H:%M} UTC"
    silent = polled.unanswered.get(store.id)
    if silent is not None and silent < oldest:
        return (
            f"due since {silent:%Y-%m-%d %H:%M} UTC, and no poll was answered from then on; the "
            "sensor poll_stores says why"
        )
    return None


def _newest(
    connection: Connection, store: StoreConfig, kind: WalkKind, unless_sample: Archive | None = None
) -> tuple[str, bool] | None:
    """The newest processed walk of a kind, and whether it is complete."""
    rows = connection.execute(
        select(walks.c.walk_id, walks.c.complete)
        .where(walks.c.store_id == store.id, walks.c.kind == kind)
        .order_by(walks.c.walk_id.desc())
        .limit(_LOOKED_AT)
    )
    for walk_id, complete in rows:
        if complete or unless_sample is None:
            return walk_id, complete
        found = unless_sample.open(store.id, walk_id)
        if found is None or found.begin.sample is None:
            return walk_id, complete
    return None


def _reason(archive: Archive, store: StoreConfig, walk_id: str) -> str:
    found = archive.open(store.id, walk_id)
    if found is None or found.manifest is None:
        return "it was cut off"
    return (found.manifest.reason or "no reason was noted")[:_LONGEST]
