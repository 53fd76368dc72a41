"""Syncs killed with SIGKILL, and what the next one makes of what they left."""

from __future__ import annotations

import pytest

from catalog_pipeline_tests.crash.faults import Fault, Site
from catalog_pipeline_tests.crash.harness import World

ROUNDS = 4
STORE = "atelier"


@pytest.mark.timeout(240)
def test_whatever_moment_a_sync_is_killed_at_the_next_one_makes_it_good(made: World) -> None:
    outcomes = [made.kill_once(STORE) for _ in range(ROUNDS)]
    assert sum(outcome.kills for outcome in outcomes) >= ROUNDS - 1
    for outcome in outcomes:
        assert not outcome.problems, str(outcome)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("site", ["upsert", "refresh", "delete"])
def test_an_edit_taken_back_after_its_points_were_written_leaves_none_of_them(
    made: World, site: Site
) -> None:
    assistant = made.assistant(STORE)
    edit = {"upsert": assistant.redraw, "refresh": assistant.retitle, "delete": assistant.withdraw}
    assistant.begin()
    edit[site](made.loaded_products(STORE)[4])
    killed = made.sync(made.disturbed, STORE, fault=Fault(site=site, number=1, when="after"))
    assert killed.killed
    assistant.take_back()
    made.catch_up(STORE)
    assert not made.problems()
