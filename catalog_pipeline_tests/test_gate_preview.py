"""A preview says exactly what the next sync would do, and does none of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import digest, product_id
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.catalog.overrides import Decision, judge_image
from catalog_pipeline.catalog.schema import (
    audit,
    gates,
    image_attempts,
    image_verdicts,
    images,
    product_images,
    products,
)
from catalog_pipeline.files import DataFolder
from catalog_pipeline.gate_preview import (
    StorePreview,
    ThresholdError,
    changed_thresholds,
    preview_gate,
)
from catalog_pipeline.images.decode import Decoder
from catalog_pipeline.images.download import too_many_bytes
from catalog_pipeline.images.measure import Measurements
from catalog_pipeline.images.quality import Issue
from catalog_pipeline.images.records import image_row
from catalog_pipeline.images.sync import sync_images
from catalog_pipeline.stores import QualityThresholds, StoreConfig
from catalog_pipeline_tests.rows import product_row

NOW = datetime(2026, 11, 20, tzinfo=UTC)
STORE = StoreConfig.model_validate(
    {
        "id": "atelier",
        "url": "https://shop.example.com",
        "consumer_key": {"env": "KEY"},
        "consumer_secret": {"env": "SECRET"},
    }
)
GOOD: dict[str, Any] = {
    "bytes": 50_000,
    "format": "jpeg",
    "width": 400,
    "height": 400,
    "mode": "RGB",
    "animated": False,
    "brightness": 128.0,
    "contrast": 40.0,
    "shadows": 10.0,
    "highlights": 240.0,
    "detail": 0.5,
    "sharpness": 0.5,
}


@dataclass
class Wall:
    """A store's measured pictures, hung up without a download."""

    database: Database
    files: DataFolder
    shas: list[str] = field(default_factory=list)

    def hang(self, *pictures: dict[str, Any]) -> list[str]:
        """A product for each picture, measured as given and good in all else; their hashes."""
        hung = []
        for values in pictures:
            sha = digest(len(self.shas)) * 2
            self.shas.append(sha)
            hung.append(sha)
            with self.database.write() as connection:
                for table, row in _rows(sha, len(self.shas)).items():
                    upsert(connection, table, [row])
                measured = Measurements(**(GOOD | values))
                upsert(connection, images, [image_row(sha, measured)])
        return hung

    def sync(self, thresholds: QualityThresholds | None = None) -> None:
        """What the images stage does by these thresholds; nothing is owed a download."""
        store = STORE.model_copy(update={"quality": thresholds or STORE.quality})
        with hold_store(self.database, STORE.id, "test") as lease:
            report = sync_images(lease, self.files, store, decoder=Decoder(workers=1))
        assert report.requests == 0

    def verdicts(self) -> dict[str, tuple[bool, str]]:
        """Whether each picture is accepted, and the reason that counts."""
        with self.database.read() as connection:
            rows = connection.execute(
                select(
                    image_verdicts.c.image_sha256,
                    image_verdicts.c.accepted,
                    image_verdicts.c.issues,
                )
            )
            return {sha: (good, issues[0]["issue"] if issues else "") for sha, good, issues in rows}

    def preview(self, **changes: Any) -> StorePreview:
        asked = {name: str(value) for name, value in changes.items()}
        return preview_gate(self.database, STORE, changed_thresholds(STORE.quality, asked))


def _rows(sha: str, number: int) -> dict[Any, dict[str, Any]]:
    key, url = product_id(STORE.id, str(number)), f"https://shop.example.com/{number}.jpg"
    of_image = {"store_id": STORE.id, "url": url, "image_id": str(number), "modified_at": None}
    return {
        products: product_row(STORE.id, str(number)),
        product_images: {**of_image, "product_id": key, "position": 0},
        image_attempts: {
            **of_image,
            "outcome": "fetched",
            "image_sha256": sha,
            "failures": 0,
            "attempted_at": NOW,
        },
    }


@pytest.fixture
def wall(any_database: Database, tmp_path: Path) -> Wall:
    return Wall(any_database, DataFolder(str(tmp_path / "data")))


def test_changes_are_counted_by_direction_and_reason(wall: Wall) -> None:
    small, blurry, _ = wall.hang({"width": 250}, {"sharpness": 0.05}, {})
    wall.sync()
    found = wall.preview(min_side=300, min_sharpness=0.01)
    assert found.to_rejected == {Issue.TOO_SMALL: 1}
    assert found.to_accepted == {Issue.BLURRY: 1}
    assert (found.pictures, found.accepted_now, found.accepted_then) == (3, 2, 2)
    assert found.thresholds == {"min_side": (200, 300), "min_sharpness": (0.12, 0.01)}
    by_picture = {one.image_sha256: one for one in found.changes}
    assert by_picture.keys() == {small, blurry}
    assert (by_picture[small].measured, by_picture[small].threshold) == (250, 300)
    assert (by_picture[blurry].measured, by_picture[blurry].threshold) == (0.05, 0.12)


def test_another_reason_for_the_same_verdict_is_no_change(wall: Wall) -> None:
    wall.hang({"width": 100, "sharpness": 0.01})
    wall.sync()
    assert wall.preview(min_side=50).changes == []


def test_nothing_is_written(wall: Wall) -> None:
    wall.hang({}, {"width": 250})
    wall.sync()

    def state() -> list[Any]:
        with wall.database.read() as connection:
            sizes = [
                connection.scalar(select(func.count()).select_from(table))
                for table in (audit, gates, image_verdicts, image_attempts)
            ]
        return [*sizes, wall.verdicts()]

    before = state()
    assert wall.preview(min_side=300).changes
    assert state() == before


def test_a_persons_word_stands_whatever_the_thresholds(wall: Wall) -> None:
    kept, _ = wall.hang({"width": 250}, {"width": 250})
    wall.sync()
    judge_image(wall.database, kept, Decision("ann", "it is the only one"), accepted=True)
    found = wall.preview(min_side=300)
    assert (len(found.changes), found.by_a_person) == (1, 1)
    assert found.accepted_then == 1


def test_what_cannot_be_known_is_told_apart(wall: Wall) -> None:
    huge = {"problem": "too many pixels", "pixel_limit": 50_000_000, "sharpness": None}
    wall.hang({**huge, "width": 9_000, "height": 9_000}, {})
    wall.sync()
    (unjudged,) = wall.hang({})
    (sha,) = wall.hang({})
    with wall.database.write() as connection:
        row = _rows(sha, len(wall.shas))[image_attempts]
        refused = {"outcome": "refused", "reason": too_many_bytes(20_000_000), "image_sha256": None}
        upsert(connection, image_attempts, [row | refused])
    assert unjudged not in wall.verdicts()
    found = wall.preview(max_pixels=100_000_000, max_bytes=30_000_000)
    assert (found.changes, found.unmeasured, found.unjudged, found.to_fetch) == ([], 1, 1, 1)


_THRESHOLDS = st.builds(
    QualityThresholds,
    min_side=st.integers(1, 600),
    max_aspect=st.floats(1, 5),
    min_sharpness=st.floats(0, 1),
    min_brightness=st.floats(0, 255),
    max_bytes=st.integers(1_000, 100_000),
)


def test_a_sync_changes_just_what_its_preview_told(database: Database, tmp_path: Path) -> None:
    wall = Wall(database, DataFolder(str(tmp_path / "data")))
    wall.hang(
        *(
            {
                "bytes": 5_000 + 3_000 * number,
                "width": 100 + 15 * number,
                "height": 600 - 10 * number,
                "sharpness": number / 30,
                "highlights": 255.0 - 8 * number,
            }
            for number in range(30)
        )
    )
    wall.sync()

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_THRESHOLDS)
    def follows(thresholds: QualityThresholds) -> None:
        before = wall.verdicts()
        told = preview_gate(database, STORE, thresholds)
        wall.sync(thresholds)
        after = wall.verdicts()
        changed = {sha for sha in after if after[sha][0] != before[sha][0]}
        assert {one.image_sha256 for one in told.changes} == changed
        assert told.accepted_now == sum(good for good, _ in before.values())
        assert told.accepted_then == sum(good for good, _ in after.values())
        for one in told.changes:
            good, _ = after[one.image_sha256]
            assert (one.verdict == "accepted") is good
            assert one.issue == (before if good else after)[one.image_sha256][1]
        assert preview_gate(database, STORE, thresholds).changes == []

    follows()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"min_sise": "300"}, "did you mean min_side"),
        ({"colour": "1"}, "the known ones are"),
        ({"min_side": "many"}, "min_side must be a whole number"),
        ({"min_side": "0"}, "min_side must be at least 1"),
        ({"max_aspect": "nan"}, "max_aspect must be a finite number"),
        ({"min_side": "-1", "max_aspect": "0"}, "max_aspect must be at least 1"),
    ],
)
def test_a_wrong_threshold_is_named(changes: dict[str, str], said: str) -> None:
    with pytest.raises(ThresholdError, match=said):
        changed_thresholds(STORE.quality, changes)
