"""Which outline belongs to which kind of garment."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from catalog_pipeline.demo import accessories, bottoms, tops
from catalog_pipeline.demo.shapes import Stroke

# Each draws one garment of its kind; the random numbers decide its cut.
OUTLINES: Final[dict[str, Callable[[Random], list[Stroke]]]] = {
    "dress": tops.dress,
    "t-shirt": tops.t_shirt,
    "shirt": tops.shirt,
    "sweater": tops.sweater,
    "jacket": tops.jacket,
    "trousers": bottoms.trousers,
    "shorts": bottoms.shorts,
    "skirt": bottoms.skirt,
    "hat": accessories.hat,
    "shoes": accessories.shoes,
    "bag": accessories.bag,
}
