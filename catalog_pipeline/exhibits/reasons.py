"""Why the gate rejects a picture, in words that fit below one.

What can be wrong, and where the thresholds lie, is decided in `images/quality.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from catalog_pipeline.images.quality import Issue

# A value that differs from its threshold only beyond these decimals is written in full.
_MOST_DECIMALS: Final = 9


@dataclass(frozen=True)
class _Measure:
    """How a measurement is told: `{}` stands for the value, in units of `scale`."""

    words: str
    scale: int = 1


_MEASURES: Final[Mapping[str, _Measure]] = {
    Issue.TOO_MANY_BYTES: _Measure("{} MB", 1_000_000),
    Issue.TOO_MANY_PIXELS: _Measure("{} megapixels", 1_000_000),
    Issue.EXTREME_ASPECT: _Measure("sides {} to 1"),
    Issue.TOO_SMALL: _Measure("shorter side {} px"),
    Issue.BLANK: _Measure("detail {}"),
    Issue.TOO_DARK: _Measure("brightest {} of 255"),
    Issue.TOO_BRIGHT: _Measure("darkest {} of 255"),
    Issue.LOW_CONTRAST: _Measure("contrast {}"),
    Issue.BLURRY: _Measure("sharpness {}"),
}
_UNKNOWN: Final = _Measure("measured {}")


def missed(
    issue: str, measured: float | str | None, threshold: float | None, *, is_past: bool = False
) -> str:
    """What was measured and what would have been enough; empty where the issue says it all.

    Args:
        issue: as the gate names it.
        measured: the value, or what the decoder said.
        threshold: that the value missed.
        is_past: whether another threshold has taken its place.
    """
    if isinstance(measured, str):
        return _plainly(measured)
    if measured is None or threshold is None or measured == threshold:
        return ""
    measure = _MEASURES.get(issue, _UNKNOWN)
    is_below = measured < threshold
    wanted = ("needed" if is_past else "needs") if is_below else f"{'was ' * is_past}at most"
    value, limit = (Decimal(str(one)) / measure.scale for one in (measured, threshold))
    return f"{measure.words.format(_told_apart(value, limit))}, {wanted} {_exact(limit)}"


def _told_apart(value: Decimal, limit: Decimal) -> str:
    """The value with about as many decimals as the limit, and more where it would look the same."""
    decimals = max(1, len(_exact(limit).partition(".")[2]))
    for places in range(decimals, _MOST_DECIMALS + 1):
        rounded = round(value, places)
        # Nothing is called none unless it is.
        if rounded != limit and (rounded or not value):
            return _exact(rounded)
    return _exact(value)


def _exact(value: Decimal) -> str:
    return f"{value.normalize():,f}"


def _plainly(said: str) -> str:
    """What was said of bytes that cannot be decoded; decoders speak to programmers."""
    _, separator, complaint = said.partition(": ")
    if not separator:
        return said
    return "the file ends too early" if "truncated" in complaint.lower() else "the file is damaged"
