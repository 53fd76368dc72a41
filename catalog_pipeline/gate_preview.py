"""What other thresholds would do to the gate's verdicts, told from the stored measurements.

Nothing is written and nothing is fetched: pictures are judged as the images stage would judge them,
by its own question of which verdicts are owed. How the changes are shown is not decided here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ValidationError
from sqlalchemy import Connection, func, select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import image_attempts, image_overrides
from catalog_pipeline.catalog.wanted import Scope, accepted_images, in_force, is_of_wanted_image
from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.images.owed import (
    Ask,
    count_fetches,
    owed_measurements,
    owed_verdicts,
    placeholder_images,
)
from catalog_pipeline.images.quality import gate_version, judge
from catalog_pipeline.sentences import sentence, shown, unknown
from catalog_pipeline.stores import QualityThresholds, StoreConfig

Verdict = Literal["accepted", "rejected"]
ThresholdValue = int | float


class ThresholdError(ConfigurationError):
    """A threshold that does not exist, or a value that it cannot have."""


@dataclass(frozen=True, slots=True)
class VerdictChange:
    """One picture whose verdict would be another one.

    `issue` is the one that counts: of the new verdict where it rejects, else of the old one. It
    comes with the value measured and the threshold that it missed, None where it has none.
    """

    store_id: str
    image_sha256: str
    verdict: Verdict
    issue: str
    measured: float | str | None
    threshold: float | None


@dataclass(frozen=True)
class StorePreview:
    """What would become of one store's verdicts; pictures are counted as distinct contents.

    Attributes:
        store_id: the store.
        thresholds: those that differ from stores.yaml's, as (now, then).
        pictures: wanted pictures that are measured.
        accepted_now: of these, by the gate or by a person's word.
        accepted_then: the same under the thresholds in question.
        to_rejected: accepted pictures that would be rejected, by reason.
        to_accepted: rejected pictures that would be accepted, by the reason that falls away.
        changes: each of them.
        by_a_person: changed verdicts of the gate that a person's word stands above; not counted
            among the changes.
        unjudged: pictures without any verdict yet; counted in neither direction.
        unmeasured: pictures that a larger `max_pixels` would have decoded first.
        to_fetch: pictures that another `max_bytes` would have fetched first.
    """

    store_id: str
    thresholds: Mapping[str, tuple[ThresholdValue, ThresholdValue]]
    pictures: int
    accepted_now: int
    accepted_then: int
    to_rejected: Mapping[str, int]
    to_accepted: Mapping[str, int]
    changes: Sequence[VerdictChange]
    by_a_person: int
    unjudged: int
    unmeasured: int
    to_fetch: int


def changed_thresholds(current: QualityThresholds, changes: Mapping[str, str]) -> QualityThresholds:
    """A store's thresholds with some of them set to other values, given as text.

    Raises:
        ThresholdError: naming each wrong name or value.
    """
    names = QualityThresholds.model_fields
    problems = [
        f"{shown(name)} {unknown('a threshold', name, names)}"
        for name in changes
        if name not in names
    ]
    if not problems:
        try:
            return QualityThresholds.model_validate(current.model_dump() | dict(changes))
        except ValidationError as error:
            problems = [f"{detail['loc'][0]} {sentence(detail)}" for detail in error.errors()]
    raise ThresholdError("; ".join(problems))


def preview_gate(
    database: Database, store: StoreConfig, thresholds: QualityThresholds
) -> StorePreview:
    """Judge a store's measured pictures by other thresholds, writing nothing.

    Args:
        database: the catalogue.
        store: as stores.yaml has it.
        thresholds: to judge by.

    Raises:
        ServiceUnavailableError: the database cannot be reached.
    """
    scope = Scope.of(store)
    proposed = store.model_copy(update={"quality": thresholds})
    now = datetime.now(UTC)
    with database.read() as connection:
        placeholders = placeholder_images(connection, store.id)
        words = _words_of_people(connection)
        pictures = _count_pictures(connection, scope)
        accepted = accepted_images(scope).subquery()
        accepted_now = connection.scalar(select(func.count()).select_from(accepted)) or 0
        asked = count_fetches(connection, Ask(store, scope, now))
        to_fetch = count_fetches(connection, Ask(proposed, scope, now)) - asked
    unmeasured = set(owed_measurements(database, proposed, scope))
    changes: list[VerdictChange] = []
    by_a_person = unjudged = 0
    for page in owed_verdicts(database, scope, gate_version(thresholds), placeholders):
        for image in page:
            if image.image_sha256 in unmeasured:
                continue
            if image.issues is None:
                unjudged += 1
                continue
            verdict = judge(
                image.measurements,
                thresholds,
                is_placeholder=image.image_sha256 in placeholders,
            )
            if verdict.accepted == (not image.issues):
                continue
            if image.image_sha256 in words:
                by_a_person += 1
                continue
            telling: Mapping[str, Any] = (verdict.issues or image.issues)[0]
            changes.append(
                VerdictChange(
                    store.id,
                    image.image_sha256,
                    "accepted" if verdict.accepted else "rejected",
                    telling["issue"],
                    telling["measured"],
                    telling["threshold"],
                )
            )
    to_rejected, to_accepted = _by_reason(changes, "rejected"), _by_reason(changes, "accepted")
    return StorePreview(
        store_id=store.id,
        thresholds=_differences(store.quality, thresholds),
        pictures=pictures,
        accepted_now=accepted_now,
        accepted_then=accepted_now - sum(to_rejected.values()) + sum(to_accepted.values()),
        to_rejected=to_rejected,
        to_accepted=to_accepted,
        changes=changes,
        by_a_person=by_a_person,
        unjudged=unjudged,
        unmeasured=len(unmeasured),
        to_fetch=max(to_fetch, 0),
    )


def described(thresholds: QualityThresholds) -> Iterator[tuple[str, ThresholdValue]]:
    """Each threshold's name and value, in the order of stores.yaml's vocabulary."""
    yield from thresholds.model_dump().items()


def _differences(
    now: QualityThresholds, then: QualityThresholds
) -> dict[str, tuple[ThresholdValue, ThresholdValue]]:
    after = dict(described(then))
    return {name: (value, after[name]) for name, value in described(now) if value != after[name]}


def _words_of_people(connection: Connection) -> set[str]:
    """The contents that a person accepted or rejected; there are few."""
    return set(
        connection.scalars(
            select(image_overrides.c.image_sha256).where(in_force(image_overrides.c.until))
        )
    )


def _count_pictures(connection: Connection, scope: Scope) -> int:
    contents = func.count(image_attempts.c.image_sha256.distinct())
    return connection.scalar(select(contents).where(is_of_wanted_image(scope))) or 0


def _by_reason(changes: Sequence[VerdictChange], verdict: Verdict) -> dict[str, int]:
    """The commonest first."""
    return dict(Counter(one.issue for one in changes if one.verdict == verdict).most_common())
