"""A stage's report as Dagster metadata: numbers as numbers, counts by reason as tables."""

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import dagster as dg

# Beyond this a table in the event log costs more than it tells.
MOST_ROWS = 20


def report_metadata(report: Any) -> dict[str, dg.MetadataValue[Any]]:
    """Every field of a report dataclass that has a value, under its own name."""
    found: dict[str, dg.MetadataValue[Any]] = {}
    for field in dataclasses.fields(report):
        value = metadata_value(getattr(report, field.name))
        if value is not None:
            found[field.name] = value
    return found


def metadata_value(value: Any) -> dg.MetadataValue[Any] | None:  # noqa: PLR0911
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
    if isinstance(value, Mapping):
        return _pairs(value)
    if isinstance(value, str):
        return dg.MetadataValue.text(value)
    if isinstance(value, Iterable):
        return _records(list(value))
    return dg.MetadataValue.text(str(value))


def _pairs(pairs: Mapping[str, int | str]) -> dg.MetadataValue[Any]:
    """Counts with the largest first; other values in their own order."""
    items = list(pairs.items())
    counts = all(isinstance(value, int) for _, value in items)
    if counts:
        items.sort(key=lambda item: (-int(item[1]), item[0]))
    name = "count" if counts else "value"
    return dg.MetadataValue.table(
        records=[dg.TableRecord({"what": what, name: value}) for what, value in items[:MOST_ROWS]],
        schema=dg.TableSchema(
            columns=[
                dg.TableColumn("what", "string"),
                dg.TableColumn(name, "int" if counts else "string"),
            ]
        ),
    )


def _records(rows: list[Any]) -> dg.MetadataValue[Any]:
    as_dicts = [row if isinstance(row, Mapping) else dataclasses.asdict(row) for row in rows]
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord({name: _cell(value) for name, value in row.items()})
            for row in as_dicts[:MOST_ROWS]
        ],
        schema=dg.TableSchema(columns=[dg.TableColumn(name) for name in as_dicts[0]]),
    )


def _cell(value: Any) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)
