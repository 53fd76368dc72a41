"""How the stores' points and acceptance went over the last weeks, as lines over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from PIL import Image

from catalog_pipeline.catalog.identity import digest
from catalog_pipeline.drawing.figure import PALETTE
from catalog_pipeline.drawing.lines import Line, LinePlot, draw_lines
from catalog_pipeline.exhibits.exhibit import Exhibit
from catalog_pipeline.health.history import Day

TREND_BYTES = 25_000
# More lines are a grey band, and cost seconds.
MOST_LINES = 60


def trends(history: Sequence[Day]) -> Exhibit | None:
    """Points and accepted share of each store, day by day; None while no run counted points.

    The stores with the most points have a colour and a name.

    Args:
        history: days of the stores, in order.
    """
    by_store: dict[str, list[Day]] = defaultdict(list)
    for day in history:
        by_store[day.store_id].append(day)
    sizes = {
        store: max((day.points for day in found if day.points is not None), default=-1)
        for store, found in by_store.items()
    }
    largest = sorted(
        (store for store, size in sizes.items() if size >= 0),
        key=lambda store: (-sizes[store], store),
    )[:MOST_LINES]
    if not largest:
        return None
    shown = {store: by_store[store] for store in largest}

    def draw() -> Image.Image:
        return draw_lines(
            [
                LinePlot("Points in the collection", [_points(*one) for one in shown.items()]),
                LinePlot(
                    "Share of pictures accepted",
                    [_acceptance(*one) for one in shown.items()],
                    is_share=True,
                ),
            ]
        )

    what = [
        [store, [[f"{day.at:%Y-%m-%d}", day.points, day.acceptance] for day in found]]
        for store, found in shown.items()
    ]
    title = f"{len(sizes):,} {'store' if len(sizes) == 1 else 'stores'} over time"
    if len(sizes) > len(PALETTE):
        title += f", the {len(PALETTE)} largest named"
    return Exhibit(title, digest(what), TREND_BYTES, draw)


def _points(store: str, found: Sequence[Day]) -> Line:
    return Line(store, [day.at for day in found], [day.points for day in found])


def _acceptance(store: str, found: Sequence[Day]) -> Line:
    return Line(store, [day.at for day in found], [day.acceptance for day in found])
