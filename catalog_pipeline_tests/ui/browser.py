"""A headless Chromium over the Dagster UI."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

GROUPS = ("products", "images", "embeddings", "vectors")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


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
            page.set_default_timeout(20_000)
            yield page
        finally:
            browser.close()


def open_lineage(page: Page) -> None:
    """The global lineage with every group opened; they are collapsed by default."""
    opened = ",".join(f"global@global:{group}" for group in GROUPS)
    page.goto(f"/asset-groups?expanded={opened}")
    page.get_by_text("qdrant_points").first.wait_for()


def launch_partition(page: Page, store_id: str) -> None:
    """From the page's Materialize button to one run of one partition."""
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text("Select a partition or create one").click()
    page.get_by_role("menuitem").filter(has_text=store_id).click()
    # Closes the list of partitions, which lies over the dialog.
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Launch 1 run").click()
