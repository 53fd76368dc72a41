"""Sheets and plots, looked at as pixels."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageColor

from catalog_pipeline.drawing.encoding import data_uri, webp
from catalog_pipeline.drawing.figure import OTHER, PALETTE
from catalog_pipeline.drawing.lines import Line, LinePlot, draw_lines
from catalog_pipeline.drawing.plots import Histogram, draw_histograms, draw_map
from catalog_pipeline.drawing.sheet import Section, Tile, draw_sheet
from catalog_pipeline.drawing.text import font, wrapped

RED = (220, 20, 20)
HOSTILE = ["", "a" * 500, "\x1b[31m\x00\n", "$\\frac{1}", "<b>", "漢字", "\U0001f457", "\ud800"]


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("most_bytes", [2_000, 20_000, 200_000])
def test_a_drawing_fits_whatever_it_shows(most_bytes: int) -> None:
    content = webp(noise(700, 500), most_bytes)

    assert len(content) <= most_bytes
    assert Image.open(io.BytesIO(content)).format == "WEBP"


def test_a_drawing_that_fits_keeps_its_size() -> None:
    content = webp(Image.new("RGB", (700, 500), RED), 20_000)

    assert Image.open(io.BytesIO(content)).size == (700, 500)
    assert data_uri(content).startswith("data:image/webp;base64,UklGR")


def test_a_plot_loses_nothing_in_its_small_file() -> None:
    plot = draw_histograms([Histogram("sharpness", [0.1, 1.0, 1.0], 0.5)], counted="things")

    content = webp(plot, 20_000)

    assert Image.open(io.BytesIO(content)).convert("RGB").tobytes() == plot.tobytes()
    assert len(content) < 8_000


@given(
    st.text(max_size=80)
    | st.lists(st.sampled_from(["a", "needs", "0.12", "W" * 30])).map(" ".join),
    st.integers(20, 150),
    st.integers(1, 3),
)
@settings(max_examples=150, deadline=None)
def test_wrapped_text_is_whole_or_says_that_it_is_not(text: str, width: int, most: int) -> None:
    lines = wrapped(text, 11, width, most)

    assert len(lines) <= most
    assert all(font(11).getlength(line) <= width for line in lines)
    (whole,) = wrapped(text, 11, 1_000_000, 1) or [""]
    kept = "".join("".join(lines).split())
    if "".join(whole.split()) != kept:
        assert len(lines) == most
        assert lines[-1].endswith("…")
        assert "".join(whole.split()).startswith(kept[:-1])


def test_text_is_broken_between_words() -> None:
    assert wrapped("shorter side 64 px, needs 200", 11, 112, 2) == [
        "shorter side 64 px,",
        "needs 200",
    ]


def test_what_is_said_below_a_picture_makes_room_for_itself() -> None:
    def height(*lines: str) -> int:
        return draw_sheet([Section("", [Tile(None, lines), Tile(None)])], columns=2).height

    one = height("sharpness")
    assert height("sharpness 0.04, needs 0.12") > one
    assert height("sharpness 0.04, needs 0.12") == height("sharpness", "0.04")


def test_an_empty_frame_shows_the_words_that_stand_in_it() -> None:
    def ink(instead: str) -> int:
        sheet = np.asarray(draw_sheet([Section("", [Tile(None, instead=instead)])], columns=1))
        return int((sheet[12:-20, 12:-12].max(axis=2) < 200).sum())

    assert ink("") == 0
    assert ink("cannot be decoded") > 50


def test_a_sheet_shows_every_picture_whole_and_in_its_order() -> None:
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    tall = [Image.new("RGB", (60, 240), colour) for colour in colours]

    sheet = draw_sheet([Section("Three", [Tile(one) for one in tall])], columns=2, side=80)

    seen = [colour for _, colour in sheet.getcolors(100_000) or [] if colour in colours]
    assert sorted(seen) == sorted(colours)
    places = {colour: np.argwhere((np.asarray(sheet) == colour).all(axis=2)) for colour in colours}
    red, green, blue = (places[colour].min(axis=0) for colour in colours)
    assert red[0] == green[0] < blue[0]
    assert red[1] == blue[1] < green[1]
    spans = [np.ptp(places[colour], axis=0) + 1 for colour in colours]
    # Fitted into the tile without its frame, in their own proportions.
    assert all(span.tolist() == [76, 19] for span in spans)


@given(st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60)), max_size=4))
@settings(max_examples=40, deadline=None)
def test_any_text_can_stand_on_a_sheet(texts: list[str]) -> None:
    sheet = draw_sheet([Section("".join(texts), [Tile(None, tuple(texts), "bad")])], columns=3)

    assert sheet.width == 3 * 120 + 8


def test_an_empty_sheet_is_still_a_picture() -> None:
    assert draw_sheet([]).size[0] > 0
    assert draw_sheet([Section("Rejected: 0 pictures", [])]).size[1] > 14


def test_a_histogram_draws_what_is_below_the_threshold_in_another_colour() -> None:
    values = [0.1] * 5 + [1.0] * 20
    vermilion = np.array([213, 94, 0])

    def share(threshold: float) -> float:
        plot = np.asarray(
            draw_histograms([Histogram("sharpness", values, threshold)], counted="things")
        )
        return float((abs(plot.astype(int) - vermilion).sum(axis=2) < 12).mean())

    assert share(0.05) == 0
    assert 0 < share(0.5) < share(2.0)


@pytest.mark.parametrize("values", [[], [float("nan"), float("inf")], [5.0], [0.0, 1e9]])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_histogram_of_odd_values_is_drawn(values: list[float], logarithmic: bool) -> None:
    histogram = Histogram("side", values, 200, logarithmic=logarithmic)

    plot = draw_histograms([histogram], counted="things")

    assert plot.width > 100


def map_of(vectors: NDArray[np.float32], groups: Sequence[str]) -> Image.Image:
    return draw_map(vectors, groups, title="Things", grouped_by="kind")


def test_the_same_vectors_give_the_same_map_and_groups_are_told_apart() -> None:
    vectors = np.random.default_rng(3).normal(size=(60, 16)).astype(np.float32)
    vectors[:30] += 4
    groups = ["dresses"] * 30 + ["hats"] * 30

    first, second = map_of(vectors, groups), map_of(vectors.copy(), groups)

    assert first.tobytes() == second.tobytes()
    blue = (abs(np.asarray(first).astype(int) - [0, 114, 178]).sum(axis=2) < 12)[:, :500]
    orange = (abs(np.asarray(first).astype(int) - [230, 159, 0]).sum(axis=2) < 12)[:, :500]
    # Two groups that lie apart lie apart on the map as well.
    gap = abs(np.argwhere(blue)[:, 1].mean() - np.argwhere(orange)[:, 1].mean())
    assert gap > 100


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_map_of_few_or_equal_vectors_is_drawn(count: int) -> None:
    vectors = np.ones((count, 8), dtype=np.float32)

    assert map_of(vectors, HOSTILE[:count]).width > 100
    assert map_of(vectors, HOSTILE[-count - 1 : -1]).width > 100


def test_lines_have_one_colour_in_all_plots_and_gaps_where_nothing_is_known() -> None:
    moments = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 3, 4)]
    values: list[float | None] = [0.2, None, None, 0.8]
    plain = Line("atelier", moments, [0.5] * 4)
    gap = Line("$\\frac{1}", moments, values)

    both = draw_lines([LinePlot("Points", [plain]), LinePlot("Share", [gap], is_share=True)])
    joined = draw_lines(
        [
            LinePlot("Points", [plain]),
            LinePlot("Share", [Line(gap.name, moments, [0.2, 0.4, 0.6, 0.8])], is_share=True),
        ]
    )

    def ink(drawing: Image.Image, colour: str) -> int:
        wanted = np.array(ImageColor.getrgb(colour))
        return int((np.abs(np.asarray(drawing).astype(int) - wanted).max(axis=2) < 8).sum())

    assert ink(both, PALETTE[0]) == ink(joined, PALETTE[0]) > 200
    assert 0 < ink(both, PALETTE[1]) < ink(joined, PALETTE[1]) - 100


def places(drawing: Image.Image, colour: str) -> NDArray[np.int64]:
    """Where a colour is, in rows and columns; the legend below is left out."""
    wanted = np.array(ImageColor.getrgb(colour))
    pixels = np.asarray(drawing).astype(int)[:240]
    return np.argwhere(np.abs(pixels - wanted).max(axis=2) < 8)


def test_lines_that_lie_on_each_other_can_all_be_seen() -> None:
    moments = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 3)]
    lines = [Line(name, moments, [161, 161, 161]) for name in ("a", "b", "c")]

    drawing = draw_lines([LinePlot("Points", lines)])

    for colour in PALETTE[:3]:
        assert np.ptp(places(drawing, colour)[:, 1]) > 200


def test_a_first_day_is_drawn_as_one() -> None:
    noon = datetime(2026, 3, 4, 12, tzinfo=UTC)
    lines = [
        Line(name, [noon + timedelta(seconds=50 * number)], [161 + 100 * number])
        for number, name in enumerate(("a", "b"))
    ]

    drawing = draw_lines([LinePlot("Points", lines)])

    first, second = (places(drawing, colour)[:, 1].mean() for colour in PALETTE[:2])
    assert abs(first - second) < 2
    assert 0.3 * drawing.width < first < 0.7 * drawing.width


def test_lines_beyond_the_palette_are_faint() -> None:
    moments = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2)]
    lines = [Line(f"store-{number}", moments, [number, number]) for number in range(9)]

    few = draw_lines([LinePlot("Points", lines[:7])])
    many = draw_lines([LinePlot("Points", lines)])

    def faint(drawing: Image.Image) -> int:
        wanted = np.array(ImageColor.getrgb(OTHER))
        return int((np.asarray(drawing) == wanted).all(axis=2).sum())

    assert faint(few) < faint(many)
