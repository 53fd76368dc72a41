"""The drawn pictures: deterministic, varied, in the colour they say, fast; and the flawed ones."""

from __future__ import annotations

import io
import statistics
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageStat, UnidentifiedImageError

from catalog_pipeline.demo import Attributes, Drawing, Flaw
from catalog_pipeline.demo.garments import COLOURS, KINDS, PATTERNS
from catalog_pipeline.demo.media import placeholder
from catalog_pipeline.demo.pictures import encoded, picture


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    colour=st.sampled_from(sorted(COLOURS)),
    pattern=st.sampled_from(PATTERNS),
    seed=st.integers(0, 2**40),
    size=st.sampled_from([16, 63, 150, 1100]),
)
def test_any_garment_can_be_drawn_in_any_size(
    kind: str, colour: str, pattern: str, seed: int, size: int
) -> None:
    image = picture(kind, colour, pattern, seed, size)
    assert image.size == (size, size)
    assert image.mode == "RGB"
    assert max(ImageStat.Stat(image.convert("L")).stddev) > 3


def test_the_same_arguments_give_the_same_bytes_and_others_do_not() -> None:
    def drawn(seed: int) -> bytes:
        return encoded(picture("dress", "blue", "striped", seed, 200))

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(10)}) == 10


@pytest.mark.parametrize("colour", sorted(COLOURS))
def test_a_plain_garment_has_its_colour_in_the_middle(colour: str) -> None:
    crops = [
        np.asarray(picture("sweater", colour, "plain", seed, 200).crop((80, 90, 120, 125)))
        for seed in range(8)
    ]
    middle = np.mean(crops, axis=(0, 1, 2))
    nearest = min(COLOURS, key=lambda c: float(np.abs(middle - np.array(COLOURS[c])).sum()))
    assert nearest == colour


def test_patterns_differ_from_plain_cloth() -> None:
    def spread(pattern: str) -> float:
        image = picture("sweater", "blue", pattern, 9, 400).crop((150, 150, 250, 250))
        return float(np.asarray(image, dtype=float).std(axis=(0, 1)).max())

    plain = spread("plain")
    for pattern in PATTERNS[1:]:
        assert spread(pattern) > plain * 2


def test_drawing_keeps_up_with_a_sync() -> None:
    """Around 10 ms each on a free core; the bound leaves room for a busy machine."""
    picture("dress", "blue", "plain", 0)
    times = []
    for number, kind in enumerate([*KINDS] * 3):
        start = time.thread_time()
        encoded(picture(kind, "green", PATTERNS[number % 5], number))
        times.append(time.thread_time() - start)
    assert statistics.median(times) < 0.03


def opened(content: bytes | None) -> Image.Image:
    assert content is not None
    return Image.open(io.BytesIO(content))


def test_each_flaw_is_what_it_says() -> None:
    look = Attributes("dress", "red", "striped")

    def flawed(flaw: Flaw | None) -> bytes | None:
        return Drawing(look, 3, 400, flaw).content()

    good = opened(flawed(None)).convert("L")
    assert ImageStat.Stat(opened(flawed(Flaw.FLAT)).convert("L")).stddev[0] < 1
    dark = ImageStat.Stat(opened(flawed(Flaw.DARK)).convert("L")).mean[0]
    assert dark < ImageStat.Stat(good).mean[0] * 0.12
    edges = [
        np.abs(np.diff(np.asarray(i.convert("L"), dtype=float))).max()
        for i in (good, opened(flawed(Flaw.BLURRED)))
    ]
    assert edges[1] < edges[0] / 3
    with pytest.raises(OSError, match="truncated"):
        opened(flawed(Flaw.TRUNCATED)).load()
    assert opened(flawed(Flaw.TINY)).size == (64, 64)
    width, height = opened(flawed(Flaw.STRETCHED)).size
    assert height == width * 12
    with pytest.raises(UnidentifiedImageError):
        opened(flawed(Flaw.HTML))
    assert flawed(Flaw.PLACEHOLDER) == placeholder()
    assert opened(placeholder()).format == "PNG"
    assert flawed(Flaw.MISSING) is None


def test_words_and_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="'tartan' is not one of plain"):
        picture("dress", "blue", "tartan", 1)
    with pytest.raises(ValueError, match="at least 16"):
        picture("dress", "blue", "plain", 1, 8)
