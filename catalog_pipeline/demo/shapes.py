"""What a garment is drawn with: areas, lines and knobs in a unit square, and curves to shape them.

A garment is a list of strokes in drawing order; who paints them, in what colour and pattern, and
onto what, is decided elsewhere. Coordinates: x to the right, y downwards, both 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]
Paint = Literal["cloth", "plain", "inside", "light", "dark", "metal"]


@dataclass(frozen=True, slots=True)
class Area:
    """A filled outline; `shade` multiplies its brightness (1 leaves it as it is)."""

    points: list[Point]
    paint: Paint = "cloth"
    shade: float = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """A seam, fold or edge; `depth` is how much darker (negative: lighter) it is than the cloth."""

    points: list[Point]
    width: float = 0.004
    depth: float = 0.3


@dataclass(frozen=True, slots=True)
class Knob:
    """A button or clasp: a small disc."""

    centre: Point
    radius: float
    paint: Paint = "light"


Stroke = Area | Line | Knob


def smooth(points: Sequence[Point], steps: int = 8, *, closed: bool = False) -> list[Point]:
    """A Catmull-Rom curve through the points."""
    count = len(points)
    spans = count if closed else count - 1
    curve: list[Point] = []
    for span in range(spans):
        neighbours = [span - 1, span, span + 1, span + 2]
        if closed:
            p0, p1, p2, p3 = (points[i % count] for i in neighbours)
        else:
            p0, p1, p2, p3 = (points[min(max(i, 0), count - 1)] for i in neighbours)
        for step in range(steps):
            t = step / steps
            a, b, c, d = (
                -t + 2 * t**2 - t**3,
                2 - 5 * t**2 + 3 * t**3,
                t + 4 * t**2 - 3 * t**3,
                t**3 - t**2,
            )
            curve.append(
                (
                    (a * p0[0] + b * p1[0] + c * p2[0] + d * p3[0]) / 2,
                    (a * p0[1] + b * p1[1] + c * p2[1] + d * p3[1]) / 2,
                )
            )
    if not closed:
        curve.append(points[-1])
    return curve


def mirrored(half: Sequence[Point]) -> list[Point]:
    """The whole outline of a symmetric garment from its right half, top to bottom."""
    return [*half, *((1 - x, y) for x, y in reversed(half))]


def flipped(points: Sequence[Point]) -> list[Point]:
    """The same outline on the other side of the vertical axis."""
    return [(1 - x, y) for x, y in points]


def ellipse(centre: Point, rx: float, ry: float) -> list[Point]:
    """An ellipse as a polygon."""
    x, y = centre
    corners = [(x + rx, y), (x + rx * 0.707, y + ry * 0.707), (x, y + ry)]
    corners += [(x - rx * 0.707, y + ry * 0.707), (x - rx, y), (x - rx * 0.707, y - ry * 0.707)]
    corners += [(x, y - ry), (x + rx * 0.707, y - ry * 0.707)]
    return smooth(corners, 6, closed=True)
