"""Studio photographs of garments, drawn: one picture for a kind, a colour, a pattern and a seed.

The same arguments give the same pixels (with the same Pillow and numpy). Drawing 800 pixels square
must stay within some 15 ms, since the demo and the benchmarks wait for it; so everything soft is
drawn small and scaled up, and only the outline is drawn large and scaled down. Pictures that a
quality gate should refuse are made elsewhere.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from functools import lru_cache
from random import Random
from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from catalog_pipeline.demo.garments import COLOURS, Attributes, Rgb
from catalog_pipeline.demo.outlines import OUTLINES
from catalog_pipeline.demo.patterns import blended, cloth, luminance, varied
from catalog_pipeline.demo.shapes import Area, Knob, Line, Paint, Point, Stroke

DEFAULT_SIZE: Final = 800
_NEUTRAL: Final = 236  # the shade that leaves room for highlights
_LIFT: Final = 1.12
_SOFT: Final = 8  # soft things are drawn at this fraction of the size
_BACKDROPS: Final[tuple[Rgb, ...]] = (
    (244, 243, 241),
    (232, 234, 237),
    (239, 233, 224),
    (226, 232, 231),
    (236, 229, 232),
    (222, 226, 234),
)


def picture(
    kind: str, colour: str, pattern: str, seed: int, size: int = DEFAULT_SIZE
) -> Image.Image:
    """The garment as an RGB picture, `size` pixels square.

    Raises:
        ValueError: a word is not in the vocabulary of `garments`, or the size is below 16.
    """
    attributes = Attributes(kind, colour, pattern)
    if size < 16:
        raise ValueError(f"a picture of {size} pixels cannot show a garment; use at least 16")
    rng = Random(f"{seed}:{attributes.words}")  # noqa: S311 - drawing, not cryptography
    # Shade and folds take brightness away again.
    main = varied(blended((0, 0, 0), COLOURS[colour], _LIFT), rng)
    place = _placement(rng)
    strokes = OUTLINES[kind](rng)
    garment = _Garment(main, cloth(pattern, main, rng, size), rng, size)
    for stroke in strokes:
        garment.draw(_placed(stroke, place))
    mask = garment.mask.reduce(2)
    scene = _backdrop(main, garment.mask, rng, size)
    box = mask.getbbox()
    if box is not None:
        scene.paste(garment.finished(box), box, mask.crop(box))
    return _grained(scene, rng)


def encoded(image: Image.Image, quality: int = 86) -> bytes:
    """The picture as JPEG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


class _Garment:
    """The layers of one garment while it is drawn: outline, colour and shade."""

    def __init__(self, main: Rgb, field: Image.Image, rng: Random, size: int) -> None:
        self.size = size
        self.main = main
        self.rng = rng
        self.field = field
        self.colour = field.copy()
        self.shade = Image.new("L", (size, size), _NEUTRAL)
        # Twice the size, so that scaling down gives the outline its soft edge.
        self.mask = Image.new("L", (size * 2, size * 2), 0)
        self._on_colour = ImageDraw.Draw(self.colour)
        self._on_shade = ImageDraw.Draw(self.shade)
        self._on_mask = ImageDraw.Draw(self.mask)
        self._painted_over = False
        self._dark = luminance(main) < 62

    def draw(self, stroke: Stroke) -> None:
        if isinstance(stroke, Line):
            self._line(stroke)
            return
        if isinstance(stroke, Knob):
            x, y = stroke.centre
            r = stroke.radius
            corners = [
                (x + r * math.cos(a / 8 * math.pi), y + r * math.sin(a / 8 * math.pi))
                for a in range(16)
            ]
            self._line(Line([*corners, corners[0]], r * 0.7, 0.35))
            stroke = Area(corners, stroke.paint)
        self._area(stroke)

    def _line(self, line: Line) -> None:
        points = self._pixels(line.points)
        width = max(1, round(line.width * self.size))
        if self._dark and line.depth > 0:
            # Nothing is darker than black cloth: its seams catch the light instead.
            lighter = blended(self.main, (150, 150, 160), line.depth * 0.75)
            self._on_colour.line(points, fill=lighter, width=width, joint="curve")
            self._painted_over = True
            return
        shade = min(255, round(_NEUTRAL * (1 - line.depth)))
        if line.depth < 0:
            light = blended(self.main, (244, 242, 236), min(1.0, -line.depth))
            self._on_colour.line(points, fill=light, width=width, joint="curve")
            self._painted_over = True
        self._on_shade.line(points, fill=shade, width=width, joint="curve")

    def _area(self, area: Area) -> None:
        points = self._pixels(area.points)
        self._on_mask.polygon([(x * 2, y * 2) for x, y in points], fill=255)
        self._on_shade.polygon(points, fill=min(255, round(_NEUTRAL * area.shade)))
        if area.paint != "cloth":
            self._on_colour.polygon(points, fill=self._paint(area.paint))
            self._painted_over = True
        elif self._painted_over:
            self._recover(points)

    def _recover(self, points: list[Point]) -> None:
        """Lay cloth over whatever was painted there before."""
        left, top = (max(0, math.floor(min(p[axis] for p in points))) for axis in (0, 1))
        right, bottom = (
            min(self.size, math.ceil(max(p[axis] for p in points)) + 1) for axis in (0, 1)
        )
        if right <= left or bottom <= top:
            return
        patch = Image.new("L", (right - left, bottom - top), 0)
        ImageDraw.Draw(patch).polygon([(x - left, y - top) for x, y in points], fill=255)
        self.colour.paste(self.field.crop((left, top, right, bottom)), (left, top), patch)

    def _paint(self, paint: Paint) -> Rgb:
        if paint == "inside":
            return blended(self.main, (20, 20, 24), 0.45)
        if paint == "light":
            return (240, 238, 232)
        if paint == "dark":
            return blended((46, 42, 42), self.main, 0.25)
        if paint == "metal":
            return (198, 182, 138)
        return self.main

    def _pixels(self, points: Iterable[Point]) -> list[Point]:
        return [(x * self.size, y * self.size) for x, y in points]

    def finished(self, box: tuple[int, int, int, int]) -> Image.Image:
        """Colour under light within the box: the shade of each part times folds over them all."""
        coarse = 7
        # Folds show in what is neither nearly black nor nearly white by themselves.
        depth = 54 if self._dark else 24 if luminance(self.main) > 190 else 38
        folds = Image.new("L", (coarse, coarse))
        folds.putdata([255 - self.rng.randint(0, depth) for _ in range(coarse * coarse)])
        wide = folds.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.BICUBIC)
        light = ImageChops.multiply(self.shade.crop(box), wide)
        return ImageChops.multiply(self.colour.crop(box), Image.merge("RGB", (light,) * 3))


def _placement(rng: Random) -> tuple[float, float, float, float, float]:
    """An affine map (a, b, tx, c, d): turned a little, scaled a little, off the centre a little."""
    angle = math.radians(rng.gauss(0, 2.2))
    scale = rng.uniform(0.84, 1.02)
    widen = rng.uniform(0.94, 1.06)
    return (
        math.cos(angle) * scale * widen,
        math.sin(angle) * scale,
        scale,
        0.5 + rng.uniform(-0.035, 0.035),
        0.5 + rng.uniform(-0.03, 0.03),
    )


def _placed(stroke: Stroke, place: tuple[float, float, float, float, float]) -> Stroke:
    cosine, sine, scale, middle_x, middle_y = place

    def move(point: Point) -> Point:
        x, y = point[0] - 0.5, point[1] - 0.5
        return cosine * x - sine * y + middle_x, sine * x + cosine * y + middle_y

    if isinstance(stroke, Knob):
        return Knob(move(stroke.centre), stroke.radius * scale, stroke.paint)
    points = [move(point) for point in stroke.points]
    if isinstance(stroke, Line):
        return Line(points, stroke.width * scale, stroke.depth)
    return Area(points, stroke.paint, stroke.shade)


def _backdrop(main: Rgb, outline: Image.Image, rng: Random, size: int) -> Image.Image:
    """Paper with a fall of light, and the shadow of the garment (its outline at twice the size)."""
    paper = varied(rng.choice(_BACKDROPS), rng, 5)
    if luminance(main) > 190:
        # A white garment needs a darker paper to be seen at all.
        paper = blended(paper, (128, 134, 142), rng.uniform(0.45, 0.65))
    small = size // _SOFT
    y, x = np.mgrid[0:small, 0:small] / small
    lamp_x, lamp_y = rng.uniform(0.2, 0.8), rng.uniform(-0.1, 0.4)
    light = 1.03 - rng.uniform(0.10, 0.2) * np.hypot(x - lamp_x, y - lamp_y)
    shadow = outline.reduce(2 * _SOFT).crop((0, 0, small, small))
    shadow = ImageChops.offset(
        shadow, round(small * rng.uniform(-0.02, 0.02)), round(small * 0.022)
    )
    shadow = shadow.filter(ImageFilter.GaussianBlur(small * 0.018))
    light *= 1 - np.asarray(shadow) / 255 * rng.uniform(0.28, 0.42)
    lit = np.clip(light[..., None] * np.array(paper), 0, 255).astype(np.uint8)
    return Image.fromarray(lit).resize((size, size), Image.Resampling.BILINEAR)


@lru_cache(maxsize=1)
def _grain() -> Image.Image:
    """Sensor noise and the tooth of cloth, centred on 128; every picture shows a part of it."""
    noise = np.random.default_rng(20_240_229).normal(128, 3.2, (1024, 1024, 1))
    noise = np.repeat(noise, 3, axis=2)
    return Image.fromarray(np.clip(np.rint(noise), 0, 255).astype(np.uint8))


def _grained(scene: Image.Image, rng: Random) -> Image.Image:
    grain = _grain()
    if scene.width > grain.width:
        grain = grain.resize(scene.size)
    left = rng.randint(0, grain.width - scene.width)
    top = rng.randint(0, grain.height - scene.height)
    piece = grain.crop((left, top, left + scene.width, top + scene.height))
    return ImageChops.add(scene, piece, scale=1.0, offset=-128)
