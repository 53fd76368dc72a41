"""Cloth: a field of one colour with stripes, dots, checks or flowers of another woven into it.

Patterns are small greyscale tiles repeated over the field, where 0 is the main colour and 255 the
accent. What is cut out of the cloth does not belong here.
"""

from __future__ import annotations

from random import Random
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from catalog_pipeline.demo.garments import COLOURS, Rgb

Tile = npt.NDArray[np.uint8]

_LIGHT_ACCENTS: Final = ((246, 244, 238), (238, 230, 208), (226, 232, 240))
_DARK_ACCENTS: Final = (COLOURS["navy"], COLOURS["red"], (64, 68, 76), (36, 96, 72))


def luminance(colour: Rgb) -> float:
    """Perceived brightness, 0 to 255 (ITU-R BT.601 weights)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def varied(colour: Rgb, rng: Random, amount: int = 10) -> Rgb:
    """A colour a little off the given one, as dyes are."""
    red, green, blue = (min(255, max(0, c + rng.randint(-amount, amount))) for c in colour)
    return red, green, blue


def blended(one: Rgb, other: Rgb, share: float) -> Rgb:
    """`share` of the other colour in the one; above 1 goes beyond it, as far as colours go."""
    red, green, blue = (
        min(255, max(0, round(a + (b - a) * share))) for a, b in zip(one, other, strict=True)
    )
    return red, green, blue


def cloth(pattern: str, main: Rgb, rng: Random, size: int) -> Image.Image:
    """A square RGB field of `size` pixels in the main colour and an accent that suits it."""
    accents = _DARK_ACCENTS if luminance(main) > 165 else _LIGHT_ACCENTS
    accent = blended(main, varied(rng.choice(accents), rng), 0.92)
    tile = _tile(pattern, rng, size)
    if tile is None:
        return Image.new("RGB", (size, size), main)
    repeats = (-(-size // tile.shape[0]), -(-size // tile.shape[1]))
    field = Image.fromarray(np.ascontiguousarray(np.tile(tile, repeats)[:size, :size]))
    steps = np.arange(256)[:, None] / 255
    palette = np.rint(np.array(main) * (1 - steps) + np.array(accent) * steps).astype(np.uint8)
    field.putpalette(palette.tobytes())
    return field.convert("RGB")


def _tile(pattern: str, rng: Random, size: int) -> Tile | None:
    if pattern == "striped":
        return _stripes(rng, size)
    if pattern == "dotted":
        return _dots(rng, size)
    if pattern == "checked":
        return _checks(rng, size)
    if pattern == "floral":
        return _flowers(rng, size)
    return None


def _band(period: int, share: float) -> npt.NDArray[np.float64]:
    """One period of soft-edged stripes, as wide as `share` of it."""
    distance = np.abs(np.arange(period) - period / 2)
    band: npt.NDArray[np.float64] = np.clip(period * share / 2 - distance + 0.5, 0, 1)
    return band


def _grey(values: npt.NDArray[np.float64]) -> Tile:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _stripes(rng: Random, size: int) -> Tile:
    period = max(4, round(size * rng.choice((0.03, 0.042, 0.055, 0.07))))
    band = _band(period, rng.choice((0.3, 0.42, 0.5)))
    direction = rng.choices(("across", "down", "slanted"), (6, 3, 1))[0]
    if direction == "across":
        return _grey(band[:, None])
    if direction == "down":
        return _grey(band[None, :])
    steps = np.arange(period)
    return _grey(band[(steps[:, None] + steps[None, :]) % period])


def _dots(rng: Random, size: int) -> Tile:
    period = max(6, round(size * rng.choice((0.045, 0.06, 0.08))))
    radius = period * rng.uniform(0.17, 0.24)
    y, x = np.mgrid[0:period, 0:period] + 0.5
    tile = np.zeros((period, period))
    # One dot in the middle and one around the corners make a staggered grid.
    for cx, cy in ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1)):
        tile = np.maximum(tile, radius - np.hypot(x - cx * period, y - cy * period) + 0.5)
    return _grey(tile)


def _checks(rng: Random, size: int) -> Tile:
    period = max(6, round(size * rng.choice((0.05, 0.07, 0.095))))
    band = _band(period, 0.5)
    if rng.random() < 0.5:  # gingham
        return _grey((band[:, None] + band[None, :]) / 2)
    line = _band(period, 0.12)  # tartan
    broad = (band[:, None] + band[None, :]) * 0.28
    return _grey(np.maximum(broad, np.maximum(line[:, None], line[None, :]) * 0.9))


def _flowers(rng: Random, size: int) -> Tile:
    period = max(12, round(size * rng.choice((0.10, 0.13))))
    tile = np.zeros((period, period))
    y, x = np.mgrid[0:period, 0:period] + 0.5
    petals = rng.choice((5, 6))
    for cx, cy, reach in (
        (0.28, 0.30, 0.21),
        (0.76, 0.74, 0.17),
        (0.78, 0.22, 0.08),
        (0.24, 0.80, 0.07),
    ):
        dx, dy = x - cx * period, y - cy * period
        distance = np.hypot(dx, dy)
        bloom = 0.62 + 0.38 * np.cos(petals * np.arctan2(dy, dx) + rng.uniform(0, 6))
        flower = np.clip(reach * period * bloom - distance + 0.5, 0, 1)
        heart = np.clip(reach * period * 0.24 - distance + 0.5, 0, 1)
        tile = np.maximum(tile, flower - heart * 0.75)
    return _grey(tile)
