"""Accepted pictures decoded by many threads: what they may hold in memory together."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import pytest
from PIL import Image

from catalog_pipeline.images import pictures
from catalog_pipeline.images.pictures import UnreadablePictureError
from catalog_pipeline_tests.images.drawing import encoded, garment, load_rgb
from catalog_pipeline_tests.images.hostile import png_announcing

SIDES = 320 * 400


def test_threads_hold_no_more_pixels_at_a_time_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    held = most = 0
    lock = threading.Lock()
    both = threading.Barrier(2)
    flatten = pictures.flattened

    def watched(image: Image.Image) -> Image.Image:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        both.wait(20)
        with lock:
            held -= 1
        return flatten(image)

    monkeypatch.setattr(pictures, "_decoding", pictures._Budget(2 * SIDES + 1))
    monkeypatch.setattr(pictures, "flattened", watched)
    content = encoded(garment(1))
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(load_rgb, repeat(content, 12)))
    assert {image.size for image in found} == {(320, 400)}
    # Two fit, and the barrier shows that two are let; a third would have to wait.
    assert most == 2


def test_what_cannot_be_decoded_gives_its_room_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_decoding", pictures._Budget(SIDES))
    content = encoded(garment(1))
    for _ in range(3):
        with pytest.raises(UnreadablePictureError):
            load_rgb(content[: len(content) // 2])
    assert load_rgb(content).size == (320, 400)


@pytest.mark.parametrize("sides", [(60_000, 60_000), (200_000_001, 1), (2**32 - 1, 2**32 - 1)])
def test_more_pixels_than_any_store_may_allow_are_not_decoded(sides: tuple[int, int]) -> None:
    with pytest.raises(UnreadablePictureError, match="over 200000000 pixels"):
        load_rgb(png_announcing(*sides))
