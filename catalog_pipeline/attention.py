"""How a store stands, and what about it needs a person: the question that `catalog status` answers.

Told from records alone; no store and no index is asked, and nothing is changed. A store that needs
nobody has no concerns.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection

from catalog_pipeline.catalog.circuits import Circuit, read_circuit
from catalog_pipeline.catalog.queries import StoreSummary, summarise_store
from catalog_pipeline.catalog.removal_approvals import Stage, count_waiting, has_open_approval
from catalog_pipeline.catalog.syncs import Sync, last_syncs, standing_failures
from catalog_pipeline.catalog.verdicts import StoreVerdict, failing_verdicts
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.embeddings.owed import count_owed
from catalog_pipeline.images.owed import Ask, count_fetches
from catalog_pipeline.products.circuit import asked_again_at, state_of
from catalog_pipeline.products.owed import StoreCounts, count_store
from catalog_pipeline.products.timetable import seen_whole_at
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.guard import held_back


class Kind(StrEnum):
    """What can be the matter with a store, most pressing first."""

    CIRCUIT = "circuit open"
    FAILED = "sync failed"
    REMOVALS = "removals wait"
    CHECK = "check fails"
    QUARANTINE = "quarantine"
    STALE = "stale"
    INCOMPLETE = "walk incomplete"
    OWED = "owed work"
    NEVER = "never synced"


@dataclass(frozen=True)
class Concern:
    """One thing that needs a person: what it is, and the command to begin with."""

    kind: Kind
    text: str
    command: str


# What these judge is told here as it stands now, and their last word may be an hour old.
TOLD_AS_IT_STANDS = {
    "no_store_is_stale",
    "no_partition_is_left_failed",
    "no_removals_wait",
    "few_are_quarantined",
    "accepted_have_vectors",
}
# The command line embeds and loads one product again, and of a whole store only the UI does.
_LAUNCH = "catalog ui, then launch the partition {} with "
_BEGIN_WITH = {
    "acceptance_is_usual": "catalog gate preview --store {}",
    "currency_is_the_stores": "catalog sync {} --full",
    "everything_agrees": "catalog reconcile {}",
    "new_vectors_are_sound": _LAUNCH + "`reembed: true` in image_embeddings",
    # A comparison goes by payloads, and asks for no vector.
    "own_picture_comes_first": _LAUNCH + "`rewrite: true` in qdrant_points",
    "prices_are_plausible": "catalog stores check {}",
    "walks_are_complete": "catalog stores check {}",
}


@dataclass(frozen=True)
class Refusals:
    """Records in quarantine by their commonest reason, with one product that has it."""

    records: int
    reason: str
    example: str


@dataclass(frozen=True)
class StoreStanding:
    """A store as the records have it.

    Attributes:
        summary: what the database holds.
        last_sync: its newest run, also one that goes on.
        failures: its runs that failed and that no later one made up for, the newest first.
        failing_checks: last words of checks that are a person's matter, by the check's name.
        circuit: None for a store that answers.
        circuit_state: closed, open or half-open.
        asked_again_at: when the pause of an open circuit ends.
        owed_pictures: pictures to be fetched or embedded now; None where vectors are not counted.
        removals: removals that wait for an approval which nobody gave yet, by products or points;
            None for those that cannot be told.
        quarantine: its commonest reason; None while no more is refused than may be let pass.
        last_complete_walk: when the rows of the newest complete walk were committed.
        active: whether stores.yaml lets it be read at all.
        paused_until: the end of a pause that goes on.
        concerns: what needs a person, most pressing first.
    """

    summary: StoreSummary
    last_sync: Sync | None
    failures: list[Sync]
    failing_checks: dict[str, StoreVerdict]
    circuit: Circuit | None
    circuit_state: str
    asked_again_at: datetime | None
    owed_pictures: int | None
    removals: dict[Stage, int | None]
    quarantine: Refusals | None
    last_complete_walk: datetime | None
    active: bool
    paused_until: datetime | None
    concerns: list[Concern] = field(default_factory=list)


def look_at(
    connection: Connection,
    store: StoreConfig,
    *,
    model_version: str | None,
    collection: str | None,
    checks: Collection[str],
    now: datetime,
    night: datetime,
) -> StoreStanding:
    """Read how a store stands.

    Args:
        connection: any connection.
        store: as stores.yaml has it.
        model_version: whose vectors count; None where it is not known, and they stay uncounted.
        collection: whose points count; None like the model.
        checks: names of those there are.
        now: the clock.
        night: since when every store should have been seen whole.
    """
    scope = Scope.of(store)
    circuit = read_circuit(connection, store.id)
    last = last_syncs(connection, store.id)
    fetches, owed = count_fetches(connection, Ask(store, scope, now)), None
    removals: dict[Stage, int | None] = {
        "products": count_waiting(connection, store.id),
        "points": None,
    }
    if model_version is not None and collection is not None:
        owed = fetches + count_owed(connection, scope, model_version)
        removals["points"] = held_back(connection, store, collection, model_version).count
    pause, summary = store.paused, summarise_store(connection, scope, model_version, collection)
    found = StoreStanding(
        summary=summary,
        last_sync=last[0] if last else None,
        failures=standing_failures(connection, store.id),
        failing_checks=dict(
            failing_verdicts(connection, set(checks) - TOLD_AS_IT_STANDS, store.id)
        ),
        circuit=circuit,
        circuit_state=state_of(circuit, now),
        asked_again_at=None if circuit is None else asked_again_at(circuit),
        owed_pictures=owed,
        removals={
            stage: count
            for stage, count in removals.items()
            if count is None or (count and not has_open_approval(connection, store.id, stage))
        },
        # Asked of the few stores that have any.
        quarantine=_refusals(count_store(connection, store.id)) if summary.quarantined else None,
        last_complete_walk=seen_whole_at(connection, store.id, now),
        active=store.active,
        paused_until=pause.until if pause is not None and now < pause.until else None,
    )
    found.concerns.extend(_concerns(found, night, fetches))
    return found


def _concerns(found: StoreStanding, night: datetime, fetches: int) -> list[Concern]:
    store = found.summary.store_id
    if not found.active:
        return []
    told = [
        _circuit(found),
        _failure(found),
        *(
            Concern(
                Kind.REMOVALS,
                f"{count:,} removals of {stage} wait for an approval",
                f"catalog removals {store}",
            )
            for stage, count in found.removals.items()
            if count is not None
        ),
        *(
            Concern(
                Kind.CHECK,
                f"{check} failed at {verdict.checked_at:%Y-%m-%d %H:%M} UTC: {verdict.told}",
                _BEGIN_WITH.get(check, "catalog sync {}").format(store),
            )
            for check, verdict in found.failing_checks.items()
        ),
        _quarantine(found),
        _walk(found, night),
        _owed(found, fetches),
    ]
    return [one for one in told if one is not None]


def _circuit(found: StoreStanding) -> Concern | None:
    circuit = found.circuit
    if circuit is None or circuit.opened_at is None:
        return None
    pause = "its pause is over, and the next attempt decides"
    if found.circuit_state == "open":
        pause = f"left alone until {found.asked_again_at:%Y-%m-%d %H:%M} UTC"
    return Concern(
        Kind.CIRCUIT,
        f"failed {circuit.failures} times in a row, {pause}: {circuit.reason}",
        f"catalog stores check {circuit.store_id}, then catalog stores resume {circuit.store_id}",
    )


def _failure(found: StoreStanding) -> Concern | None:
    circuit = found.circuit
    if not found.failures:
        return None
    if circuit is not None and circuit.opened_at is not None and circuit.failed == "walk":
        # The circuit has told the same already.
        return None
    last, number = found.failures[0], len(found.failures)
    what = f"its last {number} syncs" if number > 1 else "its last sync"
    if found.last_sync is not None and found.last_sync.status == "success":
        what = f"its {last.job} of {last.updated_at:%Y-%m-%d %H:%M} UTC"
    return Concern(
        Kind.FAILED,
        f"{what} failed: {last.error or 'without a word why'}",
        f"catalog sync {last.store_id}",
    )


def _quarantine(found: StoreStanding) -> Concern | None:
    refused, store = found.quarantine, found.summary.store_id
    if refused is None:
        return None
    count = found.summary.quarantined
    records = "1 record is" if count == 1 else f"{count:,} records are"
    mostly = "" if refused.records == count else f" ({refused.records:,} of them)"
    return Concern(
        Kind.QUARANTINE,
        f"{records} in quarantine: {refused.reason}{mostly}",
        f"catalog explain {store}:{refused.example}",
    )


def _walk(found: StoreStanding, night: datetime) -> Concern | None:
    summary, store = found.summary, found.summary.store_id
    if summary.last_walk is None:
        return Concern(Kind.NEVER, "never synced", f"catalog sync {store}")
    last = found.last_complete_walk
    if last is None:
        return Concern(
            Kind.INCOMPLETE,
            "no walk of it was ever complete, so nothing proves that all of it is here",
            f"catalog sync {store}",
        )
    if found.paused_until is None and last < night:
        return Concern(
            Kind.STALE,
            f"not seen whole since {last:%Y-%m-%d %H:%M} UTC; are the daemon's schedules on?",
            f"catalog sync {store} --nightly",
        )
    return None


def _owed(found: StoreStanding, fetches: int) -> Concern | None:
    sync, owed = found.last_sync, found.owed_pictures
    # What is to be fetched is known without a model, too.
    count, work = (fetches, "fetched") if owed is None else (owed, "fetched or embedded")
    if not count or (sync is not None and not sync.is_finished):
        return None
    pictures = "1 picture is" if count == 1 else f"{count:,} pictures are"
    return Concern(
        Kind.OWED,
        f"{pictures} still to be {work}; a running daemon goes on by itself",
        f"catalog sync {found.summary.store_id}",
    )


def _refusals(counts: StoreCounts) -> Refusals | None:
    if not counts.are_many_quarantined:
        return None
    reason, records = next(iter(counts.quarantined_by_reason.items()))
    return Refusals(records, reason, counts.quarantined_examples[reason].split(", ")[0])
