"""Syncs killed with SIGKILL, and what the next one makes of what they left.

`make crash` kills many more, in both stores and after edits; its longer tests are left out of the
ordinary suite.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog_pipeline_tests.crash.faults import Fault, Site
from catalog_pipeline_tests.crash.harness import World, world

pytestmark = pytest.mark.end_to_end

STORE = "atelier"


@pytest.mark.timeout(600)
def test_a_first_load_killed_again_and_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    kills = 3
    with world(tmp_path, seed=7, stores=[STORE]) as made:
        outcomes = [made.kill(STORE) for _ in range(kills)]
        made.sync_well(made.disturbed, STORE)
        assert not made.problems(), outcomes
    assert sum(outcome.startswith("killed") for outcome in outcomes) >= kills - 1, outcomes


@pytest.mark.timeout(600)
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
