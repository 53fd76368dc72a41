"""Plots of numbers: histograms with a threshold in them, a map of vectors, lines over time.

Drawn through Matplotlib's objects, never its `pyplot`, whose state all threads would share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catalog_pipeline.drawing.text import legible

# Okabe and Ito's palette, told apart with any kind of colour vision; the last is for all others.
PALETTE: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
OTHER: Final = "#B8BEC6"
_OTHERS: Final = "others"
_INK: Final = "#1F2328"
_GOOD: Final = "#0072B2"
_BAD: Final = "#D55E00"
_DPI: Final = 100
_BINS: Final = 40


@dataclass(frozen=True)
class Histogram:
    """One measurement of many things, and the least that is accepted."""

    title: str
    values: Sequence[float]
    threshold: float
    # Sizes spread over orders of magnitude.
    logarithmic: bool = False


def draw_histograms(histograms: Sequence[Histogram]) -> Image.Image:
    """The histograms side by side; what lies below a threshold is in another colour."""
    figure = _figure(3.9 * len(histograms), 2.3)
    for axes, one in zip(_row(figure, len(histograms)), histograms, strict=True):
        _draw_histogram(axes, one)
    return _image(figure)


def draw_map(vectors: NDArray[np.float32], groups: Sequence[str]) -> Image.Image:
    """Vectors in the plane of their two largest principal components, coloured by group.

    Args:
        vectors: (n, dimensions), n at least 1.
        groups: the name that each belongs to; the seven commonest get a colour of their own.
    """
    figure = _figure(6.4, 4.0)
    axes = _row(figure, 1)[0]
    plane, shares = _plane(vectors)
    common = [name for name, _ in Counter(groups).most_common(len(PALETTE))]
    names = np.asarray(groups, dtype=object)
    size = float(np.clip(3_000 / len(groups), 8, 36))
    for name, colour in [(None, OTHER), *zip(common, PALETTE, strict=False)]:
        chosen = ~np.isin(names, common) if name is None else names == name
        if chosen.any():
            label = _OTHERS if name is None else _plain(name)
            axes.scatter(
                *plane[chosen].T,
                s=size,
                c=colour,
                linewidths=0,
                label=f"{label} ({chosen.sum():,})",
            )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(f"{shares[0]:.0%} of the spread", fontsize=8, color=_INK)
    axes.set_ylabel(f"{shares[1]:.0%}", fontsize=8, color=_INK)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=8)
    return _image(figure)


@dataclass(frozen=True)
class Line:
    """One thing over time, `moments` in order; a value of None is a gap."""

    name: str
    moments: Sequence[datetime]
    values: Sequence[float | None]


@dataclass(frozen=True)
class LinePlot:
    """Lines over the same time; those beyond the palette are drawn faint and unnamed."""

    title: str
    lines: Sequence[Line]
    # Shares of one, shown as percentages from none to all.
    is_share: bool = False


def draw_lines(plots: Sequence[LinePlot]) -> Image.Image:
    """The plots side by side under one legend; a name has the same colour in all of them.

    Every plot has at least one line, and a line at least one moment.
    """
    names = list(dict.fromkeys(line.name for plot in plots for line in plot.lines))
    colours = dict(zip(names, PALETTE, strict=False))
    figure = _figure(4.2 * len(plots), 2.9)
    for axes, plot in zip(_row(figure, len(plots)), plots, strict=True):
        _draw_plot(axes, plot, colours)
    handles = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    shown = sorted(handles, key=lambda label: label == _OTHERS)
    figure.legend(
        [handles[label] for label in shown],
        shown,
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=8,
    )
    return _image(figure)


def _draw_plot(axes: Any, plot: LinePlot, colours: Mapping[str, str]) -> None:
    from matplotlib import dates
    from matplotlib.ticker import PercentFormatter

    # The named ones last, so that they lie on top.
    for line in sorted(plot.lines, key=lambda line: line.name in colours):
        colour = colours.get(line.name)
        axes.plot(
            list(line.moments),
            [np.nan if value is None else value for value in line.values],
            color=colour or OTHER,
            linewidth=1.6 if colour else 0.8,
            marker="o",
            markersize=2.5 if colour else 1,
            label=_plain(line.name) if colour else _OTHERS,
        )
    axes.set_title(plot.title, fontsize=9, color=_INK, loc="left")
    # Without types of its own.
    ticks: Any = dates
    locator = ticks.AutoDateLocator(minticks=2, maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ticks.ConciseDateFormatter(locator))
    if plot.is_share:
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.tick_params(labelsize=8, colors=_INK)
    axes.xaxis.get_offset_text().set_fontsize(8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_histogram(axes: Any, one: Histogram) -> None:
    from matplotlib.ticker import LogLocator

    values = np.asarray(one.values, dtype=np.float64)
    values = values[np.isfinite(values)]
    edges = _edges(values, one)
    if one.logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda _value, _: "")
    below = values < one.threshold
    axes.hist(
        [np.clip(values[~below], edges[0], edges[-1]), np.clip(values[below], edges[0], edges[-1])],
        bins=edges,
        stacked=True,
        color=[_GOOD, _BAD],
    )
    axes.axvline(one.threshold, color=_INK, linewidth=1.2, linestyle="--")
    axes.set_title(
        f"{one.title}: {int(below.sum()):,} of {values.size:,} below {one.threshold:g}",
        fontsize=9,
        color=_INK,
        loc="left",
    )
    axes.tick_params(labelsize=8, colors=_INK)
    axes.yaxis.get_major_locator().set_params(integer=True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _edges(values: NDArray[np.float64], one: Histogram) -> NDArray[np.float64]:
    """Bin edges of which the threshold is one, so that no bar stands on both sides of it."""
    threshold = max(one.threshold, 1e-6)
    low, high = threshold * 0.5, threshold * 2
    if values.size:
        # One giant must not squeeze all the others into a single bar.
        low = min(float(values.min()), threshold * 0.9)
        high = max(float(np.quantile(values, 0.995)), threshold * 1.1)
    space = np.geomspace if one.logarithmic else np.linspace
    low = max(low, 1e-6) if one.logarithmic else min(low, 0.0)
    ends = np.log([low, threshold, high]) if one.logarithmic else np.array([low, threshold, high])
    below = int(np.clip(round(_BINS * (ends[1] - ends[0]) / (ends[2] - ends[0])), 1, _BINS - 1))
    return np.concatenate(
        [space(low, threshold, below + 1)[:-1], space(threshold, high, _BINS - below + 1)]
    )


def _plane(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    # The smaller product of the vectors with themselves has the same components, in half the time.
    is_wide = centred.shape[0] < centred.shape[1]
    spread, directions = np.linalg.eigh(centred @ centred.T if is_wide else centred.T @ centred)
    spread, directions = spread[::-1].clip(min=0), directions[:, ::-1]
    total = float(spread.sum()) or 1.0
    plane = np.zeros((len(vectors), 2))
    kept = min(2, len(spread))
    main = directions[:, :kept]
    plane[:, :kept] = main * np.sqrt(spread[:kept]) if is_wide else centred @ main
    # The sign of a component is arbitrary: fixed, so that the same vectors give the same map.
    for column in range(kept):
        furthest = np.abs(plane[:, column]).argmax()
        if plane[furthest, column] < 0:
            plane[:, column] *= -1
    shares = [float(value) / total for value in spread[:2]] + [0.0, 0.0]
    return plane, (shares[0], shares[1])


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _row(figure: Any, count: int) -> list[Any]:
    return list(figure.subplots(1, count, squeeze=False)[0])


def _plain(text: str) -> str:
    shown = legible(text)
    # A dollar sign would start Matplotlib's mathematics, which can fail to parse.
    return (shown if len(shown) <= 24 else shown[:23] + "…").replace("$", r"\$")


def _image(figure: Any) -> Image.Image:
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())
    return Image.fromarray(pixels).convert("RGB")
