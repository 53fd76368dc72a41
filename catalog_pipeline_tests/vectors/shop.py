"""A store in the database, as the stages before the last one leave it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import delete, update

from catalog_pipeline.catalog import bulk
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.catalog.lease import StoreLease, hold_store
from catalog_pipeline.catalog.schema import (
    embeddings,
    image_attempts,
    image_verdicts,
    product_images,
    products,
    variation_images,
)
from catalog_pipeline.embeddings.model import ModelSpec
from catalog_pipeline.embeddings.parts import write_part
from catalog_pipeline.files import DataFolder
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.index import (
    PointFilter,
    StoredPoint,
    VectorIndex,
    Vectors,
    collection_name,
)
from catalog_pipeline.vectors.sync import PointsReport, sync_points
from catalog_pipeline_tests.rows import product_row
from catalog_pipeline_tests.vectors.engines import DIMENSIONS

MODEL = ModelSpec(
    name="test",
    model_version="m-1",
    checkpoint_hash="c",
    preprocessing_hash="p",
    dimensions=DIMENSIONS,
    architecture="a",
    pretrained=None,
    tokenizer="t",
    checkpoint=Path("unused"),
)
MOMENT = datetime(2025, 3, 1, 12, 30, tzinfo=UTC)


def sha_of(picture: str) -> str:
    """The SHA-256 of a made-up picture."""
    return hashlib.sha256(picture.encode()).hexdigest()


def vector_of(sha: str) -> Vectors:
    """The vector that the made-up model gives a picture."""
    drawn = np.random.default_rng(int(sha[:8], 16)).standard_normal(DIMENSIONS)
    return np.asarray(drawn / np.linalg.norm(drawn), dtype=np.float32)


@dataclass
class Shop:
    """One store; each method is what a stage before would have recorded."""

    database: Database
    files: DataFolder
    index: VectorIndex
    store_id: str = "atelier"
    alias: str = "products"
    images: str = "main"
    parts: list[str] = field(default_factory=list)

    @property
    def collection(self) -> str:
        return collection_name(self.alias, MODEL.model_version)

    def id(self, number: int) -> UUID:
        return product_id(self.store_id, str(number))

    def url(self, number: int, version: int = 0) -> str:
        return f"https://{self.store_id}.example/{number}-{version}.jpg"

    def add(self, *numbers: int, picture: str | None = None, **columns: Any) -> None:
        """Products with a picture each that is fetched, accepted and embedded."""
        for number in numbers:
            self.product(number, **columns)
            sha = sha_of(picture or f"{self.store_id}-{number}")
            self.picture(number, sha)
            self.judge(sha)
        self.embed(*[sha_of(picture or f"{self.store_id}-{number}") for number in numbers])

    def product(self, number: int, *, url: str | None = "", **columns: Any) -> None:
        address = self.url(number) if url == "" else url
        row = product_row(
            self.store_id,
            str(number),
            **{
                "sku": f"sku-{number}",
                "price": Decimal("19.90"),
                "currency": "EUR",
                "image_url": address,
                "product_url": f"https://{self.store_id}.example/p/{number}",
                "categories": [{"name": "Dresses", "slug": "dresses"}],
                "created_at": MOMENT,
                "updated_at": MOMENT,
                "left_out_by": None,
                "removed_by": None,
                **columns,
            },
        )
        image = {
            "product_id": self.id(number),
            "position": 0,
            "store_id": self.store_id,
            "image_id": "1",
            "url": address,
            "modified_at": None,
        }
        with self.database.write() as connection:
            bulk.upsert(connection, products, [row])
            connection.execute(
                delete(product_images).where(product_images.c.product_id == self.id(number))
            )
            if address is not None:
                bulk.upsert(connection, product_images, [image])

    def lists(self, number: int, *pictures: str, first: int = 0) -> None:
        """All that a product lists: fetched, accepted and embedded; image ids 1, 2, …"""
        rows = [
            {
                "product_id": self.id(number),
                "position": position,
                "store_id": self.store_id,
                "image_id": str(position + 1),
                "url": f"https://{self.store_id}.example/{picture}.jpg",
                "modified_at": None,
            }
            for position, picture in enumerate(pictures, first)
        ]
        with self.database.write() as connection:
            connection.execute(
                delete(product_images).where(product_images.c.product_id == self.id(number))
            )
            bulk.upsert(connection, product_images, rows)
        for picture in pictures:
            self.picture(
                number, sha_of(picture), url=f"https://{self.store_id}.example/{picture}.jpg"
            )
            self.judge(sha_of(picture))
        self.embed(*map(sha_of, pictures))

    def varies(self, number: int, **pictures: str) -> None:
        """Pictures of a product's variations, by the variation's id, each of image id 9…"""
        rows = [
            {
                "product_id": self.id(number),
                "variation_id": variation,
                "store_id": self.store_id,
                "image_id": f"9{variation}",
                "url": f"https://{self.store_id}.example/{picture}.jpg",
                "modified_at": None,
            }
            for variation, picture in pictures.items()
        ]
        with self.database.write() as connection:
            bulk.upsert(connection, variation_images, rows)
        for picture in pictures.values():
            self.picture(
                number, sha_of(picture), url=f"https://{self.store_id}.example/{picture}.jpg"
            )
            self.judge(sha_of(picture))
        self.embed(*map(sha_of, pictures.values()))

    def change(self, number: int, **columns: Any) -> None:
        with self.database.write() as connection:
            connection.execute(
                update(products).where(products.c.product_id == self.id(number)).values(**columns)
            )

    def picture(
        self, number: int, sha: str | None, *, outcome: str = "fetched", url: str = ""
    ) -> None:
        row = {
            "store_id": self.store_id,
            "url": url or self.url(number),
            "outcome": outcome,
            "image_sha256": sha,
            "failures": 0,
            "attempted_at": MOMENT,
        }
        with self.database.write() as connection:
            bulk.upsert(connection, image_attempts, [row])

    def judge(self, sha: str, *, accepted: bool = True) -> None:
        row = {
            "store_id": self.store_id,
            "image_sha256": sha,
            "gate_version": "g",
            "accepted": accepted,
            "issues": [],
            "judged_at": MOMENT,
        }
        with self.database.write() as connection:
            bulk.upsert(connection, image_verdicts, [row])

    def embed(self, *shas: str) -> None:
        distinct = sorted(set(shas))
        if not distinct:
            return
        part = write_part(
            self.files,
            MODEL.model_version,
            distinct,
            np.stack([vector_of(sha) for sha in distinct]),
        )
        self.parts.append(part)
        rows = [
            {
                "image_sha256": sha,
                "model_version": MODEL.model_version,
                "part": part,
                "row": row,
            }
            for row, sha in enumerate(distinct)
        ]
        with self.database.write() as connection:
            bulk.insert_missing(connection, embeddings, rows)

    @contextmanager
    def lease(self) -> Iterator[StoreLease]:
        with hold_store(self.database, self.store_id, "test") as lease:
            yield lease

    def sync(self, **overrides: Any) -> PointsReport:
        with self.lease() as lease:
            return sync_points(
                lease,
                self.files,
                overrides.pop("index", self.index),
                store_config(self.store_id, images=overrides.pop("images", self.images)),
                overrides.pop("model", MODEL),
                alias=self.alias,
                deployment_id=overrides.pop("deployment_id", self.database.deployment_id()),
                **overrides,
            )

    def points(self) -> dict[UUID, StoredPoint]:
        """What the collection holds of the store."""
        with self.index.session(self.collection) as opened:
            found: dict[UUID, StoredPoint] = {}
            for page in opened.ids(PointFilter(stores=(self.store_id,))):
                for point in opened.retrieve(page, payload=True, vector=True):
                    found[point.point_id] = point
            return found


def store_config(store_id: str, **keys: Any) -> StoreConfig:
    return StoreConfig.model_validate(
        {
            **keys,
            "id": store_id,
            "url": "https://shop.example.com",
            "consumer_key": {"env": "SHOP_KEY"},
            "consumer_secret": {"env": "SHOP_SECRET"},
        }
    )
