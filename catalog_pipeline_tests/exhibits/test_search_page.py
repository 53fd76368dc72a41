"""The page of search results: in a browser with no network, and in the hands of strangers."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page

from catalog_pipeline.demo.pictures import encoded, picture
from catalog_pipeline.exhibits.search_page import Question, search_page
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.blobs import write_blob
from catalog_pipeline.search import Hit
from catalog_pipeline_tests.ui.browser import browser_page, find_chromium

HOSTILE = '</script><script>document.title="taken"</script>"><img src=x onerror=alert(1)>'
ASKED = Question("Search by text", "striped blue dress", conditions=("in stock",))


class Elements(HTMLParser):
    """Every element with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def hit(number: int, **payload: Any) -> Hit:
    told = {"store_id": "atelier", "title": f"Product {number}", "categories": [], "in_stock": True}
    return Hit(UUID(int=number), 0.9 - number / 100, {**told, **payload})


@pytest.fixture
def files(tmp_path: Path) -> DataFolder:
    return DataFolder(str(tmp_path))


@pytest.fixture
def hits(files: DataFolder) -> list[Hit]:
    sha256, _ = write_blob(files, encoded(picture("dress", "blue", "striped", 1, 128)))
    url = "https://shop.example.com/product/1/"
    return [
        hit(1, price=30.0, currency="EUR", categories=["Dresses", "New"], image_sha256=sha256,
            product_url=url),
        hit(2, price=1200.5, currency="DKK", store_id="nordhavn", categories=["Dresses"]),
        hit(3, price=9.95, currency="EUR", categories=["Shoes & Boots"], in_stock=False),
        hit(4, categories=["Shoes & Boots"]),
    ]  # fmt: skip


def test_the_page_needs_nothing_but_itself(hits: list[Hit], files: DataFolder) -> None:
    elements = Elements(search_page(ASKED, hits, files, "products"))
    pictures = [attributes["src"] or "" for attributes in elements.all("img")]
    assert len(pictures) == 1
    assert pictures[0].startswith("data:image/webp;base64,UklGR")
    assert not elements.all("link")
    assert [attributes for attributes in elements.all("script") if attributes] == []
    (policy,) = [
        attributes["content"] or ""
        for attributes in elements.all("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'; img-src data:;" in policy
    assert "unsafe" not in policy
    (link,) = elements.all("a")
    assert link["href"] == "https://shop.example.com/product/1/"


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:text/html,x", "//evil.example", "http://[", 7, None]
)
def test_only_web_addresses_become_links(files: DataFolder, address: object) -> None:
    page = search_page(ASKED, [hit(1, product_url=address)], files, "products")
    assert Elements(page).all("a") == []


@given(st.text(max_size=60) | st.sampled_from([HOSTILE, "' onload='x", "{{ 7*7 }}", "\u202eevil"]))
@settings(max_examples=40, deadline=None)
def test_strangers_words_never_become_elements(text: str) -> None:
    assert told_tags(text) == told_tags("harmless")


def told_tags(text: str) -> list[str]:
    """The elements of a page that says a text wherever one can be said."""
    payload = {"title": text, "store_id": text, "categories": [text], "currency": text}
    files = DataFolder("memory://search-page")
    page = search_page(Question(text, text, conditions=(text,)), [hit(1, **payload)], files, text)
    return [tag for tag, _ in Elements(page).found]


def test_an_answer_without_products_says_so(files: DataFolder) -> None:
    page = search_page(ASKED, [], files, "products")
    assert "Nothing matches." in page
    assert Elements(page).all("script") == []


@pytest.fixture
def browser(hits: list[Hit], files: DataFolder, tmp_path: Path) -> Iterator[Page]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium is installed")
    hits.append(hit(5, title=HOSTILE, store_id=HOSTILE, categories=[HOSTILE], price=50.0))
    path = tmp_path / "found.html"
    path.write_text(search_page(ASKED, hits, files, "products"), "utf-8")
    with browser_page(chromium, "http://127.0.0.1") as page:
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url))
        page.goto(path.as_uri())
        yield page
        # The page itself, and nothing else but pictures that it carries.
        assert [line for line in said if not line.startswith("data:")] == [path.as_uri()]


def shown(page: Page) -> list[int]:
    cards = page.locator("article:visible")
    return [int(rank) for rank in cards.evaluate_all("all => all.map(one => one.dataset.rank)")]


def told(page: Page) -> str:
    return page.locator("#shown").inner_text()


def clear(page: Page) -> None:
    page.get_by_role("button", name="Clear").click()
    page.get_by_text("5 products", exact=True).wait_for()


def test_the_filters_work_offline(browser: Page) -> None:
    assert browser.title().startswith("striped blue dress")
    assert shown(browser) == [1, 2, 3, 4, 5]
    assert browser.locator("article img").evaluate("one => one.complete && one.naturalWidth > 100")
    browser.get_by_label("Store").select_option("nordhavn")
    assert shown(browser) == [2]
    browser.get_by_label("Store").select_option(HOSTILE)
    assert shown(browser) == [5]
    clear(browser)
    browser.get_by_label("Category").select_option("Shoes & Boots")
    assert shown(browser) == [3, 4]
    browser.get_by_label("Stock").select_option("sold out")
    assert shown(browser) == [3]
    clear(browser)
    browser.get_by_label("Currency").select_option("EUR")
    browser.get_by_label("Price from").fill("9.95")
    browser.get_by_label("Price up to").fill("50")
    assert shown(browser) == [1, 3]
    browser.get_by_label("Sort by").select_option("cheap")
    assert shown(browser) == [3, 1]
    browser.get_by_label("Currency").select_option("DKK")
    assert shown(browser) == []
    assert browser.get_by_text("Nothing matches these filters.").is_visible()


def test_how_many_products_there_are_is_said_once(browser: Page) -> None:
    assert told(browser) == "5 products"
    assert "5" not in browser.locator("header").inner_text()
    browser.get_by_label("Category").select_option("Shoes & Boots")
    assert told(browser) == "2 of 5 products"


def test_prices_are_compared_within_one_currency_alone(browser: Page) -> None:
    reason = browser.locator("#prices")
    fields = [browser.get_by_label("Price from"), browser.get_by_label("Price up to")]
    by_price = browser.get_by_role("option", name="price, ")

    def offered() -> set[bool]:
        return {one.is_enabled() for one in (*fields, *by_price.all())}

    assert offered() == {False}
    assert reason.inner_text() == (
        "Prices in DKK, EUR and unknown currency cannot be compared: "
        "choose one currency to filter or sort by price."
    )

    browser.get_by_label("Currency").select_option("EUR")
    assert offered() == {True}
    assert not reason.is_visible()
    assert browser.get_by_text("Price from (EUR)").is_visible()
    fields[0].fill("20")
    browser.get_by_label("Sort by").select_option("dear")
    assert shown(browser) == [1]

    # Back among several, nothing is left of what only one made sense of.
    browser.get_by_label("Currency").select_option("")
    assert offered() == {False}
    assert shown(browser) == [1, 2, 3, 4, 5]
    assert browser.get_by_label("Sort by").input_value() == "rank"
    assert fields[0].input_value() == ""

    # One currency is left by whatever filter.
    browser.get_by_label("Store").select_option("nordhavn")
    assert offered() == {True}
    clear(browser)
    assert offered() == {False}


def test_without_a_price_there_is_nothing_to_compare(browser: Page) -> None:
    browser.get_by_label("Category").select_option("Shoes & Boots")
    browser.get_by_label("Stock").select_option("in stock")
    assert shown(browser) == [4]
    assert browser.locator("#prices").inner_text() == (
        "No product here has a price to filter or sort by."
    )


def test_what_the_numbers_mean_is_said_beside_them(browser: Page) -> None:
    first = browser.locator("article").first
    assert first.get_by_text("similarity 0.890").is_visible()
    assert browser.get_by_text("collection, model, time: products").is_visible()
