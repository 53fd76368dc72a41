"""A stage's report as Dagster metadata: numbers as numbers, counts by reason as tables.

What a stage counts is decided by its report; which counts are read first, by its asset.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

# Beyond this a table in the event log costs more than it tells.
MOST_ROWS = 20
REASON = "reason"
COUNT = "count"
EXAMPLES = "examples"
# Stands beside every materialisation already, as its partition.
_PARTITION = "store_id"

Metadata = dict[str, dg.MetadataValue[Any]]


def report_metadata(
    report: Any, *, first: Sequence[str] = (), moments: Sequence[str] = ()
) -> Metadata:
    """Every field of a report dataclass that has a value, under its own name.

    Args:
        report: an instance of the dataclass.
        first: fields that stand above the others; a run's log shows a few lines of them only.
        moments: fields that hold a time as ISO 8601 text.
    """
    rest = (field.name for field in dataclasses.fields(report))
    found: Metadata = {}
    for name in dict.fromkeys([*first, *rest]):
        value = getattr(report, name)
        if name in moments and value is not None:
            value = datetime.fromisoformat(value)
        shown = metadata_value(value)
        if shown is not None and name != _PARTITION:
            found[name] = shown
    return found


def how_to_approve(asset: str, store_id: str, waiting: Mapping[str, int]) -> Metadata:
    """What a person does about removals that the guard holds back; nothing if none are."""
    count = sum(waiting.values())
    if not count:
        return {}
    return {
        "approve": dg.MetadataValue.md(
            f"{count} removals wait for a person, and none of them went. `catalog removals "
            f"{store_id}` lists them; let them go with `catalog removals {store_id} --approve "
            f"{count}`, or launch the partition with `approve_removals: {count}` in the run config "
            f"of `{asset}`."
        )
    }


def metadata_value(value: Any) -> dg.MetadataValue[Any] | None:
    """One value as Dagster shows it best; None for what is absent or empty."""
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float):
        return dg.MetadataValue.float(round(value, 3))
    if isinstance(value, datetime):
        return dg.MetadataValue.timestamp(value)
    if not value:
        return None
    return _by_reason(value) if isinstance(value, Mapping) else dg.MetadataValue.text(str(value))


def _by_reason(values: Mapping[str, int | str]) -> dg.MetadataValue[Any]:
    """Counts with the largest first, adding up to all of them; examples in their own order."""
    counts = {reason: value for reason, value in values.items() if isinstance(value, int)}
    if len(counts) == len(values):
        return _table(COUNT, "int", _largest(counts))
    return _table(EXAMPLES, "string", list(values.items())[:MOST_ROWS])


def _largest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if len(ordered) <= MOST_ROWS:
        return ordered
    shown, others = ordered[: MOST_ROWS - 1], ordered[MOST_ROWS - 1 :]
    return [*shown, (f"{len(others)} other reasons", sum(count for _, count in others))]


def _table(name: str, kind: str, rows: Sequence[tuple[str, int | str]]) -> dg.MetadataValue[Any]:
    return dg.MetadataValue.table(
        records=[dg.TableRecord({REASON: reason, name: value}) for reason, value in rows],
        schema=dg.TableSchema([dg.TableColumn(REASON, "string"), dg.TableColumn(name, kind)]),
    )
