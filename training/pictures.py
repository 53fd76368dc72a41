"""Drawn pictures for training: which garment each shows, and its pixels, small, in one array.

Their seeds lie where no sample store's do, so that everything a store shows stays unseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt
from PIL import Image

from catalog_pipeline.demo.garments import Attributes
from catalog_pipeline.demo.pictures import picture
from training.captions import EVERY_LOOK

# A catalogue's seeds are below this.
FIRST_SEED = 2**24
_DRAWN_AT = (256, 256, 320, 400, 800)


@dataclass(frozen=True)
class DrawnPictures:
    """`pixels` (n, side, side, 3), uint8, and what each shows."""

    pixels: npt.NDArray[np.uint8]
    looks: list[Attributes]


def drawn(count: int, side: int, seed: int) -> DrawnPictures:
    """Pictures that show every look equally often, in a shuffled order."""
    rng = Random(seed)  # noqa: S311 - drawing, not cryptography
    looks = [EVERY_LOOK[number % len(EVERY_LOOK)] for number in range(count)]
    rng.shuffle(looks)
    pixels = np.empty((count, side, side, 3), np.uint8)
    for row, look in enumerate(looks):
        size = rng.choice(_DRAWN_AT)
        image = picture(
            look.kind, look.colour, look.pattern, FIRST_SEED + rng.getrandbits(40), size
        )
        pixels[row] = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))
    return DrawnPictures(pixels, looks)
