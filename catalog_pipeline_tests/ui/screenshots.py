"""`python -m catalog_pipeline_tests.ui.screenshots FOLDER`: README's pictures as PNG files.

Syncs the sample stores first, so that the pages show a catalogue as `make demo` leaves it.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import dagster as dg
from PIL import Image
from playwright.sync_api import Locator, Page

from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline_tests.deployment import sample_deployment
from catalog_pipeline_tests.ui.browser import (
    browser_page,
    find_chromium,
    metadata_row,
    open_event,
    open_lineage,
    show_picture,
)
from catalog_pipeline_tests.ui.servers import DagsterServers, dagster_servers

QUERY = "blue dress"
STORE = "atelier"
TROUBLED = "nordhavn"
# Of two hundred products: more than a check lets pass.
BROKEN = 15
_MOST_BYTES = 200_000
_COLOURS = 256
_SETTLED_MILLISECONDS = 2500

# What of a page is shown: all that is in the window, or one part of it.
Shown = Page | Locator


class Shot(NamedTuple):
    """How a page is opened: in CSS pixels, and how many of the picture's pixels each becomes."""

    width: int
    height: int
    scale: float
    show: Callable[[Page], Shown]


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
            _sync(servers)
            found = Path(place) / "search.html"
            _search(servers, found)
            for name, shot in _shots(servers, found).items():
                with browser_page(chromium, servers.url, scale=shot.scale) as page:
                    page.set_viewport_size({"width": shot.width, "height": shot.height})
                    shown = shot.show(page)
                    page.wait_for_timeout(_SETTLED_MILLISECONDS)
                    _save(shown.screenshot(), folder / f"{name}.png")


def _shots(servers: DagsterServers, found: Path) -> dict[str, Shot]:
    """All of them by name; `found` is the page of a search."""
    return {
        "lineage": Shot(1440, 620, 1.5, _lineage),
        "materialisation": Shot(1180, 900, 1.5, lambda page: _materialisation(page, servers)),
        # As large as they are: stretched, they blur.
        "contact_sheet": Shot(
            1180, 900, 1, lambda page: _drawn(page, servers, "product_images", "contact_sheet")
        ),
        "neighbours": Shot(
            1180, 900, 1, lambda page: _drawn(page, servers, "qdrant_points", "neighbours")
        ),
        "report": Shot(1640, 900, 1.25, lambda page: _report(page, servers)),
        "search": Shot(1180, 660, 1, lambda page: _opened(page, found.as_uri())),
    }


def _sync(servers: DagsterServers) -> None:
    """Every store, and then the report with the checks; what sensors ask for comes to its end.

    One store needs a person then, as one or another always does.
    """
    stores = servers.deployment.stores.stores
    asked = [servers.launch("sync_store", store) for store in stores]
    runs = servers.wait_for(asked)
    for product in stores[TROUBLED].product_ids()[:BROKEN]:
        stores[TROUBLED].edit(product, name=None)
    runs |= servers.wait_for([servers.launch("sync_store", TROUBLED)])
    assert {run.status for run in runs.values()} == {"SUCCESS"}, servers.output
    servers.wait_for(servers.runs().keys())
    report = servers.launch("report_stores")
    assert servers.wait_for([report])[report].status == "SUCCESS", servers.output


def _search(servers: DagsterServers, file: Path) -> None:
    catalog = str(Path(sys.executable).with_name("catalog"))
    command = [catalog, "search", "--text", QUERY, "--html", str(file)]
    environ = os.environ | servers.deployment.environ
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)


def _lineage(page: Page) -> Shown:
    """With both side panels closed, for the graph to have room."""
    open_lineage(page)
    page.get_by_text("Hide navigation").click()
    page.locator("[aria-label=panel_show_right]").last.click()
    page.wait_for_timeout(_SETTLED_MILLISECONDS)
    # A double click on the background fits the graph to the room it has now.
    page.mouse.dblclick(300, 560)
    return page


def _materialisation(page: Page, servers: DagsterServers) -> Shown:
    drawn = servers.drawn("product_images", "contact_sheet", STORE)
    open_event(page, "product_images", drawn.timestamp)
    return page


def _drawn(page: Page, servers: DagsterServers, asset: str, picture: str) -> Shown:
    open_event(page, asset, servers.drawn(asset, picture, STORE).timestamp)
    return show_picture(page, picture)


def _report(page: Page, servers: DagsterServers) -> Shown:
    open_event(page, "store_report", servers.materialisations("store_report")[0].timestamp)
    return metadata_row(page, "stores").locator("table")


def _opened(page: Page, address: str) -> Shown:
    page.goto(address)
    return page


def _save(png: bytes, path: Path) -> None:
    """With few colours, at half of the bytes and less; dithered, as photographs need it."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture = picture.quantize(_COLOURS, Image.Quantize.MEDIANCUT, kmeans=2)
    picture.save(path, optimize=True)
    size = path.stat().st_size
    assert size < _MOST_BYTES, f"{path} has {size:,} bytes"
    print(f"{path}  {size / 1000:.0f} kB")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python -m catalog_pipeline_tests.ui.screenshots FOLDER")
    main(Path(sys.argv[1]))
