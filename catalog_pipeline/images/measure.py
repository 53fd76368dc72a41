"""What the gate needs to know of a picture, measured once from its bytes.

Runs in worker processes on bytes that may be hostile, so it imports little and every failure is a
measurement too. Whether a picture is good enough is not decided here but in `quality.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from catalog_pipeline.images.pictures import (
    flattened,
    open_picture,
    orientation,
    picture_format,
    printable,
    webp_canvas,
)

# Another value measures every picture again from its stored bytes.
DECODER: Final = "1"

# Longest side, in pixels, of the grey copy that brightness, detail and sharpness are taken from.
_GREY_SIDE: Final = 512
# Grey levels by which a pixel must differ from the commonest to be more than noise of JPEG.
_NOISE: Final = 3
_FAINTEST_RANGE: Final = 8
# The longest side that PNG allows and a database's INTEGER holds.
_LONGEST_SIDE: Final = 2**31 - 1

Problem = Literal["unsupported", "corrupt", "too many pixels"]


@dataclass(frozen=True, slots=True)
class Measurements:
    """One picture measured; `problem` says why there is nothing beyond the header.

    Levels are 0 (black) to 255. The values from `brightness` on are of the grey copy.
    """

    bytes: int
    format: str | None = None
    # Upright, in pixels.
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    animated: bool | None = None
    problem: Problem | None = None
    reason: str | None = None
    # The limit under which a picture of too many pixels was left undecoded.
    pixel_limit: int | None = None
    # Mean level.
    brightness: float | None = None
    # Standard deviation of the level.
    contrast: float | None = None
    # The level that 1% of the pixels are below, and the one that 1% are above.
    shadows: float | None = None
    highlights: float | None = None
    # Share of pixels that differ visibly from the median level.
    detail: float | None = None
    # Strength of the sharpest edges (99.9th percentile of the absolute Laplacian) as a share of
    # the tonal range; does not fall with the share of an empty background.
    sharpness: float | None = None

    def as_json(self) -> dict[str, Any]:
        """All values, None included, for the database."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Measurements:
        """From `as_json`; values of another decoder that are unknown here are left out."""
        return cls(**{name: values[name] for name in cls.__slots__ if name in values})


def measure(content: bytes, max_pixels: int) -> Measurements:
    """Decode and measure; never raises for what the bytes hold.

    Args:
        content: the whole file.
        max_pixels: a picture whose header announces more is not decoded.
    """
    size = len(content)
    picture = picture_format(content)
    if picture is None:
        return Measurements(size, problem="unsupported", reason="not JPEG, PNG, WebP or GIF")
    canvas = webp_canvas(content) if picture == "webp" else None
    if canvas is not None and canvas[0] * canvas[1] > max_pixels:
        # The decoder sets the whole canvas aside before it tells how large it is.
        return _too_large(size, picture, canvas, None, max_pixels)
    try:
        with open_picture(content, picture) as image:
            return _measured(image, size, picture, max_pixels)
    except MemoryError:
        return Measurements(
            size, picture, problem="corrupt", reason="decoding needs too much memory"
        )
    except Exception as error:  # noqa: BLE001 - decoders raise whatever broken bytes lead them to
        reason = f"{type(error).__name__}: {error}"[:200]
        return Measurements(size, picture, problem="corrupt", reason=printable(reason))


def _too_large(
    size: int, picture: str, sides: tuple[int, int], mode: str | None, max_pixels: int
) -> Measurements:
    return Measurements(
        size,
        picture,
        *sides,
        mode,
        problem="too many pixels",
        reason=f"over {max_pixels} pixels",
        pixel_limit=max_pixels,
    )


def _measured(image: ImageFile.ImageFile, size: int, picture: str, max_pixels: int) -> Measurements:
    mode = image.mode
    width, height = image.size
    if max(width, height) > _LONGEST_SIDE:
        raise ValueError("a side beyond what its format allows")
    if width * height > max_pixels:
        return _too_large(size, picture, image.size, mode, max_pixels)
    animated = bool(getattr(image, "is_animated", False))
    grey = _grey(image, picture)
    if orientation(image) >= 5:
        width, height = height, width
    levels = np.asarray(grey)
    counts = np.array(grey.histogram(), dtype=np.int64)
    total = int(counts.sum())
    scale = np.arange(256)
    mean = float(counts @ scale) / total
    spread = math.sqrt(max(float(counts @ (scale - mean) ** 2) / total, 0.0))
    median = _percentile(counts, 0.5)
    near = counts[max(0, median - _NOISE) : median + _NOISE + 1].sum()
    # Of the levels with the outermost 0.5% left out, which are specks and rings of sharpening.
    tonal_range = max(_percentile(counts, 0.995) - _percentile(counts, 0.005), _FAINTEST_RANGE)
    return Measurements(
        size,
        picture,
        width,
        height,
        mode,
        animated,
        brightness=round(mean, 3),
        contrast=round(spread, 3),
        shadows=float(_percentile(counts, 0.01)),
        highlights=float(_percentile(counts, 0.99)),
        detail=round(1 - float(near) / total, 5),
        sharpness=round(_sharpest(levels) / tonal_range, 5),
    )


def _grey(image: ImageFile.ImageFile, picture: str) -> Image.Image:
    """The whole picture decoded, as 8-bit grey with its longest side at most `_GREY_SIDE`."""
    width, height = image.size
    shrink = min(1.0, _GREY_SIDE / max(width, height))
    target = max(1, round(width * shrink)), max(1, round(height * shrink))
    if picture == "jpeg":
        # libjpeg reads all scans, so a cut file still shows, but leaves out colour and, where
        # the picture is large, the finest frequencies: a third of the time.
        image.draft("L", target)
    image.load()
    grey = flattened(image).convert("L")
    return grey if grey.size == target else grey.resize(target, Image.Resampling.BOX)


def _percentile(counts: NDArray[np.int64], share: float) -> int:
    cumulated = np.cumsum(counts)
    return int(np.searchsorted(cumulated, share * cumulated[-1]))


def _sharpest(levels: NDArray[np.uint8]) -> float:
    if min(levels.shape) < 3:
        return 0.0
    grey = levels.astype(np.int16)
    laplacian = 4 * grey[1:-1, 1:-1]
    laplacian -= grey[:-2, 1:-1]
    laplacian -= grey[2:, 1:-1]
    laplacian -= grey[1:-1, :-2]
    laplacian -= grey[1:-1, 2:]
    counts = np.bincount(np.abs(laplacian).ravel(), minlength=1)
    return float(_percentile(counts.astype(np.int64), 0.999))
