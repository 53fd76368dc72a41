"""The words of the sample catalogue: kinds, colours and patterns of garments, and captions of them.

One vocabulary for titles, captions and pictures, so that what a picture shows is what its product
says. How a garment is drawn does not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Rgb = tuple[int, int, int]

COLOURS: Final[dict[str, Rgb]] = {
    "black": (34, 34, 38),
    "white": (244, 243, 240),
    "grey": (140, 143, 148),
    "navy": (32, 44, 92),
    "blue": (48, 108, 196),
    "red": (196, 38, 44),
    "green": (46, 128, 74),
    "yellow": (236, 196, 44),
    "orange": (230, 124, 38),
    "pink": (236, 144, 172),
    "purple": (116, 66, 152),
    "brown": (116, 74, 46),
    "beige": (210, 188, 152),
}

PATTERNS: Final[tuple[str, ...]] = ("plain", "striped", "dotted", "checked", "floral")

# Per kind: the category that a shop files it under, and whether English speaks of it in the plural.
KINDS: Final[dict[str, tuple[str, bool]]] = {
    "dress": ("Dresses", False),
    "t-shirt": ("T-shirts", False),
    "shirt": ("Shirts", False),
    "sweater": ("Knitwear", False),
    "jacket": ("Jackets & Coats", False),
    "trousers": ("Trousers", True),
    "shorts": ("Shorts", True),
    "skirt": ("Skirts", False),
    "hat": ("Hats", False),
    "shoes": ("Shoes", True),
    "bag": ("Bags", False),
}


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a garment is: one of `KINDS`, one of `COLOURS`, one of `PATTERNS`."""

    kind: str
    colour: str
    pattern: str

    def __post_init__(self) -> None:
        """Refuse words outside the vocabulary: a picture of them could not be drawn."""
        for word, known in (
            (self.kind, KINDS),
            (self.colour, COLOURS),
            (self.pattern, PATTERNS),
        ):
            if word not in known:
                raise ValueError(f"{word!r} is not one of {', '.join(known)}")

    @property
    def words(self) -> str:
        """The garment in words, such as `striped blue dress`; a plain one does not say so."""
        return (
            " ".join(
                word
                for word in (self.pattern if self.pattern != "plain" else "", self.colour)
                if word
            )
            + f" {self.kind}"
        )

    @property
    def title(self) -> str:
        """The garment as a shop would call it, such as `Striped Blue Dress`."""
        return "-".join(part[:1].upper() + part[1:] for part in self.words.title().split("-"))


def caption(attributes: Attributes) -> str:
    """The plainest caption: `a striped blue dress`, `a pair of red shoes`."""
    _, plural = KINDS[attributes.kind]
    if plural:
        return f"a pair of {attributes.words}"
    article = "an" if attributes.words[0] in "aeiou" else "a"
    return f"{article} {attributes.words}"


def captions(attributes: Attributes) -> tuple[str, ...]:
    """Different ways to say the same, the plainest first."""
    plain = caption(attributes)
    return (
        plain,
        attributes.words,
        f"a photo of {plain}",
        f"{plain} on a light background",
        f"{attributes.kind} in {attributes.colour}"
        + (f", {attributes.pattern}" if attributes.pattern != "plain" else ""),
    )
