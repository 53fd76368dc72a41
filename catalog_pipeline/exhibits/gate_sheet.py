"""The pictures whose verdict other thresholds would change, sorted by what becomes of them.

Which these are is found in `gate_preview.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from catalog_pipeline.drawing.sheet import Section, draw_sheet
from catalog_pipeline.exhibits.contact_sheet import Judged, judged_tile
from catalog_pipeline.exhibits.reasons import missed
from catalog_pipeline.exhibits.thumbnails import side_by_side
from catalog_pipeline.files import DataFolder
from catalog_pipeline.gate_preview import VerdictChange

COLUMNS = 7
# As many as an eye takes in, and few enough for any file format's limit on height.
MOST_TILES = 280
_LEAST_ROWS = 2


def gate_sheet(files: DataFolder, changes: Sequence[VerdictChange]) -> Image.Image:
    """All changed pictures, or of each kind of change those nearest to the threshold.

    A picture that is accepted now and would be rejected has the frame of a rejected one.

    Args:
        files: where the pictures are.
        changes: at least one.
    """
    kinds: dict[tuple[str, str], list[VerdictChange]] = {}
    for one in changes:
        kinds.setdefault((one.verdict, one.issue), []).append(one)
    # Rejected pictures first, as they are what a change costs.
    ordered = sorted(kinds.items(), key=lambda kind: (kind[0][0] != "rejected", -len(kind[1])))
    most = max(MOST_TILES // len(ordered) // COLUMNS, _LEAST_ROWS) * COLUMNS
    if len(changes) <= MOST_TILES:
        most = MOST_TILES
    return draw_sheet([_section(files, found, most) for _, found in ordered], columns=COLUMNS)


def _section(files: DataFolder, changes: Sequence[VerdictChange], most: int) -> Section:
    first = changes[0]
    shown = sorted(changes, key=lambda one: (_distance(one), one.image_sha256))[:most]
    count = f"{len(changes):,} {'picture' if len(changes) == 1 else 'pictures'}"
    if len(shown) < len(changes):
        count += f", the {len(shown)} nearest to the threshold"
    now, why = ("accepted", first.issue)
    if first.verdict == "accepted":
        now, why = ("rejected", f"no longer {first.issue}")
    return Section(
        f"{now} → {first.verdict}, {why}: {count}",
        side_by_side(lambda one: judged_tile(files, _judged(one)), shown),
    )


def _judged(one: VerdictChange) -> Judged:
    accepted = one.verdict == "accepted"
    # The threshold of an issue that falls away is the one in force until now.
    why = missed(one.issue, one.measured, one.threshold, is_past=accepted)
    # What cannot be decoded is rejected by any thresholds.
    return Judged(one.image_sha256, accepted, (why or one.issue, one.store_id))


def _distance(one: VerdictChange) -> float:
    """How far a picture is from the threshold, as a share of it."""
    if one.threshold is None or isinstance(one.measured, str | None):
        return 0.0
    return abs(one.measured - one.threshold) / (abs(one.threshold) or 1.0)
