"""The two deployments that all tests of this folder share: starting them is half of the work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catalog_pipeline_tests.crash.harness import World, world


@pytest.fixture(scope="package")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("crash"), seed=0) as made:
        yield made


@pytest.fixture
def made(shared_world: World) -> World:
    """The world with fresh random numbers and a disturbed deployment that is in step."""
    shared_world.random.seed(5)
    if not shared_world.in_step:
        shared_world.start_anew()
        shared_world.catch_up()
    return shared_world
