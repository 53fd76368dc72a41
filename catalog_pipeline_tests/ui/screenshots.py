"""`python -m catalog_pipeline_tests.ui.screenshots FOLDER`: the UI's pages as PNG files.

Syncs the sample stores first, so that the pages show a catalogue as `make demo` leaves it.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import dagster as dg
from PIL import Image
from playwright.sync_api import Page

from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline_tests.deployment import sample_deployment
from catalog_pipeline_tests.ui.browser import browser_page, find_chromium, open_lineage
from catalog_pipeline_tests.ui.servers import dagster_servers

_COLOURS = 256
# CSS pixels, and how many of the picture's pixels each becomes.
_SIZE = (1280, 980)
_LINEAGE_SIZE = (1640, 500)
_SCALE = 1.5
_SETTLED_MILLISECONDS = 2500


def main(folder: Path) -> None:
    """Sync, open each page, and write its picture."""
    chromium = find_chromium()
    if chromium is None:
        sys.exit("Error: no chromium or google-chrome on the PATH")
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as place,
        sample_deployment(Path(place), products_per_store=200, picture_size=400) as deployment,
    ):
        with dg.DagsterInstance.from_config(str(deployment.dagster_home)) as instance:
            instance.add_dynamic_partitions(STORES, list(deployment.stores.stores))
        with dagster_servers(deployment) as servers:
            run_ids = [servers.launch("sync_store", store) for store in deployment.stores.stores]
            runs = servers.wait_for(run_ids)
            assert {run.status for run in runs.values()} == {"SUCCESS"}, servers.output
            pages: dict[str, tuple[tuple[int, int], Callable[[Page], None]]] = {
                "lineage": (_LINEAGE_SIZE, _lineage),
                "materialisation": (_SIZE, _materialisation),
                "asset": (_SIZE, _asset),
                "run": (_SIZE, lambda page: _run(page, run_ids[-1])),
            }
            with browser_page(chromium, servers.url, scale=_SCALE) as page:
                for name, (size, show) in pages.items():
                    page.set_viewport_size({"width": size[0], "height": size[1]})
                    show(page)
                    page.wait_for_timeout(_SETTLED_MILLISECONDS)
                    _save(page.screenshot(), folder / f"{name}.png")


def _lineage(page: Page) -> None:
    """With both side panels closed: only above a certain scale do assets show their details."""
    open_lineage(page)
    page.get_by_text("Hide navigation").click()
    page.locator("[aria-label=panel_show_right]").last.click()
    page.wait_for_timeout(_SETTLED_MILLISECONDS)
    # A double click on the background fits the graph to the room it has now.
    page.mouse.dblclick(_LINEAGE_SIZE[0] / 2, _LINEAGE_SIZE[1] - 40)


def _materialisation(page: Page) -> None:
    page.goto("/assets/product_images?view=partitions&partition=atelier")


def _asset(page: Page) -> None:
    page.goto("/assets/product_images?view=overview")


def _run(page: Page, run_id: str) -> None:
    page.goto(f"/runs/{run_id}")


def _save(png: bytes, path: Path) -> None:
    """With few colours, at a third of the bytes; those of the small icons must be among them."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture = picture.quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python -m catalog_pipeline_tests.ui.screenshots FOLDER")
    main(Path(sys.argv[1]))
