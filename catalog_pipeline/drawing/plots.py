"""Plots of many things at once: histograms with a threshold in them, a map of vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catalog_pipeline.drawing.figure import (
    INK,
    OTHER,
    OTHERS,
    PALETTE,
    QUIET,
    as_image,
    new_figure,
    plain,
    row_of_axes,
    without_box,
)

_GOOD: Final = PALETTE[0]
_BAD: Final = PALETTE[5]
_BINS: Final = 40


@dataclass(frozen=True)
class Histogram:
    """One measurement of many things, and the least that is accepted."""

    measured: str
    values: Sequence[float]
    threshold: float
    # Sizes spread over orders of magnitude.
    logarithmic: bool = False


def draw_histograms(histograms: Sequence[Histogram], *, counted: str) -> Image.Image:
    """The histograms side by side; what lies below a threshold is in another colour.

    Args:
        histograms: at least one.
        counted: the plural of what a bar counts.
    """
    figure = new_figure(4.2 * len(histograms), 2.5)
    for axes, one in zip(row_of_axes(figure, len(histograms)), histograms, strict=True):
        _draw_histogram(axes, one, counted)
    return as_image(figure)


def draw_map(
    vectors: NDArray[np.float32], groups: Sequence[str], *, title: str, grouped_by: str
) -> Image.Image:
    """Vectors in the plane of their two largest principal components, coloured by group.

    Args:
        vectors: (n, dimensions), n at least 1.
        groups: the name that each belongs to; the seven commonest get a colour of their own.
        title: says what lies near what.
        grouped_by: what the groups are.
    """
    figure = new_figure(6.4, 4.2)
    axes = row_of_axes(figure, 1)[0]
    plane, shares = _plane(vectors)
    common = [name for name, _ in Counter(groups).most_common(len(PALETTE))]
    names = np.asarray(groups, dtype=object)
    size = float(np.clip(3_000 / len(groups), 8, 36))
    for name, colour in [*zip(common, PALETTE, strict=False), (None, OTHER)]:
        chosen = ~np.isin(names, common) if name is None else names == name
        if chosen.any():
            label = OTHERS if name is None else plain(name)
            axes.scatter(
                *plane[chosen].T,
                s=size,
                c=colour,
                linewidths=0,
                # The nameless ones lie below all others.
                zorder=2 if name is None else 3,
                label=f"{label} ({chosen.sum():,})",
            )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.set_xlabel(
        "Across and up: the two directions in which they differ most.\n"
        f"These hold {sum(shares):.0%} of all differences; the rest cannot be seen here.",
        fontsize=8,
        color=QUIET,
        loc="left",
    )
    legend = axes.legend(
        title=grouped_by,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        fontsize=8,
        title_fontsize=8,
        alignment="left",
    )
    # Large enough to tell the colours, however small the many dots are.
    for handle in legend.legend_handles:
        handle.set_sizes([36])
    return as_image(figure)


def _draw_histogram(axes: Any, one: Histogram, counted: str) -> None:
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
    for chosen, colour in [(~below, _GOOD), (below, _BAD)]:
        counts, _ = np.histogram(np.clip(values[chosen], edges[0], edges[-1]), edges)
        # One outline each: a rectangle for each bar takes most of the time that a plot takes.
        axes.stairs(counts, edges, fill=True, color=colour)
    axes.axvline(one.threshold, color=INK, linewidth=1.2, linestyle="--")
    axes.set_title(
        f"{int(below.sum()):,} of {values.size:,} {counted} below {one.threshold:g}, in orange",
        fontsize=9,
        color=INK,
        loc="left",
    )
    axes.set_xlabel(
        f"{one.measured} (dashed line: the least that is accepted)", fontsize=8, color=INK
    )
    axes.set_ylabel(counted, fontsize=8, color=INK)
    axes.yaxis.get_major_locator().set_params(integer=True)
    without_box(axes)


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
