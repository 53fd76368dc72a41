"""When the next request may be sent."""

from __future__ import annotations

from catalog_pipeline.products.pace import Pace
from catalog_pipeline_tests.products.wordpress import FakeTime


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
