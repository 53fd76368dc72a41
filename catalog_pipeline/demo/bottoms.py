"""Outlines of trousers, shorts and skirts."""

from __future__ import annotations

from random import Random

from catalog_pipeline.demo.shapes import Area, Knob, Line, Point, Stroke, flipped, mirrored, smooth


def _legs(rng: Random, hem: float, width: float) -> list[Stroke]:
    top, foot = 0.135, rng.uniform(0.015, 0.05)
    half = smooth(
        [
            (0.615, 0.11),
            (0.645, 0.26),
            (0.5 + foot + width * 1.7, hem * 0.62 + 0.1),
            (0.5 + foot + width * 1.75, hem),
        ]
    )
    half += [(0.5 + foot, hem + 0.006), (0.508, 0.36)]
    strokes: list[Stroke] = [Area(mirrored(half))]
    band = [(0.383, 0.105), (0.617, 0.105), (0.622, top + 0.015), (0.378, top + 0.015)]
    strokes += [Area(band, shade=0.84), Line([(0.378, top + 0.015), (0.622, top + 0.015)], 0.004)]
    strokes += [
        Line([(0.5, 0.11), (0.5, 0.36)], 0.005, 0.35),
        Line(smooth([(0.535, 0.155), (0.53, 0.24), (0.5, 0.275)]), 0.003, 0.25),
    ]
    pocket = smooth([(0.625, 0.155), (0.60, 0.20), (0.638, 0.235)])
    strokes += [Line(pocket, 0.004, 0.35), Line(flipped(pocket), 0.004, 0.35)]
    for x in (0.43, 0.57):
        strokes.append(
            Area(
                [(x - 0.007, 0.1), (x + 0.007, 0.1), (x + 0.007, 0.155), (x - 0.007, 0.155)],
                shade=0.74,
            )
        )
    return [*strokes, Knob((0.5, 0.128), 0.009, "metal")]


def trousers(rng: Random) -> list[Stroke]:
    """A pair of trousers."""
    hem, width = rng.uniform(0.89, 0.93), rng.uniform(0.05, 0.085)
    strokes = _legs(rng, hem, width)
    crease = [(0.575, 0.28), (0.5 + width * 1.45, hem * 0.6), (0.52 + width, hem)]
    return [*strokes, Line(crease, 0.004, 0.16), Line(flipped(crease), 0.004, 0.16)]


def shorts(rng: Random) -> list[Stroke]:
    """A pair of shorts."""
    strokes = _legs(rng, rng.uniform(0.46, 0.56), rng.uniform(0.07, 0.085))
    # Shorts alone would sit in the upper half of the picture and look cut off.
    return [_stretched(stroke, 1.3, 0.03) for stroke in strokes]


def _stretched(stroke: Stroke, factor: float, drop: float) -> Stroke:
    """A stroke made wider and higher about the top centre, then lowered."""

    def move(point: Point) -> Point:
        return 0.5 + (point[0] - 0.5) * factor, point[1] * factor + drop

    if isinstance(stroke, Knob):
        return Knob(move(stroke.centre), stroke.radius * factor, stroke.paint)
    points = [move(point) for point in stroke.points]
    if isinstance(stroke, Line):
        return Line(points, stroke.width, stroke.depth)
    return Area(points, stroke.paint, stroke.shade)


def skirt(rng: Random) -> list[Stroke]:
    """A pleated skirt."""
    hem, flare = rng.uniform(0.70, 0.86), rng.uniform(0.24, 0.34)
    half = smooth(
        [(0.62, 0.17), (0.655, 0.32), (0.5 + flare * 0.85, hem * 0.75), (0.5 + flare, hem)]
    )
    half += [(0.5 + flare * 0.5, hem + 0.028)]
    strokes: list[Stroke] = [Area(mirrored(half))]
    for i in range(-3, 4):
        share = i / 3.6
        strokes.append(
            Line(
                smooth(
                    [
                        (0.5 + 0.11 * share, 0.2),
                        (0.5 + flare * share * 0.75, hem * 0.7),
                        (0.5 + flare * share, hem + 0.015),
                    ]
                ),
                0.009,
                rng.uniform(0.1, 0.24),
            )
        )
    band = [(0.378, 0.125), (0.622, 0.125), (0.625, 0.18), (0.375, 0.18)]
    return [*strokes, Area(band, shade=0.82), Line([(0.375, 0.18), (0.625, 0.18)], 0.004, 0.35)]
