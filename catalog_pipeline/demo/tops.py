"""Outlines of what is worn on the upper body, dresses included."""

from __future__ import annotations

from random import Random

from catalog_pipeline.demo.shapes import Area, Knob, Line, Point, Stroke, flipped, mirrored, smooth


def _sleeves(length: float, spread: float, cuff: float) -> list[Stroke]:
    """Two sleeves from the shoulder; `length` and `spread` move the wrist, `cuff` is its width."""
    wrist = (0.70 + spread, 0.22 + length)
    right = [
        (0.635, 0.175),
        (0.715, 0.235),
        (wrist[0] + cuff * 0.85, wrist[1] - cuff * 0.35),
        (wrist[0] - cuff * 0.35, wrist[1] + cuff * 0.12),
        (0.645, 0.40),
    ]
    return [Area(right, shade=0.93), Area(flipped(right), shade=0.9)]


def _neckline(depth: float, width: float) -> list[Stroke]:
    """The hole of a round neck with its rib, the inside of the back showing through."""
    hole = [(0.5 - width, 0.155), (0.5 - width * 0.6, 0.155 + depth * 0.75), (0.5, 0.155 + depth)]
    hole += [(0.5 + width * 0.6, 0.155 + depth * 0.75), (0.5 + width, 0.155)]
    curve = smooth(hole)
    back = smooth([(0.5 + width, 0.155), (0.5, 0.172), (0.5 - width, 0.155)])
    return [Area([*curve, *back], paint="inside"), Line(curve, 0.014, 0.16)]


def _torso(hem: float, waist: float, bottom: float) -> list[Point]:
    """The body of an upper garment: `waist` and `bottom` are half widths, `hem` its lower edge."""
    half = [(0.595, 0.15), (0.645, 0.18), (0.655, 0.27), (0.643, 0.36)]
    half += [(0.5 + waist, 0.36 + (hem - 0.36) * 0.45), (0.5 + bottom, hem)]
    return mirrored([*smooth(half), (0.5 + bottom * 0.5, hem + 0.012)])


def dress(rng: Random) -> list[Stroke]:
    """A dress with straps, short or long sleeves."""
    hem, flare = rng.uniform(0.80, 0.93), rng.uniform(0.17, 0.29)
    waist = rng.uniform(0.095, 0.12)
    strokes: list[Stroke] = []
    style = rng.choice(("straps", "short", "long"))
    if style == "straps":
        strap = [(0.413, 0.07), (0.437, 0.07), (0.441, 0.2), (0.409, 0.2)]
        strokes += [Area(strap, shade=0.9), Area(flipped(strap), shade=0.9)]
        top = [(0.5, 0.185), (0.56, 0.165), (0.607, 0.165), (0.625, 0.27)]
    else:
        strokes += _sleeves(0.10 if style == "short" else 0.36, 0.06, 0.075)
        top = [(0.575, 0.14), (0.635, 0.17), (0.64, 0.27)]
    half = [
        *top,
        *smooth(
            [
                (0.625, 0.30),
                (0.5 + waist, 0.41),
                (0.5 + waist * 1.5, 0.52),
                (0.5 + flare * 0.82, 0.52 + (hem - 0.52) * 0.6),
                (0.5 + flare, hem),
            ]
        ),
    ]
    half += [(0.5 + flare * 0.5, hem + 0.02)]
    strokes.append(Area(mirrored(half)))
    if style != "straps":
        strokes += _neckline(rng.uniform(0.06, 0.12), 0.072)
    strokes.append(Line([(0.5 - waist, 0.412), (0.5, 0.424), (0.5 + waist, 0.412)], 0.008, 0.3))
    for share in (-0.7, -0.35, 0.0, 0.35, 0.7):
        foot = 0.5 + flare * share * 0.9
        strokes.append(
            Line(
                smooth([(0.5 + waist * share, 0.45), (foot, hem * 0.78), (foot + 0.01, hem)]),
                0.007,
                rng.uniform(0.08, 0.2),
            )
        )
    return strokes


def t_shirt(rng: Random) -> list[Stroke]:
    """A T-shirt."""
    hem = rng.uniform(0.76, 0.84)
    strokes = _sleeves(rng.uniform(0.17, 0.22), rng.uniform(0.02, 0.06), 0.10)
    strokes.append(Area(_torso(hem, rng.uniform(0.14, 0.155), rng.uniform(0.15, 0.17))))
    strokes += _neckline(rng.uniform(0.05, 0.10), 0.085)
    strokes.append(Line([(0.345, hem - 0.022), (0.655, hem - 0.022)], 0.003, 0.25))
    return strokes


def shirt(rng: Random) -> list[Stroke]:
    """A shirt with collar and buttons."""
    hem = rng.uniform(0.80, 0.87)
    strokes = _sleeves(rng.uniform(0.44, 0.5), rng.uniform(0.03, 0.07), 0.07)
    strokes.append(Area(_torso(hem, 0.142, rng.uniform(0.15, 0.165))))
    strokes.append(
        Area(
            smooth([(0.43, 0.15), (0.5, 0.20), (0.57, 0.15), (0.5, 0.125)], closed=True),
            paint="inside",
        )
    )
    collar = [(0.412, 0.125), (0.5, 0.225), (0.452, 0.275), (0.388, 0.165)]
    strokes += [Area(collar, shade=1.06), Area(flipped(collar), shade=1.02)]
    strokes += [
        Line([*collar, collar[0]], 0.004, 0.35),
        Line([*flipped(collar), flipped(collar)[0]], 0.004, 0.35),
    ]
    strokes += [
        Line([(0.484, 0.23), (0.484, hem)], 0.004, 0.3),
        Line([(0.518, 0.24), (0.518, hem)], 0.003, 0.2),
    ]
    strokes += [Knob((0.501, 0.275 + step * 0.085), 0.0085) for step in range(6)]
    if rng.random() < 0.7:
        pocket = [(0.555, 0.34), (0.625, 0.34), (0.625, 0.42), (0.59, 0.435), (0.555, 0.42)]
        strokes.append(Line([*pocket, pocket[0]], 0.004, 0.3))
    return strokes


def sweater(rng: Random) -> list[Stroke]:
    """A sweater with ribs."""
    hem = rng.uniform(0.76, 0.82)
    strokes = _sleeves(rng.uniform(0.42, 0.48), rng.uniform(0.05, 0.1), 0.085)
    strokes.append(Area(_torso(hem, 0.165, 0.155)))
    rib = [(0.345, hem - 0.05), (0.655, hem - 0.05), (0.64, hem + 0.012), (0.36, hem + 0.012)]
    strokes.append(Area(rib, shade=0.86))
    strokes += [
        Line([(0.35 + i * 0.0125, hem - 0.048), (0.352 + i * 0.0122, hem + 0.01)], 0.004, 0.22)
        for i in range(1, 25)
    ]
    neck = _neckline(rng.uniform(0.04, 0.06), 0.082)
    strokes += neck
    collar = neck[1]
    if isinstance(collar, Line):
        strokes.append(Line(collar.points, 0.03, 0.14))
    return strokes


def jacket(rng: Random) -> list[Stroke]:
    """A jacket or coat with lapels."""
    hem = rng.uniform(0.80, 0.92)
    strokes = _sleeves(rng.uniform(0.46, 0.52), rng.uniform(0.05, 0.08), 0.085)
    strokes.append(Area(_torso(hem, 0.16, rng.uniform(0.165, 0.19))))
    opening = [(0.425, 0.15), (0.5, 0.42), (0.575, 0.15), (0.5, 0.128)]
    strokes.append(Area(opening, paint="inside"))
    lapel = [
        (0.425, 0.13),
        (0.388, 0.175),
        (0.375, 0.26),
        (0.415, 0.275),
        (0.402, 0.30),
        (0.5, 0.44),
        (0.465, 0.29),
    ]
    for side in (lapel, flipped(lapel)):
        strokes += [Area(side, shade=0.84), Line([*side, side[0]], 0.004, 0.45)]
    strokes.append(Line([(0.5, 0.44), (0.5, hem)], 0.008, 0.55))
    if rng.random() < 0.5:
        strokes += [Knob((0.522, 0.48 + i * 0.085), 0.012, "dark") for i in range(3)]
    else:
        strokes += [Line([(0.506, 0.44), (0.506, hem)], 0.003, -0.5)]
    for x in (0.36, 0.56):
        flap = [(x, 0.60), (x + 0.085, 0.60), (x + 0.085, 0.625), (x, 0.625)]
        strokes += [Area(flap, shade=0.8), Line([*flap, flap[0]], 0.004, 0.4)]
    return strokes
