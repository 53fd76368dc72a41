"""What a record of WooCommerce becomes: a row that any database can hold, or a reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from catalog_pipeline.products.bodies import parse_json
from catalog_pipeline.products.models import MAX_IMAGES, WooCommerceParser
from catalog_pipeline.products.source import InvalidRecordError, ProductRecord
from catalog_pipeline.products.text import absolute_url, exact_price, plain_text, utc_moment
from catalog_pipeline_tests.products.wordpress import product, recorded_products

PARSER = WooCommerceParser("https://shop.example.com")


def parse(**changes: Any) -> ProductRecord:
    return PARSER.parse(product(7, **changes))


def test_a_usual_product() -> None:
    record = parse()
    assert record.external_id == "7"
    assert record.title == "Linen Shirt 7"
    assert record.description == "Soft & light."
    assert record.price == Decimal("82.90")
    assert record.categories == [{"name": "Shirts & Tops", "slug": "shirts"}]
    assert record.tags == [{"name": "New In", "slug": "new-in"}]
    assert record.created_at == datetime(2025, 10, 14, 18, tzinfo=UTC)
    assert record.updated_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert record.in_stock
    assert not record.on_sale
    (image,) = record.images
    assert (image.position, image.image_id) == (0, "1007")
    assert record.image_url == image.url == "https://shop.example.com/wp-content/uploads/7.jpg"


def test_every_recorded_product_is_valid(shared_data: Path) -> None:
    found = list(recorded_products(shared_data))
    assert len(found) > 300
    types = set()
    for raw in found:
        record = PARSER.parse(raw)
        assert record.external_id == str(raw["id"])
        assert record.title
        assert record.price == (Decimal(raw["price"]) if raw["price"] else None)
        assert record.image_url or not raw.get("images")
        types.add(record.type)
    assert types == {"simple", "variable", "grouped", "external", "variation"}


def test_recorded_names_lose_their_markup(shared_data: Path) -> None:
    titles = {PARSER.parse(raw).title for raw in recorded_products(shared_data)}
    assert "Bold Lamp" in titles
    assert '5" x 7" Frame & Mat' in titles
    assert not [title for title in titles if "<" in title or "&amp;" in title]


@pytest.mark.parametrize("value", [7, "7", 7.0, " 7 ", "007"])
def test_ids_in_any_spelling(value: object) -> None:
    assert parse(id=value).external_id == "7"
    assert PARSER.external_id({"id": value}) == "7"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": None}, "id: is not a positive integer"),
        ({"id": 0}, "id: is not a positive integer"),
        ({"id": True}, "id: is not a positive integer"),
        ({"id": 2**63}, "id: is not a positive integer"),
        ({"name": None}, "name: is not text"),
        ({"name": ["a"]}, "name: is not text"),
        ({"status": None}, "status: is not text"),
        ({"status": ""}, "status: is empty or longer than 32 characters"),
        ({"type": "x" * 33}, "type: is empty or longer than 32 characters"),
        ({"price": "1,999"}, "price: can be read in two ways"),
        ({"price": "ask us"}, "price: is not a number"),
        ({"price": "5 - 9"}, "price: holds more than one number"),
        ({"price": "-1"}, "price: is negative"),
        ({"price": "9" * 40}, "price: has too many digits"),
        ({"price": [5]}, "price: is not a number"),
        ({"price": "ask us", "name": None}, "name: is not text; price: is not a number"),
    ],
)
def test_lost_meaning_is_refused_without_repeating_it(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRecordError) as found:
        parse(**changes)
    assert str(found.value) == reason


@pytest.mark.parametrize("field", ["id", "name", "type", "status"])
def test_what_must_be_there(field: str) -> None:
    raw = product(7)
    del raw[field]
    with pytest.raises(InvalidRecordError, match=f"^{field}: is missing$"):
        PARSER.parse(raw)


@pytest.mark.parametrize("raw", [None, 7, "x", [], [product(1)]])
def test_what_is_no_object_is_refused(raw: object) -> None:
    assert PARSER.external_id(raw) is None
    with pytest.raises(InvalidRecordError, match="is not an object"):
        PARSER.parse(raw)


def test_all_that_may_be_absent() -> None:
    needed = ("id", "name", "type", "status")
    record = PARSER.parse({name: product(7)[name] for name in needed})
    assert record.price is None
    assert record.sku is None
    assert record.visibility == "visible"
    assert record.images == ()
    assert record.image_url is None
    assert record.product_url is None
    assert record.created_at is None


@pytest.mark.parametrize(
    ("written", "price"),
    [
        ("", None),
        (None, None),
        (False, None),
        ("0", "0"),
        ("82.90", "82.90"),
        (5, "5"),
        (5.5, "5.5"),
        ("1,99", "1.99"),
        ("1.234,50", "1234.50"),
        ("1,234.50", "1234.50"),
        ("1 299,00", "1299.00"),
        ("1'299.00", "1299.00"),
        ("1\u00a0299", "1299"),
        ("kr. 12,-", "12"),
        ("<span>&#36;82.91</span>", "82.91"),
        ("1e3", "1000"),
        ("82.123456789", "82.123456789"),
    ],
)
def test_prices(written: object, price: str | None) -> None:
    found = exact_price(written)
    assert found == (None if price is None else Decimal(price))
    assert found is None or str(found) == price


@given(
    st.one_of(
        st.text(max_size=30),
        st.text("0123456789.,-'+ €$eE", max_size=20),
        st.floats(),
        st.integers(),
    )
)
def test_a_price_is_exact_or_refused(written: str | float) -> None:
    try:
        found = exact_price(written)
    except ValueError:
        return
    assert found is None or (found.is_finite() and found >= 0 and len(str(found)) <= 64)


@given(st.decimals(0, 10**15, places=2))
def test_what_woocommerce_writes_is_read_exactly(amount: Decimal) -> None:
    assert exact_price(str(amount)) == amount


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<b>Bo</b>ld &amp; <i>fine</i>", "Bold & fine"),
        ("One<br>two<p>three</p>", "One two three"),
        ("<script>alert(1)</script>Shirt", "Shirt"),
        ("<STYLE>x</STYLE >y", "y"),
        ("<script>never closed", ""),
        ("a<!-- hidden -->b", "a b"),
        ("a < b, 1 <3", "a < b, 1 <3"),
        ("&lt;b&gt;", "<b>"),
        ("nul\x00 half\ud800 pair", "nul\ufffd half\ufffd pair"),
        ("  a \n\t b\u00a0c ", "a b c"),
        (f"&#{'9' * 5000};", f"&#{'9' * 5000};"),
        ("<img src=x onerror=alert(1)>x", "x"),
    ],
)
def test_text(markup: str, text: str) -> None:
    assert plain_text(markup, 10_000) == text


@given(st.text(), st.integers(1, 50))
def test_text_is_bounded_and_storable(markup: str, limit: int) -> None:
    text = plain_text(markup, limit)
    assert len(text) <= limit
    assert text == text.strip()
    assert "\x00" not in text
    text.encode()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "part", ["<script", "</script", "<script></script", "<!--", "<a", "<", "&#"]
)
def test_hostile_markup_takes_no_time(part: str) -> None:
    assert len(plain_text(part * 200_000, 1000)) <= 1000


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2025-10-14T18:00:00", datetime(2025, 10, 14, 18, tzinfo=UTC)),
        ("2025-10-14T18:00:00Z", datetime(2025, 10, 14, 18, tzinfo=UTC)),
        ("2025-10-14T18:00:00+02:00", datetime(2025, 10, 14, 16, tzinfo=UTC)),
        ("2999-01-01T00:00:00", datetime(2999, 1, 1, tzinfo=UTC)),
        (None, None),
        (False, None),
        ("", None),
        ("0000-00-00T00:00:00", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("9999-12-31T23:59:59-23:00", None),
        ("yesterday", None),
        (1700000000, None),
    ],
)
def test_dates(written: object, moment: datetime | None) -> None:
    assert utc_moment(written) == moment


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("https://cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        ("/wp-content/a.jpg", "https://shop.example.com/wp-content/a.jpg"),
        ("//cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        ("https://cdn.example/ü b.jpg", "https://cdn.example/%C3%BC%20b.jpg"),
        ("https://bücher.example/a", "https://xn--bcher-kva.example/a"),
        ("https://cdn.example/%C3%BC.jpg", "https://cdn.example/%C3%BC.jpg"),
        (" https://cdn.example/a.jpg\n", "https://cdn.example/a.jpg"),
        ("javascript:alert(1)", None),
        ("data:image/png;base64,xx", None),
        ("ftp://cdn.example/a", None),
        ("https://user:word@cdn.example/ü", None),
        ("https://", None),
        ("https://cdn.example/" + "a" * 2048, None),
        ("https://cdn.example/" + "ü" * 500, None),
        ("https://cdn.example/\x00", None),
        ("https://[broken", None),
        ("", None),
        (None, None),
        (False, None),
        (7, None),
    ],
)
def test_urls(written: object, url: str | None) -> None:
    assert absolute_url(written, "https://shop.example.com") == url


@given(st.text() | st.from_regex(r"https?://[^/]{0,20}(/.{0,20})?"))
def test_urls_are_ascii_or_none(written: str) -> None:
    url = absolute_url(written, "https://shop.example.com")
    assert url is None or (url.isascii() and len(url) <= 2048 and url.startswith("http"))


@pytest.mark.parametrize("images", [None, False, "", [], {}, [None], [{"src": None}], [[]], 5])
def test_no_picture(images: object) -> None:
    record = parse(images=images)
    assert record.images == ()
    assert record.image_url is None


def test_no_other_picture_becomes_the_main_one() -> None:
    for first in (None, {"id": 1, "src": False}, {"id": 1, "src": "javascript:x"}):
        record = parse(images=[first, {"id": 2, "src": "https://cdn.example/2.jpg"}])
        assert [image.position for image in record.images] == [1]
        assert record.image_url is None


def test_pictures_are_bounded_and_always_have_an_id() -> None:
    images: list[dict[str, Any]] = [{"src": f"/{number}.jpg"} for number in range(500)]
    record = parse(images=images)
    assert len(record.images) == MAX_IMAGES
    assert len({image.image_id for image in record.images}) == MAX_IMAGES
    assert all(len(image.image_id) <= 64 for image in record.images)


def test_php_arrays_with_gaps_are_objects() -> None:
    record = parse(
        images={"0": {"id": 1, "src": "/a.jpg"}, "2": {"id": 3, "src": "/c.jpg"}},
        categories={"1": {"name": "Hats", "slug": "hats"}},
    )
    assert [image.image_id for image in record.images] == ["1", "3"]
    assert record.categories == [{"name": "Hats", "slug": "hats"}]


@pytest.mark.parametrize(
    ("stock", "expected"),
    [("instock", True), ("onbackorder", True), ("outofstock", False), ("unknown", False)],
)
def test_stock(stock: str, *, expected: bool) -> None:
    assert parse(stock_status=stock).in_stock is expected


def test_the_short_description_stands_in() -> None:
    record = parse(description="", short_description="<p>Short.</p>")
    assert record.description == "Short."


def test_pages_are_lists() -> None:
    assert PARSER.records(b"\xef\xbb\xbf[1, 2]") == [1, 2]
    for body in (b"", b"{}", b"[1", b"<html>[1]</html>", b"[" * 100_000):
        with pytest.raises(ValueError, match="not"):
            PARSER.records(body)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig", "cp1252"])
def test_bodies_in_other_encodings(encoding: str) -> None:
    assert parse_json('["Größe é"]'.encode(encoding)) == ["Größe é"]


def test_lone_surrogates_survive_the_json() -> None:
    (record,) = PARSER.records(json.dumps([product(7, name="a\ud800b\x00c")]).encode())
    assert PARSER.parse(record).title == "a\ufffdb\ufffdc"


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.text(
        st.characters(categories=["Cs", "Cc", "Lu", "Nd"]),
        max_size=8,
    )
    | st.sampled_from(["1,99", "<p>", "&#xD800;", "instock", "2025-13-40T00:00:00", "//", "0"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
SHAPE = product(7)


@st.composite
def mutations(draw: st.DrawFn) -> Any:
    """A product with some of its fields dropped, replaced or broken inside."""
    raw: dict[str, Any] = json.loads(json.dumps(SHAPE))
    for name in draw(st.sets(st.sampled_from(sorted(raw)), min_size=1, max_size=4)):
        kind = draw(st.sampled_from(["drop", "replace", "inside"]))
        if kind == "drop":
            del raw[name]
        elif kind == "inside" and isinstance(raw[name], list):
            entry = raw[name][0]
            entry[draw(st.sampled_from(sorted(entry)))] = draw(JUNK)
            raw[name].insert(draw(st.integers(0, 1)), draw(JUNK))
        else:
            raw[name] = draw(JUNK)
    return raw


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutations())
@example({**SHAPE, "\ud800": 1})
@example({**SHAPE, "categories": [{"name": "\ud800", "slug": "\x00"}]})
@example({**SHAPE, "images": [{"id": 1e400, "src": "/a", "date_modified_gmt": "1-1-1"}]})
def test_mutated_products_end_as_a_row_or_a_reason(raw: Any) -> None:
    try:
        record = PARSER.parse(raw)
    except InvalidRecordError as error:
        reason = str(error)
        record = None
    if record is None:
        assert reason.encode()
        return
    assert PARSER.external_id(raw) == record.external_id
    assert len(record.type) <= 32
    assert len(record.status) <= 32
    assert len(record.visibility) <= 32
    # Strict about what databases refuse: half a surrogate pair, and NUL.
    written = orjson.dumps(record, default=str)
    assert b"\\u0000" not in written
    for moment in (record.created_at, record.updated_at):
        assert moment is None or moment.tzinfo is UTC
