"""The sheet of a preview holds just the pictures whose verdict would change."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catalog_pipeline.exhibits.exhibit import Exhibit
from catalog_pipeline.exhibits.gate_sheet import MOST_TILES, gate_sheet
from catalog_pipeline.files import DataFolder
from catalog_pipeline.gate_preview import Verdict, VerdictChange
from catalog_pipeline.images.blobs import write_blob
from catalog_pipeline_tests.exhibits.conftest import Sections

COLOURS = [(200, 30, 40), (30, 180, 60), (40, 60, 220)]
ACCEPTED, REJECTED = (0, 114, 178), (213, 94, 0)
# Of the formats that a sheet is written in, the lowest limit.
MOST_PIXELS_OF_WEBP = 16_383


@pytest.fixture
def files(tmp_path: Path) -> DataFolder:
    return DataFolder(str(tmp_path))


def stored(files: DataFolder, colour: tuple[int, int, int]) -> str:
    content = io.BytesIO()
    Image.new("RGB", (300, 300), colour).save(content, "PNG")
    return write_blob(files, content.getvalue())[0]


def change(
    sha: str, verdict: Verdict = "rejected", issue: str = "too small", measured: float = 250
) -> VerdictChange:
    return VerdictChange("atelier", sha, verdict, issue, measured, 300)


def pixels(sheet: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(sheet) == colour).all(axis=-1).sum())


def test_changed_pictures_are_there_and_no_others(files: DataFolder) -> None:
    shas = [stored(files, colour) for colour in COLOURS]
    sheet = gate_sheet(files, [change(shas[0]), change(shas[1], "accepted", "blurry", 0.1)])
    shown = [pixels(sheet, colour) for colour in COLOURS]
    assert min(shown[:2]) > 10_000
    assert shown[2] == 0
    assert pixels(sheet, ACCEPTED) > 400
    assert pixels(sheet, REJECTED) > 400


def test_each_picture_says_what_another_threshold_makes_of_it(
    files: DataFolder, sections_of: Sections
) -> None:
    changes = [
        VerdictChange("atelier", "0" * 64, "accepted", "blurry", 0.1, 0.12),
        VerdictChange("atelier", "1" * 64, "rejected", "too small", 250, 300),
        VerdictChange("nordhavn", "2" * 64, "rejected", "the store's placeholder", None, None),
    ]

    small, placeholder, blurry = sections_of(
        Exhibit("changes", "", 0, lambda: gate_sheet(files, changes))
    )

    assert small.title == "accepted → rejected, too small: 1 picture"
    assert small.tiles[0].lines == ("shorter side 250 px, needs 300", "atelier")
    assert placeholder.tiles[0].lines == ("the store's placeholder", "nordhavn")
    assert blurry.title == "rejected → accepted, no longer blurry: 1 picture"
    assert blurry.tiles[0].lines == ("sharpness 0.1, needed 0.12", "atelier")
    assert blurry.tiles[0].instead == "no picture at hand"


def test_a_lost_picture_leaves_its_frame(files: DataFolder) -> None:
    sheet = gate_sheet(files, [change("0" * 64)])
    assert pixels(sheet, REJECTED) > 400


def test_of_too_many_those_nearest_to_the_threshold_are_shown(files: DataFolder) -> None:
    near, far = stored(files, COLOURS[0]), stored(files, COLOURS[1])
    many = [change(f"{number:064x}", measured=200) for number in range(MOST_TILES)]
    sheet = gate_sheet(files, [change(far, measured=10), *many, change(near, measured=299)])
    assert pixels(sheet, COLOURS[0]) > 10_000
    assert pixels(sheet, COLOURS[1]) == 0


def test_a_sheet_of_every_kind_of_change_fits_into_a_file(files: DataFolder) -> None:
    many = [
        change(f"{number:064x}", verdict, f"issue {number % 12}")
        for number in range(1_000)
        for verdict in ("accepted", "rejected")
    ]
    sheet = gate_sheet(files, many)
    assert max(sheet.size) <= MOST_PIXELS_OF_WEBP
