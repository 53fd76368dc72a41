"""How hits look: a line each in a pipe, links on a terminal, and a word on mixed currencies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from click.testing import CliRunner, Result
from rich.text import Text

from catalog_pipeline.cli.main import main
from catalog_pipeline.vectors.index import CollectionSpec
from catalog_pipeline.vectors.qdrant_edge import EdgeIndex

COLLECTION = "products__m-1"
LONG_TITLE = "Robe longue à rayures bleues et blanches en lin lavé, coupe droite, manches longues"
LONG_URL = f"https://www.shop.example.com/boutique/femme/robes/{'robe-longue-' * 9}/?taille=38"
STEERING = "\x1b[2J[red]Robe[/red]  \n  d'été"
LINK = re.compile(r"\x1b\]8;[^;]*;(?P<url>[^\x1b]+)\x1b\\(?P<text>[^\x1b]*)")

Products = dict[int, dict[str, Any]]
Search = Callable[..., Result]


def product(number: int) -> UUID:
    return UUID(int=100 + number)


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """Fills a collection with products and asks for those nearest to the first."""
    monkeypatch.chdir(tmp_path)

    def run(products: Products, *arguments: str, **environ: str) -> Result:
        index = EdgeIndex(tmp_path / "qdrant", run="test")
        index.ensure(CollectionSpec(COLLECTION, 2, "m-1", UUID(int=1)), "products")
        with index.session(COLLECTION) as points:
            points.upsert(
                [product(number) for number in products],
                np.array([[1.0, 0.01 * number] for number in products], dtype=np.float32),
                [payload(number) | given for number, given in products.items()],
            )
        return CliRunner().invoke(
            main,
            ["search", "--product", str(product(min(products))), *arguments],
            env={"CATALOG_DATA_DIR": str(tmp_path), **environ},
            catch_exceptions=False,
        )

    return run


def payload(number: int) -> dict[str, Any]:
    return {
        "product_id": str(product(number)),
        "store_id": "atelier",
        "external_id": str(number),
        "title": f"Dress {number}",
        "price": 10.0 * number,
        "currency": "EUR",
        "in_stock": True,
        "image_sha256": "0" * 64,
        "model_version": "m-1",
    }


def on_terminal(width: int) -> dict[str, str]:
    return {"FORCE_COLOR": "1", "COLUMNS": str(width), "TERM": "xterm-256color"}


def test_a_pipe_gets_a_line_for_each_hit_however_long(search: Search) -> None:
    urls = {
        1: LONG_URL + "&page=1",
        2: "https://shop.example.com/2",
        3: "https://shop.example.com/3",
    }
    products: Products = {0: {}} | {n: {"product_url": url} for n, url in urls.items()}
    products[1]["title"] = LONG_TITLE * 3
    products[2]["title"] = STEERING
    products[3]["title"] = ""
    result = search(products)
    assert result.exit_code == 0
    head, *lines = result.stdout.splitlines()
    assert all(line == line.rstrip() for line in lines)
    cells = [re.split(r" {2,}", line) for line in (head, *lines)]
    assert cells[0] == ["score", "store", "id", "title", "price", "in stock", "page"]
    assert [row[1:] for row in cells[1:]] == [
        ["atelier", "1", LONG_TITLE * 3, "10.00 EUR", "yes", urls[1]],
        ["atelier", "2", "[2J[red]Robe[/red] d'été", "20.00 EUR", "yes", urls[2]],
        ["atelier", "3", "-", "30.00 EUR", "yes", urls[3]],
    ]
    # One long title costs the others no width.
    assert lines[1].index("20.00 EUR") < 120


def test_a_narrow_terminal_links_titles_to_their_pages(search: Search) -> None:
    result = search(
        {0: {}, 1: {"title": LONG_TITLE, "product_url": LONG_URL}, 2: {}}, **on_terminal(80)
    )
    links = list(LINK.finditer(result.stdout))
    assert {one["url"] for one in links} == {LONG_URL}
    assert " ".join(" ".join(one["text"] for one in links).split()) == LONG_TITLE
    lines = Text.from_ansi(result.stdout).plain.splitlines()
    assert max(map(len, lines)) <= 80
    assert "page" not in lines[0]
    assert len(lines) <= 6


@pytest.mark.parametrize(("room", "shown"), [(0, True), (-1, False)])
def test_an_address_stands_in_one_piece_or_not_at_all(
    search: Search, room: int, shown: bool
) -> None:
    products = {0: {}, 1: {"title": LONG_TITLE, "product_url": LONG_URL}}
    width = len(LONG_URL) + 80 + room
    lines = Text.from_ansi(search(products, **on_terminal(width)).stdout).plain.splitlines()
    assert any(LONG_URL in line for line in lines) is shown
    assert ("page" in lines[0]) is shown
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(
    ("url", "linked"),
    [
        ("javascript:alert(1)", None),
        ("https://shop.example.com/\x1b]0;owned\x07", "https://shop.example.com/%1B]0;owned%07"),
        ("https://shop.example.com/café 1%20", "https://shop.example.com/caf%C3%A9%201%20"),
    ],
)
def test_a_stores_address_does_not_steer_the_terminal(
    search: Search, url: str, linked: str | None
) -> None:
    products = {0: {}, 1: {"title": STEERING, "product_url": url}}
    shown = search(products, **on_terminal(80)).stdout
    assert {one["url"] for one in LINK.finditer(shown)} == ({linked} if linked else set())
    assert "\x1b[2J" not in shown
    assert "\x07" not in shown


PRICED = ("--max-price", "50")
MIXED: Products = {0: {}, 1: {}, 2: {"currency": "SEK"}, 3: {"currency": "DKK"}}


def test_prices_of_several_currencies_are_not_compared_silently(search: Search) -> None:
    result = search(MIXED, *PRICED)
    assert result.stderr.splitlines() == [
        "Prices in DKK, EUR and SEK were compared as if they were one currency; "
        "--currency DKK asks for one."
    ]
    assert len(result.stdout.splitlines()) == 4


@pytest.mark.parametrize(
    ("products", "arguments"),
    [
        (MIXED, ()),
        (MIXED, (*PRICED, "--currency", "SEK")),
        ({0: {}, 1: {}, 2: {}}, PRICED),
        ({0: {}, 1: {"currency": "SEK"}}, (*PRICED, "--store", "nobody")),
    ],
    ids=["no price", "one asked for", "one there", "no hit"],
)
def test_nothing_is_said_of_currencies_that_do_not_matter(
    search: Search, products: Products, arguments: tuple[str, ...]
) -> None:
    assert search(products, *arguments).stderr == ""


def test_a_script_gets_the_hits_alone(search: Search) -> None:
    result = search(MIXED, *PRICED, "--json")
    assert result.stderr == ""
    assert [hit["payload"]["external_id"] for hit in json.loads(result.stdout)["hits"]] == [
        "1",
        "2",
        "3",
    ]


def test_a_page_tells_prices_as_people_write_them(search: Search, tmp_path: Path) -> None:
    limits = ("--min-price", "1234567.5", "--max-price", "20000000")
    page = tmp_path / "found.html"
    result = search({1: {"price": 1_500_000.0}}, *limits, "--html", str(page))
    assert result.exit_code == 0, result.output
    written = page.read_text()
    assert "from 1,234,567.50" in written
    assert "up to 20,000,000" in written
