"""When the next request may be sent, and what a store's own words for that mean."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from catalog_pipeline.products.pace import LONGEST_PAUSE, Pace, http_date, retry_after
from catalog_pipeline_tests.products.wordpress import FakeTime

NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)


def test_requests_are_spaced_and_nobody_waits_without_need() -> None:
    fake = FakeTime()
    pace = Pace(4, sleep=fake.sleep, clock=fake.clock)

    pace.wait()
    assert fake.slept == []
    pace.wait()
    pace.wait()
    fake.now += 10
    pace.wait()

    assert fake.slept == [0.25, 0.25]


def test_another_sleep_waits_in_place_of_the_usual_one() -> None:
    fake, slept = FakeTime(), list[float]()
    pace = Pace(2, sleep=fake.sleep, clock=fake.clock)

    pace.wait(slept.append)
    pace.wait(slept.append)

    assert (slept, fake.slept) == ([0.5], [])


def test_a_pause_holds_for_everybody_and_is_never_shortened() -> None:
    fake = FakeTime()
    pace = Pace(1_000, sleep=fake.sleep, clock=fake.clock)

    pace.pause(30)
    pace.pause(5)
    pace.wait()

    assert fake.slept == [30]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0.5", 0.5),
        ("1", 1.0),
        (" 7 ", 7.0),
        ("119", 119.0),
        ("999999999", LONGEST_PAUSE),
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
