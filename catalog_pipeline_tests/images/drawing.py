"""Small pictures for the tests of this folder, drawn rather than kept."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from catalog_pipeline.images.pictures import held_rgb


def encoded(image: Image.Image, picture: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, picture, **options)
    return buffer.getvalue()


def garment(seed: int = 0, size: tuple[int, int] = (320, 400)) -> Image.Image:
    """A sharp shape with folds on a light ground, different for each seed; the gate accepts it."""
    width, height = size
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, (236, 234, 230))
    pen = ImageDraw.Draw(image)
    colour = tuple(int(value) for value in random.integers(20, 180, 3))
    pen.polygon(
        [
            (width * 0.2, height * 0.2),
            (width * 0.8, height * 0.2),
            (width * 0.7, height * 0.9),
            (width * 0.3, height * 0.9),
        ],
        fill=colour,
    )
    for _ in range(12):
        x = float(random.uniform(0.3, 0.7)) * width
        pen.line([(x, height * 0.25), (x, height * 0.85)], fill=(250, 250, 250), width=2)
    return image


@lru_cache(maxsize=256)
def garment_bytes(seed: int = 0) -> bytes:
    return encoded(garment(seed), quality=90)


def load_rgb(content: bytes) -> Image.Image:
    """An accepted picture as it goes into a model: whole, upright and in RGB."""
    with held_rgb(content) as image:
        return image
