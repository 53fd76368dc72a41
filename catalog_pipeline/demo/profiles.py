"""What the sample stores are: name, currency, time zone, and what they like to sell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from catalog_pipeline.demo.garments import COLOURS, KINDS, PATTERNS


@dataclass(frozen=True, slots=True)
class StoreProfile:
    """What makes one store differ from another.

    `kinds` and `colours` are drawn with equal chance from what is listed; list a word twice to
    double it. Prices are in `currency`, between `prices`.
    """

    id: str
    title: str
    currency: str
    time_zone: str
    prices: tuple[int, int]
    kinds: Sequence[str] = tuple(KINDS)
    colours: Sequence[str] = tuple(COLOURS)
    patterns: Sequence[str] = ("plain", "plain", *PATTERNS)
    sku_prefix: str = "SKU"


ATELIER: Final = StoreProfile(
    id="atelier",
    title="Atelier Solène",
    currency="EUR",
    time_zone="Europe/Paris",
    prices=(19, 240),
    kinds=("dress", "dress", "dress", "skirt", "skirt", "shirt", "sweater", "jacket", "trousers",
           "shoes", "bag", "hat", "t-shirt"),
    sku_prefix="ATS",
)  # fmt: skip
NORDHAVN: Final = StoreProfile(
    id="nordhavn",
    title="Nordhavn Tøj & Sko",
    currency="DKK",
    time_zone="Europe/Copenhagen",
    prices=(99, 1800),
    kinds=("t-shirt", "t-shirt", "shirt", "shirt", "sweater", "jacket", "trousers", "shorts",
           "shoes", "hat", "bag"),
    colours=("black", "grey", "navy", "navy", "blue", "green", "brown", "beige", "white", "red",
             "orange", "yellow"),
    sku_prefix="NH",
)  # fmt: skip
DEFAULT_PROFILES: Final = (ATELIER, NORDHAVN)
