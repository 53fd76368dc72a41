"""The two deployments that all tests of this folder share: starting them is half of the work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog_pipeline_tests.crash.harness import World, world

WANTED = "CATALOG_TESTS_CRASH"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip this folder unless it is asked for.

    Its syncs are forks of a process that has loaded everything, which now and then deadlock in
    another library's threads; that must not fail whoever runs the whole suite. Real processes are
    killed in `cli/test_demo.py`.
    """
    if os.environ.get(WANTED):
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="run by itself: make crash"))


@pytest.fixture(scope="package")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("crash"), seed=0) as made:
        yield made


@pytest.fixture
def made(shared_world: World, request: pytest.FixtureRequest) -> World:
    """The world with a test's own random numbers and a disturbed deployment that is in step."""
    # Numbers that another test used before would make edits that change nothing.
    shared_world.random.seed(request.node.name)
    if not shared_world.in_step:
        shared_world.start_anew()
        shared_world.catch_up()
    return shared_world
