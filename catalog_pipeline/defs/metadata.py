"""A stage's report as Dagster metadata: numbers as numbers, counts by reason as tables.

What a stage counts is decided by its report; which counts are read first, by its asset.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
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
Cells = Mapping[str, str | int | float | bool | None]


def materialised(
    context: dg.AssetExecutionContext,
    metadata: Mapping[str, Any],
    version: str,
    checks: Sequence[dg.AssetCheckResult] = (),
) -> dg.MaterializeResult[None]:
    """The end of a stage, with what it tells and the digest of what it holds now.

    Given with the result, Dagster would store the metadata twice: on the step's output too.
    """
    context.add_asset_metadata(metadata)
    return dg.MaterializeResult(data_version=dg.DataVersion(version), check_results=checks)


def last_materialisation(context: dg.AssetExecutionContext) -> dg.EventLogRecord | None:
    """The event of the last materialisation, of the partition if there is one, if there was one."""
    found = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(
            asset_key=context.asset_key,
            asset_partitions=[context.partition_key] if context.has_partition_key else None,
        ),
        limit=1,
    )
    return found.records[0] if found.records else None


def of_one_product(external_id: str | None) -> Metadata:
    """Which product a run was for; nothing if it was for all of the store.

    What it did, it did for that one; how the store stands is of the store all the same, so that
    Dagster's plots of it go on.
    """
    return {"only_product": dg.MetadataValue.text(external_id)} if external_id else {}


def report_metadata(
    report: Any,
    *,
    first: Sequence[str] = (),
    moments: Sequence[str] = (),
    without: Collection[str] = (),
) -> Metadata:
    """Every field of a report dataclass that has a value, under its own name.

    Args:
        report: an instance of the dataclass.
        first: fields that stand above the others; a run's log shows a few lines of them only.
        moments: fields that hold a time as ISO 8601 text.
        without: fields that the asset shows in another way, or not at all.
    """
    rest = (field.name for field in dataclasses.fields(report))
    found: Metadata = {}
    for name in dict.fromkeys([*first, *rest]):
        value = getattr(report, name)
        if name == _PARTITION or name in without:
            continue
        if name in moments and value is not None:
            value = datetime.fromisoformat(value)
        if (shown := metadata_value(value)) is not None:
            found[name] = shown
    return found


def with_examples(
    counts: Mapping[str, int], examples: Mapping[str, str]
) -> dg.MetadataValue[Any] | None:
    """Counts by reason, with a few of what was counted beside each."""
    if not counts:
        return metadata_value(counts)
    rows: list[Cells] = [
        {REASON: reason, COUNT: count, EXAMPLES: examples.get(reason, "")}
        for reason, count in _largest(counts)
    ]
    return table(rows, {REASON: "string", COUNT: "int", EXAMPLES: "string"})


def table(rows: Sequence[Cells], columns: Mapping[str, str]) -> dg.MetadataValue[Any]:
    """Rows under their columns, which are given with the types of what they hold."""
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(row)) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()]),
    )


def how_to_approve(asset: str, store_id: str, waiting: Mapping[str, int]) -> Metadata:
    """What a person does about removals that the guard holds back; nothing if none are."""
    count = sum(waiting.values())
    if not count:
        return {}
    return {
        "approve": dg.MetadataValue.md(
            f"{count} removals wait for a person, and none of them went. `catalog removals "
            f"{store_id}` lists them; let them go with `catalog removals {store_id} --approve "
            f"{count} --reason TEXT`, or launch the partition with `approve_removals: {count}` and "
            f"an `approval_reason` in the run config of `{asset}`."
        )
    }


def metadata_value(value: Any) -> dg.MetadataValue[Any] | None:
    """One value as Dagster shows it best; None for what is absent. No counts at all are a 0."""
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float):
        return dg.MetadataValue.float(round(value, 3))
    if isinstance(value, datetime):
        return dg.MetadataValue.timestamp(value)
    if isinstance(value, Mapping):
        return _by_reason(value) if value else dg.MetadataValue.int(0)
    return dg.MetadataValue.text(str(value)) if value else None


def _by_reason(counts: Mapping[str, int]) -> dg.MetadataValue[Any]:
    """Counts with the largest first, adding up to all of them."""
    rows: list[Cells] = [{REASON: reason, COUNT: count} for reason, count in _largest(counts)]
    return table(rows, {REASON: "string", COUNT: "int"})


def _largest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if len(ordered) <= MOST_ROWS:
        return ordered
    shown, others = ordered[: MOST_ROWS - 1], ordered[MOST_ROWS - 1 :]
    return [*shown, (f"{len(others)} other reasons", sum(count for _, count in others))]
