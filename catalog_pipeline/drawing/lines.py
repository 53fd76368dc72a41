"""Lines over time, side by side under one legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from PIL import Image

from catalog_pipeline.drawing.figure import (
    INK,
    OTHER,
    OTHERS,
    PALETTE,
    as_image,
    new_figure,
    plain,
    row_of_axes,
    without_box,
)

_DAY: Final = timedelta(days=1)
# Beyond it, a tick for each day is too many.
_DAYS_WITH_TICKS: Final = 8 * _DAY
# Of what is seen, on either side of it.
_MARGIN: Final = 0.03
_WIDTH: Final = 1.6
_FAINT_WIDTH: Final = 0.8
# By how much a line is wider, in points, for each that would cover it, and for all of them.
_RIM: Final = 2.2
_MOST_RIM: Final = 8.0
# Of the height of a plot: what is nearer than this looks the same.
_SAME: Final = 0.003


@dataclass(frozen=True)
class Line:
    """One thing over time, `moments` in order; a value of None is a gap."""

    name: str
    moments: Sequence[datetime]
    values: Sequence[float | None]

    def by_day(self) -> dict[str, float]:
        """The values that are known."""
        return {
            f"{moment:%Y-%m-%d}": value
            for moment, value in zip(self.moments, self.values, strict=True)
            if value is not None
        }


@dataclass(frozen=True)
class LinePlot:
    """Lines over the same time; those beyond the palette are drawn faint and unnamed."""

    title: str
    lines: Sequence[Line]
    # Shares of one, shown as percentages from none to all.
    is_share: bool = False


def draw_lines(plots: Sequence[LinePlot]) -> Image.Image:
    """The plots side by side under one legend; a name has the same colour in all of them.

    Every plot has at least one line, and a line at least one moment. Lines that lie on each other
    are drawn within each other, the wider ones below.
    """
    names = list(dict.fromkeys(line.name for plot in plots for line in plot.lines))
    colours = dict(zip(names, PALETTE, strict=False))
    figure = new_figure(4.2 * len(plots), 2.9)
    window = _window([one for plot in plots for line in plot.lines for one in line.moments])
    for axes, plot in zip(row_of_axes(figure, len(plots)), plots, strict=True):
        _draw_plot(axes, plot, colours)
        _draw_time(axes, window)
    figure.legend(
        handles=_legend(names, colours),
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=8,
    )
    return as_image(figure)


def _legend(names: Sequence[str], colours: Mapping[str, str]) -> list[Any]:
    """A line for each name, and one for all that have none."""
    from matplotlib.lines import Line2D

    shown = [(plain(name), colours[name], _WIDTH, 4.0) for name in names if name in colours]
    if len(names) > len(shown):
        shown.append((OTHERS, OTHER, _FAINT_WIDTH, 1.0))
    return [
        Line2D([], [], label=label, color=colour, linewidth=width, marker="o", markersize=dot)
        for label, colour, width, dot in shown
    ]


def _window(moments: Sequence[datetime]) -> tuple[datetime, datetime]:
    """All moments, with so much room that a single one is a day among days."""
    first, last = min(moments), max(moments)
    margin = _DAY if last - first < 2 * _DAY else _MARGIN * (last - first)
    return first - margin, last + margin


def _draw_plot(axes: Any, plot: LinePlot, colours: Mapping[str, str]) -> None:
    from matplotlib.ticker import PercentFormatter

    height = 1.0 if plot.is_share else max(_known(plot.lines), default=0.0) or 1.0
    rims = _rims([line for line in plot.lines if line.name in colours], _SAME * height)
    # The named ones last, so that they lie on top.
    for line in sorted(plot.lines, key=lambda line: line.name in colours):
        colour, rim = colours.get(line.name), rims.get(line.name, 0)
        # Dots are all there is of a short history.
        dot = 2.5 + rim if len(line.moments) > 7 else 5 + 1.4 * rim
        axes.plot(
            list(line.moments),
            [np.nan if value is None else value for value in line.values],
            color=colour or OTHER,
            linewidth=_WIDTH + rim if colour else _FAINT_WIDTH,
            marker="o",
            markersize=dot if colour else 1,
            markeredgewidth=0,
        )
    axes.set_title(plot.title, fontsize=9, color=INK, loc="left")
    # From nothing at all, with room for a wide line at either end.
    axes.set_ylim(-0.05 * height, 1.06 * height)
    if plot.is_share:
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    else:
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    without_box(axes)


def _draw_time(axes: Any, window: tuple[datetime, datetime]) -> None:
    from matplotlib import dates

    # Without types of its own.
    ticks: Any = dates
    is_short = window[1] - window[0] <= _DAYS_WITH_TICKS
    locator = ticks.DayLocator() if is_short else ticks.AutoDateLocator(minticks=2, maxticks=6)
    axes.set_xlim(*window)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ticks.ConciseDateFormatter(locator))
    axes.xaxis.get_offset_text().set_fontsize(8)


def _rims(lines: Sequence[Line], same: float) -> dict[str, float]:
    """By how much each line is wider, so that those that are drawn over it do not hide it."""
    days = [line.by_day() for line in lines]
    rim = min(_RIM, _MOST_RIM / max(1, len(lines) - 1))
    return {
        line.name: rim * sum(_is_hidden(days[place], above, same) for above in days[place + 1 :])
        for place, line in enumerate(lines)
    }


def _known(lines: Sequence[Line]) -> list[float]:
    return [value for line in lines for value in line.values if value is not None]


def _is_hidden(below: Mapping[str, float], above: Mapping[str, float], same: float) -> bool:
    """Whether two lines lie on each other for most of the days that both know."""
    shared = below.keys() & above.keys()
    near = sum(abs(below[day] - above[day]) <= same for day in shared)
    return 2 * near > len(shared)
