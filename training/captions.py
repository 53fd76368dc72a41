"""What people call the garments of the sample catalogue: a caption for all that is said of one.

A caption says the kind, the colour, the pattern, or several of them. Who says nothing of a pattern
but names kind and colour means a plain garment, as shops do. How garments are drawn, and what a
model makes of the words, belong elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Final

from catalog_pipeline.demo.garments import COLOURS, KINDS, PATTERNS, Attributes, captions

_KIND_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "t-shirt": ("t-shirt", "t-shirt", "tshirt", "tee"),
    "sweater": ("sweater", "sweater", "jumper", "pullover", "knitwear"),
    "jacket": ("jacket", "jacket", "coat"),
    "trousers": ("trousers", "trousers", "pants"),
    "shoes": ("shoes", "shoes", "sneakers"),
    "bag": ("bag", "bag", "handbag"),
}
_COLOUR_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "grey": ("grey", "grey", "gray"),
    "navy": ("navy", "navy", "navy blue", "dark blue"),
    "purple": ("purple", "purple", "violet"),
}
_PATTERN_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "plain": ("plain", "plain", "solid"),
    "striped": ("striped", "striped", "stripy"),
    "dotted": ("dotted", "dotted", "polka dot", "spotted"),
    "checked": ("checked", "checked", "checkered", "plaid"),
    "floral": ("floral", "floral", "flowery", "flowered"),
}
_PATTERN_NOUNS: Final[dict[str, tuple[str, ...]]] = {
    "plain": ("one colour", "no pattern"),
    "striped": ("stripes",),
    "dotted": ("dots", "polka dots", "spots"),
    "checked": ("checks", "a checked pattern"),
    "floral": ("flowers", "a floral print"),
}
_OPENINGS: Final = ("", "", "", "a ", "a ", "the ", "a photo of a ", "a picture of a ", "women's ")
_PLURAL_OPENINGS: Final = ("", "", "", "a pair of ", "the ", "a photo of ", "men's ")


@dataclass(frozen=True, slots=True)
class Said:
    """What a caption tells: None where it says nothing."""

    kind: str | None = None
    colour: str | None = None
    pattern: str | None = None

    def holds_for(self, look: Attributes) -> bool:
        """Whether a garment is what was said."""
        return (
            self.kind in (None, look.kind)
            and self.colour in (None, look.colour)
            and self.pattern in (None, look.pattern)
        )


EVERY_LOOK: Final = tuple(Attributes(*words) for words in product(KINDS, COLOURS, PATTERNS))

# Within each group exactly one is true of any garment.
GROUPS: Final[tuple[tuple[Said, ...], ...]] = (
    tuple(Said(look.kind, look.colour, look.pattern) for look in EVERY_LOOK),
    tuple(Said(kind=kind) for kind in KINDS),
    tuple(Said(colour=colour) for colour in COLOURS),
    tuple(Said(pattern=pattern) for pattern in PATTERNS),
    tuple(Said(kind, None, pattern) for kind, pattern in product(KINDS, PATTERNS)),
    tuple(Said(None, colour, pattern) for colour, pattern in product(COLOURS, PATTERNS)),
)


def caption_of(said: Said, rng: Random) -> str:
    """One of the ways to say it."""
    if said.kind and said.colour and said.pattern and rng.random() < 0.4:
        return rng.choice(captions(Attributes(said.kind, said.colour, said.pattern)))
    colour = _word(_COLOUR_WORDS, said.colour, rng)
    pattern = _word(_PATTERN_WORDS, said.pattern, rng)
    if said.kind is None:
        return _without_kind(said, colour, pattern, rng)
    kind = _word(_KIND_WORDS, said.kind, rng)
    opening = rng.choice(_PLURAL_OPENINGS if KINDS[said.kind][1] else _OPENINGS)
    if said.pattern == "plain" and said.colour and rng.random() < 0.6:
        return _joined(opening, colour, kind)
    if said.pattern and rng.random() < 0.35:
        noun = rng.choice(_PATTERN_NOUNS[said.pattern])
        return _joined(opening, colour, kind, rng.choice(("with", "with", "in", ",")), noun)
    words = [pattern, colour] if rng.random() < 0.75 else [colour, pattern]
    return _joined(opening, *words, kind)


def _without_kind(said: Said, colour: str, pattern: str, rng: Random) -> str:
    if said.pattern and rng.random() < 0.4:
        return _joined("", colour, rng.choice(_PATTERN_NOUNS[said.pattern]))
    ending = rng.choice(("", "", "clothes", "garment", "something"))
    if ending == "something":
        return _joined("something ", pattern, colour)
    return _joined("", pattern, colour, ending)


def _word(words: dict[str, tuple[str, ...]], name: str | None, rng: Random) -> str:
    if name is None:
        return ""
    return rng.choice(words.get(name, (name,)))


def _joined(opening: str, *words: str) -> str:
    return opening + " ".join(word for word in words if word)


def every_caption(rng: Random) -> list[str]:
    """A caption for everything that can be said, in the order of `GROUPS`."""
    return [caption_of(said, rng) for group in GROUPS for said in group]
