"""Unknown bytes: what is measured of good pictures, and what becomes of every other kind."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from catalog_pipeline.images.decode import Decoder
from catalog_pipeline.images.measure import Measurements, measure
from catalog_pipeline.images.pictures import (
    UnreadablePictureError,
    held_rgb,
    load_thumbnail,
    picture_format,
)
from catalog_pipeline_tests.images.drawing import encoded, garment, garment_bytes, load_rgb
from catalog_pipeline_tests.images.hostile import png_announcing
from catalog_pipeline_tests.images.sabotage import poison, sabotage

# Pillow warns of what it forgives; a worker is deaf to that.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

LIMIT = 50_000_000
SIDE = 112
FORMATS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF"}


@pytest.mark.parametrize("picture", FORMATS)
def test_the_same_picture_measures_the_same_in_every_format(picture: str) -> None:
    content = encoded(garment(1), FORMATS[picture])
    found = measure(content, LIMIT)
    reference = measure(encoded(garment(1), "PNG"), LIMIT)
    assert (found.format, found.width, found.height, found.problem) == (picture, 320, 400, None)
    assert found.bytes == len(content)
    assert found.animated is False
    for name in ("brightness", "contrast", "shadows", "highlights"):
        assert getattr(found, name) == pytest.approx(getattr(reference, name), abs=4.0)
    assert found.sharpness == pytest.approx(reference.sharpness, rel=0.35)


def test_measurements_are_what_they_say() -> None:
    pixels = np.full((300, 400), 200, dtype=np.uint8)
    pixels[:, :100] = 40
    found = measure(encoded(Image.fromarray(pixels), "PNG"), LIMIT)
    assert found.brightness == pytest.approx(160.0)
    assert found.contrast == pytest.approx(pixels.std(), abs=1e-3)
    assert (found.shadows, found.highlights, found.detail) == (40.0, 200.0, 0.25)
    # One edge of 160 levels, the whole tonal range; 598 of 118,604 inner pixels lie on it.
    assert found.sharpness == pytest.approx(1.0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html></html>",
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b"\x00\x00\x00\x20ftypavif" + b"\x00" * 64,
        b"BM" + b"\x00" * 100,
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        encoded(garment(), "TIFF"),
        encoded(garment(), "BMP"),
        encoded(garment(), "PPM"),
        encoded(garment(), "JPEG2000"),
    ],
)
def test_other_formats_are_unsupported(content: bytes) -> None:
    found = measure(content, LIMIT)
    assert (found.problem, found.format, found.bytes) == ("unsupported", None, len(content))
    with pytest.raises(UnreadablePictureError):
        load_rgb(content)


@pytest.mark.parametrize("picture", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_picture_cut_short_is_corrupt(picture: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), FORMATS[picture])
    cut = content[: int(len(content) * share)]
    assert measure(cut, LIMIT).problem == "corrupt"
    with pytest.raises(UnreadablePictureError):
        load_rgb(cut)


def test_a_phones_picture_in_several_parts_is_read_as_the_jpeg_that_it_begins_with() -> None:
    content = encoded(garment(1), "MPO", save_all=True, append_images=[garment(2)])
    found = measure(content, LIMIT)
    assert (found.format, found.width, found.problem) == ("jpeg", 320, None)
    assert load_rgb(content).size == (320, 400)


@pytest.mark.parametrize("picture", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_a_moving_picture_counts(picture: str) -> None:
    first, second = garment(1), Image.new("RGB", (320, 400), "black")
    content = encoded(first, picture, save_all=True, append_images=[second, second], duration=100)
    found = measure(content, LIMIT)
    assert found.animated is True
    assert found.brightness == pytest.approx(np.asarray(first.convert("L")).mean(), abs=4)
    assert np.asarray(load_rgb(content)).mean() > 100


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("picture", ["JPEG", "WEBP", "PNG"])
def test_pictures_are_seen_upright(turn: int, picture: str) -> None:
    image = garment(3)
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"lossless": True} if picture == "WEBP" else {}
    content = encoded(image, picture, exif=exif.tobytes(), **options)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    assert np.array_equal(np.asarray(load_rgb(content)), np.asarray(expected))
    found = measure(content, LIMIT)
    assert (found.width, found.height) == expected.size


@pytest.mark.parametrize(
    "exif", [b"Exif\x00\x00", b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"x" * 99]
)
def test_broken_metadata_costs_no_picture(exif: bytes) -> None:
    content = encoded(garment(1), exif=exif)
    assert measure(content, LIMIT).problem is None
    assert load_rgb(content).size == (320, 400)


def with_alpha() -> Image.Image:
    layer = garment(1).convert("RGBA")
    layer.putalpha(0)
    return layer


@pytest.mark.parametrize(
    ("image", "picture", "pixel"),
    [
        (Image.new("RGBA", (300, 300), (255, 0, 0, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (300, 300), (0, 0, 0, 128)), "PNG", (127, 127, 127)),
        (Image.new("LA", (300, 300), (0, 0)), "PNG", (255, 255, 255)),
        (with_alpha(), "WEBP", (255, 255, 255)),
        (Image.new("1", (300, 300), 1), "PNG", (255, 255, 255)),
        (Image.new("CMYK", (300, 300), (0, 255, 255, 0)), "JPEG", (254, 0, 0)),
        (Image.new("P", (300, 300), 0), "GIF", (0, 0, 0)),
        (Image.new("L", (300, 300), 77), "JPEG", (77, 77, 77)),
    ],
)
def test_every_mode_becomes_rgb_on_white(
    image: Image.Image, picture: str, pixel: tuple[int, int, int]
) -> None:
    options: dict[str, object] = {"lossless": True} if picture == "WEBP" else {}
    content = encoded(image, picture, **options)
    found = load_rgb(content)
    assert found.mode == "RGB"
    assert found.getpixel((150, 150)) == pytest.approx(pixel, abs=2)
    grey = np.asarray(found.convert("L"))
    assert measure(content, LIMIT).brightness == pytest.approx(grey.mean(), abs=2)


@pytest.mark.parametrize("picture", FORMATS)
def test_a_thumbnail_is_what_the_whole_picture_would_give(picture: str) -> None:
    whole = garment(3, (1_200, 1_600))
    content = encoded(whole, FORMATS[picture], **({} if picture == "GIF" else {"quality": 90}))
    found, expected = load_thumbnail(content, SIDE), load_rgb(content)
    expected.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    assert (found.mode, found.size) == ("RGB", (84, 112))
    difference = np.abs(np.asarray(found, float) - np.asarray(expected, float))
    assert difference.mean() < 1


def test_a_thumbnail_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(garment(3, (1_200, 1_600)), exif=exif)
    assert load_thumbnail(content, SIDE).size == (112, 84)


def test_a_large_jpeg_is_not_decoded_whole_for_a_thumbnail() -> None:
    with held_rgb(encoded(garment(3, (1_200, 1_600))), least_side=2 * SIDE) as image:
        assert image.size == (300, 400)


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65_535, 300 * 300).reshape(300, 300).astype(np.uint16)
    content = encoded(Image.fromarray(ramp), "PNG")
    assert np.asarray(load_rgb(content)).mean() == pytest.approx(127, abs=2)
    assert measure(content, LIMIT).brightness == pytest.approx(127, abs=2)


def test_a_palette_with_a_transparent_colour_is_flattened() -> None:
    image = Image.new("P", (300, 300), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    content = encoded(image, "PNG", transparency=1)
    assert load_rgb(content).getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (8_000, 8_000)])
def test_too_many_pixels_are_seen_in_the_header_and_never_decoded(size: tuple[int, int]) -> None:
    found = measure(png_announcing(*size), LIMIT)
    assert (found.problem, found.width, found.height) == ("too many pixels", *size)
    assert found.pixel_limit == LIMIT


def test_the_pixel_limit_itself_is_allowed() -> None:
    assert measure(garment_bytes(), 320 * 400).problem is None
    assert measure(garment_bytes(), 320 * 400 - 1).problem == "too many pixels"


def test_measurements_survive_the_database() -> None:
    found = measure(garment_bytes(), LIMIT)
    assert Measurements.from_json(found.as_json()) == found
    assert Measurements.from_json(found.as_json() | {"of a later decoder": 1}) == found


@settings(max_examples=120, deadline=None)
@given(
    picture=st.sampled_from(sorted(FORMATS)),
    places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=12),
    cut=st.floats(0.05, 1.0),
)
def test_mutated_files_end_in_measurements(
    picture: str, places: list[tuple[float, int]], cut: float
) -> None:
    content = bytearray(encoded(garment(4, (64, 80)), FORMATS[picture]))
    for where, value in places:
        content[int(where * len(content))] = value
    mutated = bytes(content[: int(len(content) * cut)])
    found = measure(mutated, 1_000_000)
    assert found.bytes == len(mutated)
    assert (found.problem is None) == (found.sharpness is not None)
    if found.problem is None:
        assert load_rgb(mutated).mode == "RGB"


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(workers=2) as found:
        yield found


def test_workers_measure_as_this_process_does(decoder: Decoder) -> None:
    for seed in range(3):
        assert decoder.measure(garment_bytes(seed)) == measure(garment_bytes(seed), LIMIT)


def test_large_files_reach_the_workers(decoder: Decoder) -> None:
    content = garment_bytes() + b"\x00" * 5_000_000
    assert decoder.measure(content).problem is None


def test_a_store_may_set_a_lower_pixel_limit(decoder: Decoder) -> None:
    assert decoder.measure(garment_bytes(), 10_000).pixel_limit == 10_000
    with pytest.raises(ValueError, match="takes 50000000 pixels"):
        decoder.measure(garment_bytes(), 10**9)


def test_memory_is_capped(decoder: Decoder) -> None:
    # 49 million pixels of nothing, far beyond what this pool was made for.
    bomb = encoded(Image.new("RGBA", (7_000, 7_000)), "PNG")
    with Decoder(workers=1, max_pixels=1_000_000) as small:
        assert small.measure(bomb).problem == "too many pixels"
        confined = Decoder(workers=1, max_pixels=1, function=sabotage)
        with confined:
            found = confined.measure(poison("hoard"))
    assert (found.problem, found.reason) == ("corrupt", "decoding needs too much memory")


def test_a_closed_decoder_starts_again_when_asked() -> None:
    decoder = Decoder(workers=1)
    assert decoder.measure(garment_bytes()).problem is None
    decoder.close()
    decoder.close()
    assert decoder.measure(garment_bytes()).problem is None
    decoder.close()


def test_format_is_told_from_content() -> None:
    assert picture_format(encoded(garment(), "WEBP")) == "webp"
    assert picture_format(b"GIF89a") == "gif"
    assert picture_format(b"GIF90a") is None
