"""The two deployments that the long tests of this folder share, and the wish to run them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from catalog_pipeline_tests.crash.harness import World, world

WANTED = "CATALOG_TESTS_CRASH"


@pytest.fixture(scope="package")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if WANTED not in os.environ:
        pytest.skip("takes minutes: make crash")
    with world(tmp_path_factory.mktemp("crash"), seed=0) as made:
        yield made


@pytest.fixture
def made(shared_world: World, request: pytest.FixtureRequest) -> World:
    """The world with a test's own random numbers and a disturbed deployment that is in step."""
    # Numbers that another test used before would make edits that change nothing.
    shared_world.random.seed(request.node.name)
    if not shared_world.in_step:
        shared_world.start_in_step()
    return shared_world
