"""A picture over the store's `max_bytes` is a rejected one, for as long as it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import time_machine
from pytest_httpserver import HTTPServer
from qdrant_client import QdrantClient
from sqlalchemy import update

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import image_attempts
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.quality import Issue
from catalog_pipeline.vectors.qdrant_server import ServerIndex
from catalog_pipeline_tests.images.drawing import garment_bytes
from catalog_pipeline_tests.images.test_sync import Shop as PictureShop
from catalog_pipeline_tests.vectors.shop import Shop, store_config

WEEK = timedelta(days=7)
LIMIT = 200_000


def test_its_point_goes_and_a_smaller_file_brings_it_back(
    any_database: Database, tmp_path: Path, httpserver: HTTPServer
) -> None:
    client = QdrantClient(":memory:")
    shop = Shop(any_database, DataFolder(str(tmp_path / "data")), ServerIndex(client))
    site = PictureShop(httpserver, shop.database, shop.files)
    config = store_config(shop.store_id, quality={"max_bytes": LIMIT}).model_copy(
        update={"url": httpserver.url_for("").rstrip("/"), "allow_private_addresses": True}
    )
    shop.product(1, url=site.url("/1.jpg"))

    def synced(picture: bytes, later: timedelta) -> tuple[int, dict[str, int], dict[str, int]]:
        """Pictures asked for, rejected ones, and points taken out."""
        site.served = {"/1.jpg": picture}
        with time_machine.travel(datetime.now(UTC) + later, tick=True):
            report = site.sync(config)
            shop.embed(*site.accepted())
            return len(site.requests), report.rejected, shop.sync().deleted

    assert synced(garment_bytes(1), timedelta()) == (1, {}, {})
    assert set(shop.points()) == {shop.id(1)}
    too_large = garment_bytes(1) + b"\x00" * LIMIT
    with any_database.write() as connection:
        connection.execute(update(image_attempts).values(image_id="an earlier one"))
    rejected = {Issue.TOO_MANY_BYTES.value: 1}
    assert synced(too_large, timedelta(hours=1)) == (1, rejected, {"image_rejected": 1})
    assert shop.points() == {}
    assert synced(too_large, WEEK) == (0, rejected, {})
    assert synced(too_large, WEEK + timedelta(hours=2)) == (1, rejected, {})
    assert synced(garment_bytes(1), 2 * WEEK + timedelta(hours=3)) == (1, {}, {})
    assert set(shop.points()) == {shop.id(1)}
    client.close()
