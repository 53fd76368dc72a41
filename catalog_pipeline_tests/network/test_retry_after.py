"""What Retry-After and Date say, in every shape that strangers give them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from catalog_pipeline.network.retry_after import LONGEST_PAUSE, http_date, retry_after

NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0.5", 0.5),
        ("1", 1.0),
        (" 7 ", 7.0),
        ("119", 119.0),
        ("120", LONGEST_PAUSE),
        ("999999999", LONGEST_PAUSE),
        ("9" * 5_000, None),
        ("²", None),
        ("٣", None),
        ("0", None),
        ("-1", None),
        ("1e3", None),
        ("nan", None),
        ("Fri, 20 Nov 2026 06:00:40 GMT", 40.0),
        ("Fri, 20 Nov 2026 06:00:40 -0000", 40.0),
        ("Fri, 20 Nov 2026 07:00:40 +0100", 40.0),
        ("Fri, 20 Nov 2026 08:00:00 GMT", LONGEST_PAUSE),
        ("Fri, 20 Nov 2026 06:00:00 GMT", None),
        ("Fri, 20 Nov 2026 05:00:00 GMT", None),
        ("Fri, 20 Nov 99999 05:00:00 GMT", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
@pytest.mark.usefixtures("far_from_greenwich")
def test_retry_after_in_all_its_shapes(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


@pytest.mark.usefixtures("far_from_greenwich")
@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_a_date_is_in_utc_wherever_this_machine_is(zone: str) -> None:
    found = http_date(f"Fri, 20 Nov 2026 06:00:00 {zone}")

    assert found == NOW
    assert found is not None
    assert found.tzinfo is UTC
