"""The pictures on the materialisations of a real sync."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import dagster as dg
import pytest
from PIL import Image
from sqlalchemy import update

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import products
from catalog_pipeline.definitions import defs
from catalog_pipeline_tests.deployment import Deployment

STORE = "atelier"
SHOWN = {
    "product_images": ["contact_sheet", "histograms"],
    "image_embeddings": ["map"],
    "qdrant_points": ["neighbours"],
}
NAMES = [name for names in SHOWN.values() for name in names]
# Of all pictures of a run together.
MOST_BYTES = 85_000
QUIET = {"loggers": {"console": {"config": {"log_level": "WARNING"}}}}

Shown = dict[str, dg.MetadataValue[Any]]


def sync(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def("sync_store").execute_in_process(
        instance=instance, partition_key=STORE, run_config=QUIET
    )


def shown(result: dg.ExecuteInProcessResult) -> Shown:
    found: Shown = {}
    for stage, names in SHOWN.items():
        (event,) = result.asset_materializations_for_node(stage)
        found |= {name: event.metadata[name] for name in names}
    return found


def picture(value: dg.MetadataValue[Any]) -> bytes:
    assert isinstance(value, dg.MarkdownMetadataValue)
    assert value.md_str is not None
    matched = re.fullmatch(r"!\[[^]]+\]\(data:image/webp;base64,([A-Za-z0-9+/=]+)\)", value.md_str)
    assert matched is not None
    return base64.b64decode(matched[1])


@pytest.fixture(scope="module")
def first(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return sync(instance)


def test_every_picture_is_a_small_webp(first: dg.ExecuteInProcessResult) -> None:
    contents = {name: picture(value) for name, value in shown(first).items()}

    assert sorted(contents) == sorted(NAMES)
    assert sum(map(len, contents.values())) <= MOST_BYTES
    for content in contents.values():
        with Image.open(io.BytesIO(content)) as opened:
            assert opened.format == "WEBP"
            assert len(opened.convert("RGB").getcolors(1_000_000) or []) > 10


def test_a_picture_that_shows_nothing_new_is_not_stored_again(
    instance: dg.DagsterInstance, first: dg.ExecuteInProcessResult
) -> None:
    before = sync(instance)
    drawn_in = {
        name: value
        if isinstance(value, dg.DagsterRunMetadataValue)
        else dg.MetadataValue.dagster_run(before.run_id)
        for name, value in shown(before).items()
    }

    # However often nothing changes, the link leads to the run that drew the picture.
    for _ in range(2):
        assert shown(sync(instance)) == drawn_in


def test_a_changed_name_draws_again_what_shows_names_and_nothing_else(
    instance: dg.DagsterInstance,
    first: dg.ExecuteInProcessResult,
    deployment: Deployment,
    catalogue: Database,
) -> None:
    sync(instance)
    with catalogue.write() as connection:
        connection.execute(
            update(products).where(products.c.store_id == STORE).values(title="Renamed")
        )

    again = shown(sync(instance))

    drawn = [name for name, value in again.items() if isinstance(value, dg.MarkdownMetadataValue)]
    assert drawn == ["contact_sheet", "neighbours"]


def test_neighbours_are_not_looked_for_while_a_store_loads_nothing(
    instance: dg.DagsterInstance,
    first: dg.ExecuteInProcessResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sync(instance)
    looked: list[object] = []
    monkeypatch.setattr("catalog_pipeline.defs.vectors.neighbour_sheet", looked.append)

    after = shown(sync(instance))

    assert isinstance(after["neighbours"], dg.DagsterRunMetadataValue)
    assert not looked


def test_a_picture_that_cannot_be_drawn_costs_no_run(
    instance: dg.DagsterInstance,
    first: dg.ExecuteInProcessResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr("catalog_pipeline.defs.images.contact_sheet", broken)
    result = sync(instance)

    assert result.success
    (event,) = result.asset_materializations_for_node("product_images")
    assert "contact_sheet" not in event.metadata
    assert "histograms" in event.metadata
