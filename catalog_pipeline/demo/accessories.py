"""Outlines of hats, shoes and bags."""

from __future__ import annotations

from random import Random

from catalog_pipeline.demo.shapes import Area, Knob, Line, Point, Stroke, ellipse, mirrored, smooth


def hat(rng: Random) -> list[Stroke]:
    """A hat with a brim, or a cap."""
    if rng.random() < 0.5:
        brim = ellipse((0.5, 0.64), rng.uniform(0.36, 0.43), rng.uniform(0.085, 0.12))
        crown = smooth(
            [
                (0.295, 0.64),
                (0.31, 0.47),
                (0.37, 0.34),
                (0.46, 0.345),
                (0.54, 0.345),
                (0.63, 0.34),
                (0.69, 0.47),
                (0.705, 0.64),
            ]
        )
        lower = smooth([(0.705, 0.62), (0.5, 0.695), (0.295, 0.62)])
        upper = smooth([(0.30, 0.55), (0.5, 0.622), (0.70, 0.55)])
        return [
            Area(brim, shade=0.85),
            Line([*brim, brim[0]], 0.005, 0.25),
            Area([*crown, *lower]),
            Area([*upper, *lower], "dark"),
            Line(smooth([(0.44, 0.36), (0.5, 0.42), (0.56, 0.36)]), 0.014, 0.25),
        ]
    crown = smooth(
        [(0.22, 0.60), (0.24, 0.40), (0.38, 0.27), (0.56, 0.28), (0.68, 0.42), (0.70, 0.60)]
    )
    peak = smooth(
        [(0.42, 0.585), (0.70, 0.555), (0.90, 0.645), (0.86, 0.70), (0.62, 0.645)], closed=True
    )
    base = smooth([(0.70, 0.60), (0.46, 0.655), (0.22, 0.60)])
    return [
        Area([*crown, *base]),
        Area(peak, shade=0.8),
        Line([*peak, peak[0]], 0.005, 0.4),
        Line(smooth([(0.47, 0.27), (0.44, 0.42), (0.45, 0.62)]), 0.005, 0.3),
        Line(smooth([(0.47, 0.27), (0.60, 0.40), (0.63, 0.60)]), 0.005, 0.3),
        Line(smooth([(0.47, 0.27), (0.31, 0.40), (0.29, 0.61)]), 0.005, 0.3),
        Knob((0.47, 0.268), 0.018, "plain"),
    ]


def shoes(rng: Random) -> list[Stroke]:
    """A pair of sneakers or pumps."""
    heel = rng.random() < 0.4
    strokes: list[Stroke] = []
    for dx, dy, shade in ((0.06, -0.16, 0.88), (-0.03, 0.10, 1.0)):

        def at(x: float, y: float, dx: float = dx, dy: float = dy) -> Point:
            return x + dx, y + dy

        if heel:
            upper = smooth(
                [
                    at(0.16, 0.46),
                    at(0.20, 0.42),
                    at(0.30, 0.55),
                    at(0.48, 0.60),
                    at(0.66, 0.575),
                    at(0.80, 0.62),
                    at(0.86, 0.675),
                    at(0.80, 0.70),
                ]
            )
            under = smooth([at(0.60, 0.70), at(0.40, 0.67), at(0.24, 0.56), at(0.17, 0.54)])
            strokes += [
                Area([at(0.165, 0.50), at(0.235, 0.55), at(0.205, 0.71), at(0.18, 0.71)], "dark"),
                Area([*upper, *under], shade=shade),
                Line([*upper, *under], 0.004, 0.35),
                Line([at(0.86, 0.688), at(0.60, 0.703), at(0.40, 0.675)], 0.012, 0.6),
            ]
            continue
        upper = smooth(
            [
                at(0.15, 0.64),
                at(0.15, 0.45),
                at(0.19, 0.41),
                at(0.27, 0.455),
                at(0.37, 0.43),
                at(0.52, 0.54),
                at(0.72, 0.575),
                at(0.84, 0.625),
                at(0.86, 0.665),
            ]
        )
        sole = smooth(
            [
                at(0.14, 0.655),
                at(0.50, 0.665),
                at(0.87, 0.65),
                at(0.88, 0.70),
                at(0.50, 0.715),
                at(0.15, 0.71),
            ],
            closed=True,
        )
        strokes += [
            Area(upper, shade=shade),
            Area(sole, "light", shade),
            Line([*sole, sole[0]], 0.004, 0.3),
            Line(smooth([at(0.68, 0.575), at(0.72, 0.62), at(0.74, 0.66)]), 0.005, 0.35),
            Line(smooth([at(0.16, 0.52), at(0.25, 0.55), at(0.27, 0.65)]), 0.005, 0.3),
        ]
        for step in range(4):
            x, y = 0.40 + step * 0.055, 0.475 + step * 0.03
            strokes.append(Line([at(x, y), at(x - 0.04, y + 0.055)], 0.013, -0.8))
    return strokes


def bag(rng: Random) -> list[Stroke]:
    """A handbag with or without a flap."""
    top, wide = rng.uniform(0.38, 0.46), rng.uniform(0.27, 0.34)
    rise = rng.uniform(0.10, 0.16)
    handle = smooth(
        [
            (0.5 - wide * 0.55, top + 0.03),
            (0.5 - wide * 0.45, rise + 0.07),
            (0.5, rise),
            (0.5 + wide * 0.45, rise + 0.07),
            (0.5 + wide * 0.55, top + 0.03),
        ]
    )
    inner = [(0.5 + (x - 0.5) * 0.87, y + 0.035) for x, y in handle]
    body = mirrored(
        [
            *smooth(
                [
                    (0.5 + wide * 0.86, top),
                    (0.5 + wide * 0.94, top + 0.12),
                    (0.5 + wide, 0.74),
                    (0.5 + wide * 0.93, 0.80),
                ]
            )
        ]
    )
    strokes: list[Stroke] = [Area([*handle, *reversed(inner)], "plain", 0.75), Area(body)]
    if rng.random() < 0.6:
        flap = mirrored(
            smooth(
                [
                    (0.5 + wide * 0.88, top - 0.006),
                    (0.5 + wide * 0.9, top + 0.10),
                    (0.5 + wide * 0.6, top + 0.19),
                    (0.5, top + 0.215),
                ]
            )
        )
        strokes += [
            Area(flap, shade=0.9),
            Line(flap, 0.005, 0.4),
            Knob((0.5, top + 0.19), 0.022, "metal"),
        ]
    else:
        strokes += [
            Line([(0.5 - wide * 0.87, top + 0.035), (0.5 + wide * 0.87, top + 0.035)], 0.008, 0.4)
        ]
        strokes += [
            Knob((0.5 + side * wide * 0.55, top + 0.05), 0.012, "metal") for side in (-1, 1)
        ]
    strokes.append(Line([(0.5 - wide * 0.97, 0.77), (0.5 + wide * 0.97, 0.77)], 0.004, 0.3))
    return strokes
