"""Reports as Dagster metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_pipeline.defs.metadata import MOST_ROWS, metadata_value, report_metadata, with_examples

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Report:
    store_id: str = "atelier"
    walk_id: str = "w1"
    pages: int = 0
    complete: bool = False
    reason: str | None = None
    clock: str | None = NOON.isoformat()
    seconds: float = 1.23456
    rejected: dict[str, int] = field(default_factory=dict)


def rows(value: dg.MetadataValue[Any] | None) -> list[dict[str, object]]:
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def test_every_value_is_shown_as_what_it_is() -> None:
    assert report_metadata(Report(rejected={"blurry": 2}), moments=["clock"]) == {
        "walk_id": dg.MetadataValue.text("w1"),
        "pages": dg.MetadataValue.int(0),
        "complete": dg.MetadataValue.bool(False),
        "clock": dg.MetadataValue.timestamp(NOON),
        "seconds": dg.MetadataValue.float(1.235),
        "rejected": dg.MetadataValue.table(
            [dg.TableRecord({"reason": "blurry", "count": 2})],
            dg.TableSchema([dg.TableColumn("reason", "string"), dg.TableColumn("count", "int")]),
        ),
    }


def test_what_matters_stands_first_and_the_rest_keeps_its_order() -> None:
    found = report_metadata(Report(), first=["seconds", "reason", "complete"])

    assert list(found) == ["seconds", "complete", "walk_id", "pages", "clock", "rejected"]


def test_an_absent_moment_is_no_error() -> None:
    assert "clock" not in report_metadata(Report(clock=None), moments=["clock"])


def test_a_field_that_the_report_does_not_have_is_an_error() -> None:
    with pytest.raises(AttributeError):
        report_metadata(Report(), first=["acepted"])


@given(st.dictionaries(st.text(min_size=1), st.integers(0, 1000), min_size=1, max_size=60))
def test_counts_come_largest_first_and_add_up_however_many_there_are(
    counts: dict[str, int],
) -> None:
    shown = rows(metadata_value(counts))

    assert len(shown) == min(len(counts), MOST_ROWS)
    assert sum(int(str(row["count"])) for row in shown) == sum(counts.values())
    named = [int(str(row["count"])) for row in shown[: MOST_ROWS - 1]]
    assert named == sorted(counts.values(), reverse=True)[: len(named)]
    if len(counts) > MOST_ROWS:
        assert shown[-1]["reason"] == f"{len(counts) - MOST_ROWS + 1} other reasons"


def test_counts_stand_beside_their_examples() -> None:
    shown = with_examples(
        {"id: is missing": 1, "name: is not text": 2}, {"name: is not text": "1441, 9"}
    )

    assert rows(shown) == [
        {"reason": "name: is not text", "count": 2, "examples": "1441, 9"},
        {"reason": "id: is missing", "count": 1, "examples": ""},
    ]


def test_nothing_counted_is_a_zero_that_can_be_seen() -> None:
    assert metadata_value({}) == with_examples({}, {}) == dg.MetadataValue.int(0)


@pytest.mark.parametrize("absent", [None, ""])
def test_what_is_absent_is_left_out(absent: object) -> None:
    assert metadata_value(absent) is None
