"""Which of a store's pictures are shown, under which words, and when they are drawn again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import update

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.overrides import Decision, judge_image
from catalog_pipeline.catalog.schema import image_attempts, image_verdicts, images
from catalog_pipeline.drawing.plots import Histogram
from catalog_pipeline.drawing.sheet import Section
from catalog_pipeline.exhibits.contact_sheet import (
    MOST_ACCEPTED,
    MOST_OF_A_REASON,
    MOST_REJECTED,
    contact_sheet,
    measurement_histograms,
)
from catalog_pipeline.exhibits.exhibit import Exhibit
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.download import too_many_bytes
from catalog_pipeline.images.measure import Measurements
from catalog_pipeline.images.quality import Finding, Issue
from catalog_pipeline.images.records import image_row
from catalog_pipeline.vectors.index import VectorIndex
from catalog_pipeline_tests.exhibits.conftest import Sections
from catalog_pipeline_tests.vectors.engines import opened_engine
from catalog_pipeline_tests.vectors.shop import Shop, sha_of, store_config

STORE = store_config("atelier")
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
BLURRY = Finding(issue=Issue.BLURRY, measured=0.04, threshold=0.12)
SMALL = Finding(issue=Issue.TOO_SMALL, measured=64, threshold=200)
PLACEHOLDER = Finding(issue=Issue.PLACEHOLDER, measured=None, threshold=None)
CORRUPT = Finding(issue=Issue.CORRUPT, measured="OSError: image file is truncated", threshold=None)
HUGE = Finding(issue=Issue.TOO_MANY_PIXELS, measured=60_000_000, threshold=50_000_000)
WORD = Decision("ann", "seen it")


@dataclass
class Wall:
    """A store's products, each with a judged picture; those hung later are the newer ones."""

    shop: Shop
    hung: list[str] = field(default_factory=list)

    def hang(self, *issues: Finding, picture: str | None = None, **measured: Any) -> str:
        """One more product whose picture has these issues; returns the picture's hash."""
        number = len(self.hung)
        sha = sha_of(picture or f"picture {number}")
        self.shop.product(number)
        self.shop.picture(number, sha)
        values = {"bytes": 1_000 + number, "width": 300, "height": 400, "sharpness": 0.5}
        with self.shop.database.write() as connection:
            upsert(connection, images, [image_row(sha, Measurements(**(values | measured)))])
        self.judge(sha, issues, NOON + timedelta(minutes=number))
        self.hung.append(sha)
        return sha

    def judge(self, sha: str, issues: Sequence[Finding], at: datetime) -> None:
        row = {
            "store_id": STORE.id,
            "image_sha256": sha,
            "gate_version": "g",
            "accepted": not issues,
            "issues": list(issues),
            "judged_at": at,
        }
        with self.shop.database.write() as connection:
            upsert(connection, image_verdicts, [row])

    def sheet(self) -> Exhibit | None:
        return contact_sheet(self.shop.database, self.shop.files, STORE)

    def digest(self) -> str:
        found = self.sheet()
        assert found is not None
        return found.digest


@pytest.fixture
def index(tmp_path: Path) -> Iterator[VectorIndex]:
    with opened_engine("local client", tmp_path) as found:
        yield found


@pytest.fixture
def wall(database: Database, index: VectorIndex, tmp_path: Path) -> Wall:
    return Wall(Shop(database, DataFolder(str(tmp_path / "data")), index))


def lines(section: Section) -> list[tuple[str, ...]]:
    return [tile.lines for tile in section.tiles]


def test_nothing_is_shown_before_a_picture_is_judged(wall: Wall) -> None:
    assert wall.sheet() is None


def test_a_rejected_picture_says_why_and_by_how_much(wall: Wall, sections_of: Sections) -> None:
    wall.hang(BLURRY, SMALL)
    wall.hang(PLACEHOLDER)
    wall.hang(SMALL)

    _, rejected = sections_of(wall.sheet())

    assert lines(rejected) == [
        ("blurry", "sharpness 0.04, needs 0.12"),
        ("the store's placeholder",),
        ("too small", "shorter side 64 px, needs 200"),
    ]
    assert {tile.tone for tile in rejected.tiles} == {"bad"}


def test_an_empty_frame_says_why_it_is_empty(wall: Wall, sections_of: Sections) -> None:
    wall.hang(CORRUPT, problem="corrupt")
    wall.hang(HUGE, problem="too many pixels")
    wall.hang(BLURRY)

    _, rejected = sections_of(wall.sheet())

    found = {tile.lines[0]: (tile.picture, tile.instead) for tile in rejected.tiles}
    assert found == {
        "corrupt or truncated": (None, "cannot be decoded"),
        "too many pixels": (None, "too large to decode"),
        "blurry": (None, "no picture at hand"),
    }


def test_a_picture_refused_for_its_bytes_is_shown_among_the_rejected(
    any_database: Database, wall: Wall, sections_of: Sections
) -> None:
    wall.shop.database = any_database
    wall.shop.product(100)
    too_large = {
        "store_id": STORE.id,
        "url": wall.shop.url(100),
        "outcome": "refused",
        "reason": too_many_bytes(20_000_000),
        "failures": 0,
        "attempted_at": NOON,
    }
    with wall.shop.database.write() as connection:
        upsert(connection, image_attempts, [too_large])

    accepted, rejected = sections_of(wall.sheet())
    assert (accepted.title, accepted.tiles) == ("Accepted: 0 different pictures", [])
    assert rejected.title == "Rejected: 1 picture"
    (tile,) = rejected.tiles
    assert (tile.picture, tile.instead, tile.tone) == (None, "not stored", "bad")
    assert tile.lines == ("too many bytes", "over 20 MB")

    wall.hang(BLURRY)
    wall.hang()
    sheet = wall.sheet()
    assert sheet is not None
    assert sheet.title == "Accepted and rejected ones of 3 different pictures"
    _, rejected = sections_of(sheet)
    assert [said[0] for said in lines(rejected)] == ["blurry", "too many bytes"]

    wall.shop.change(100, removed_by="absent")
    _, rejected = sections_of(wall.sheet())
    assert [said[0] for said in lines(rejected)] == ["blurry"]


def test_the_newest_accepted_pictures_are_shown_by_their_products_names(
    wall: Wall, sections_of: Sections
) -> None:
    for _ in range(MOST_ACCEPTED + 2):
        wall.hang()

    accepted, rejected = sections_of(wall.sheet())

    newest = range(MOST_ACCEPTED + 1, 1, -1)
    assert lines(accepted) == [(f"Dress {number}",) for number in newest]
    assert accepted.title == "Accepted: 9 different pictures, the newest 7"
    assert (rejected.title, rejected.tiles) == ("Rejected: 0 different pictures", [])


def test_a_picture_at_several_addresses_is_one(wall: Wall, sections_of: Sections) -> None:
    for _ in range(3):
        wall.hang(picture="the same")

    accepted, _ = sections_of(wall.sheet())

    assert accepted.title == "Accepted: 1 picture"
    assert lines(accepted) == [("Dress 0",)]


def test_every_reason_is_shown_however_rare_and_none_too_often(
    wall: Wall, sections_of: Sections
) -> None:
    wall.hang(PLACEHOLDER)
    wall.hang(SMALL)
    for _ in range(MOST_REJECTED):
        wall.hang(BLURRY)

    _, rejected = sections_of(wall.sheet())

    reasons = [said[0] for said in lines(rejected)]
    rare = ["the store's placeholder", "too small"]
    assert reasons == ["blurry"] * MOST_OF_A_REASON + rare
    assert rejected.title == "Rejected: 16 different pictures, the newest of each reason"


def test_many_reasons_share_the_places(wall: Wall, sections_of: Sections) -> None:
    for issue in Issue:
        for _ in range(2):
            wall.hang(Finding(issue=issue, measured=None, threshold=None))

    _, rejected = sections_of(wall.sheet())

    assert len(rejected.tiles) == MOST_REJECTED
    assert {said[0] for said in lines(rejected)} == set(Issue)


def test_a_persons_word_is_told_as_such(wall: Wall, sections_of: Sections) -> None:
    refused, good = wall.hang(BLURRY), wall.hang()
    judge_image(wall.shop.database, refused, WORD, accepted=True)
    judge_image(wall.shop.database, good, WORD, accepted=False)

    accepted, rejected = sections_of(wall.sheet())

    assert lines(accepted) == [("Dress 0", "accepted by a person")]
    assert lines(rejected) == [("rejected by a person",)]


def test_verdicts_given_again_are_no_news(wall: Wall) -> None:
    accepted, rejected = wall.hang(), wall.hang(BLURRY)
    before = wall.digest()

    wall.judge(accepted, [], NOON + timedelta(days=1))
    wall.judge(rejected, [BLURRY], NOON + timedelta(days=1, minutes=1))

    assert wall.digest() == before


def test_what_is_not_shown_is_no_news(wall: Wall) -> None:
    for _ in range(MOST_ACCEPTED + 1):
        wall.hang()
    before = wall.digest()

    wall.shop.change(0, title="Renamed")

    assert wall.digest() == before


def test_a_renamed_product_is_drawn_again(wall: Wall, sections_of: Sections) -> None:
    wall.hang()
    before = wall.digest()

    wall.shop.change(0, title="Renamed")

    assert wall.digest() != before
    assert lines(sections_of(wall.sheet())[0]) == [("Renamed",)]


def test_overrides_that_leave_the_counts_alone_are_drawn(wall: Wall) -> None:
    refused, good = wall.hang(BLURRY), wall.hang()
    before = wall.digest()

    judge_image(wall.shop.database, refused, WORD, accepted=True)
    judge_image(wall.shop.database, good, WORD, accepted=False)

    assert wall.digest() != before


def test_another_threshold_is_drawn(wall: Wall) -> None:
    sha = wall.hang(BLURRY)
    before = wall.digest()

    wall.judge(sha, [Finding(issue=Issue.BLURRY, measured=0.04, threshold=0.2)], NOON)

    assert wall.digest() != before


def test_histograms_hold_every_measured_picture_and_the_thresholds(
    any_database: Database, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall.shop.database = any_database
    wall.hang(CORRUPT, problem="corrupt", width=None, height=None, sharpness=None)
    assert measurement_histograms(wall.shop.database, STORE) is None
    wall.hang(width=500, height=250, sharpness=0.7)
    wall.hang(SMALL, width=64, height=64, sharpness=0.3)
    drawn: list[Histogram] = []

    def keep(histograms: Sequence[Histogram], *, counted: str) -> Image.Image:
        drawn[:] = histograms
        assert counted == "pictures"
        return Image.new("RGB", (1, 1))

    monkeypatch.setattr("catalog_pipeline.exhibits.contact_sheet.draw_histograms", keep)
    exhibit = measurement_histograms(wall.shop.database, STORE)
    assert exhibit is not None
    assert exhibit.title == "Size and sharpness of 2 pictures"
    exhibit.draw()

    side, sharpness = drawn
    assert (side.measured, sorted(side.values), side.threshold) == (
        "shorter side in pixels",
        [64, 250],
        200,
    )
    assert (sharpness.measured, sorted(sharpness.values), sharpness.threshold) == (
        "sharpness",
        [0.3, 0.7],
        0.12,
    )


def test_histograms_are_drawn_again_for_other_pictures_and_not_for_other_verdicts(
    wall: Wall,
) -> None:
    def digest() -> str:
        found = measurement_histograms(wall.shop.database, STORE)
        assert found is not None
        return found.digest

    first, _ = wall.hang(), wall.hang()
    before = digest()
    judge_image(wall.shop.database, first, WORD, accepted=False)
    with wall.shop.database.write() as connection:
        connection.execute(update(image_verdicts).values(judged_at=NOON + timedelta(days=1)))
    assert digest() == before

    # As many as before, and one of them another, which was judged long ago.
    wall.hang()
    more = digest()
    wall.shop.change(0, removed_by="absent")
    assert len({before, more, digest()}) == 3
