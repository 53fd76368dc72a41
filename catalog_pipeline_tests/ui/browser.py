"""A headless Chromium over the Dagster UI."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Locator, Page, Response, expect, sync_playwright

GROUPS = ("stores", "products", "images", "embeddings", "vectors", "report")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# A page of the UI asks its server a dozen questions, and the daemon has its own work.
_MILLISECONDS = 20_000


def find_chromium() -> str | None:
    """The browser that is installed here, if any; playwright's own is never downloaded."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    return None


@contextmanager
def browser_page(chromium: str, url: str, *, scale: float = 1.0) -> Iterator[Page]:
    """A page of 1440 by 900 CSS pixels, with paths relative to `url`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(_FLAGS))
        try:
            context = browser.new_context(
                base_url=url,
                viewport={"width": 1440, "height": 900},
                device_scale_factor=scale,
                timezone_id="UTC",
                locale="en-GB",
            )
            page = context.new_page()
            page.set_default_timeout(_MILLISECONDS)
            expect.set_options(timeout=_MILLISECONDS)
            yield page
        finally:
            browser.close()


def open_lineage(page: Page) -> None:
    """The global lineage with every group opened; they are collapsed by default."""
    opened = ",".join(f"global@global:{group}" for group in GROUPS)
    page.goto(f"/asset-groups?expanded={opened}")
    page.get_by_text("qdrant_points").first.wait_for()


def select_upstream(page: Page, asset: str) -> None:
    """On the lineage: an asset and all that it is made from."""
    page.locator(".CodeMirror").first.click()
    page.keyboard.type(f'+key:"{asset}"')
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Materialize all (5)").wait_for()


def launch_partition(page: Page, store_id: str) -> str:
    """From the page's Materialize button to one run of one partition; how the run's id begins."""
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text("Select a partition or create one").click()
    page.get_by_role("menuitem").filter(has_text=store_id).click()
    # Closes the list of partitions, which lies over the dialog.
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Launch 1 run").click()
    return launched_run(page)


def launched_run(page: Page) -> str:
    """How the id of the run begins that the page says it has just launched."""
    told = page.get_by_text(re.compile(r"Launched run \w+")).first.inner_text()
    return told.split()[-1]


def metadata_row(page: Page, name: str) -> Locator:
    """One entry of the metadata of the event that the page shows."""
    return page.get_by_role("row").filter(
        has=page.get_by_role("cell").get_by_text(name, exact=True)
    )


def open_event(page: Page, asset: str, timestamp: float) -> None:
    """The page of one materialisation.

    Args:
        page: of the browser.
        asset: its name.
        timestamp: of the event, in seconds since 1970.
    """
    page.goto(f"/assets/{asset}?view=events&time={timestamp * 1000:.0f}")
    page.get_by_text("Metadata", exact=True).first.wait_for()


def show_picture(page: Page, name: str) -> Locator:
    """The picture of a metadata entry, opened as a person opens it."""
    metadata_row(page, name).get_by_text("Show Markdown").click()
    picture = page.locator('img[src^="data:image/webp;base64,"]').last
    picture.wait_for()
    return picture


def automation_switch(page: Page, name: str) -> Locator:
    """What turns a sensor or a schedule on and off, on the page of all of them."""
    item = page.locator("[class*=ListItem_listItem]").filter(has=page.get_by_text(name, exact=True))
    # The first checkbox chooses the line, and is there before the second.
    return item.get_by_role("checkbox").nth(1)


@contextmanager
def switched_off(page: Page, name: str) -> Iterator[None]:
    """A sensor that does nothing meanwhile, as a person sees to it."""
    _switch(page, name, on=False)
    try:
        yield
    finally:
        _switch(page, name, on=True)


def _switch(page: Page, name: str, *, on: bool) -> None:
    page.goto("/automation")
    switch = automation_switch(page, name)
    expect(switch).to_be_enabled()
    expect(switch).to_be_checked(checked=not on)
    # The page shows the new state at once, and leaving it would take the request back.
    with page.expect_response(_is_mutation):
        # The input itself is hidden behind what its label draws.
        switch.locator("..").click()
    expect(switch).to_be_checked(checked=on)


def _is_mutation(response: Response) -> bool:
    return "/graphql" in response.url and "mutation " in (response.request.post_data or "")
