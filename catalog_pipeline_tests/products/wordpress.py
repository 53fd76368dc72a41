"""A WooCommerce made of a list, behind `httpx.MockTransport`, and what tests of it share."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.stores import StoreConfig

KEY = "ck_canary_3f1d9b7c"
SECRET = "cs_canary_a27e5508"
BASIC_CANARIES = (KEY, SECRET, base64.b64encode(f"{KEY}:{SECRET}".encode()).decode())
NOW = "Fri, 20 Nov 2026 06:00:00 GMT"
SHOP = "store atelier: https://shop.example.com"
HTML = b"<!DOCTYPE html><html><head><title>Under maintenance</title></head></html>"
Handler = Callable[[httpx.Request], httpx.Response]


def store(**settings: Any) -> StoreConfig:
    """A store whose keys are in CANARY_KEY and CANARY_SECRET, too fast to be waited for."""
    return StoreConfig.model_validate(
        {
            "id": "atelier",
            "url": "https://shop.example.com",
            "consumer_key": {"env": "CANARY_KEY"},
            "consumer_secret": {"env": "CANARY_SECRET"},
            "requests_per_second": 1000,
            **settings,
        }
    )


def product(number: int, **changes: Any) -> dict[str, Any]:
    """A product of the shape that a real server sends, reduced to the fields that are read."""
    return {
        "id": number,
        "name": f"Linen Shirt {number}",
        "permalink": f"https://shop.example.com/product/linen-shirt-{number}/",
        "date_created_gmt": "2025-10-14T18:00:00",
        "date_modified_gmt": "2026-01-02T03:04:05",
        "type": "simple",
        "status": "publish",
        "catalog_visibility": "visible",
        "description": "<p>Soft &amp; light.</p>\n",
        "short_description": "",
        "sku": f"LS-{number}",
        "price": "82.90",
        "on_sale": False,
        "stock_status": "instock",
        "categories": [{"id": 34, "name": "Shirts &amp; Tops", "slug": "shirts"}],
        "tags": [{"id": 9, "name": "New In", "slug": "new-in"}],
        "images": [
            {
                "id": 1000 + number,
                "date_modified_gmt": "2026-11-20T05:53:22",
                "src": f"https://shop.example.com/wp-content/uploads/{number}.jpg",
                "name": "x",
                "alt": "",
            }
        ],
        **changes,
    }


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def clock(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Moves the clock and takes note."""
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds


class FakeWoo:
    """Answers as WooCommerce does; `pages` may be replaced to misbehave."""

    def __init__(self, products: list[Any], currency: str = "EUR") -> None:
        self.products = products
        self.trash: list[Any] = []
        # Ids of objects that are counted and never shown.
        self.unreadable: set[int] = set()
        self.currency = currency
        self.requests: list[httpx.Request] = []
        self.headers: dict[str, str] = {}
        self.override: Callable[[httpx.Request], httpx.Response | None] = lambda _request: None
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.requests.append(request)
        answer = self.override(request)
        if answer is not None:
            return answer
        if request.url.path.endswith("/data/currencies/current"):
            return reply({"code": self.currency, "name": "x", "symbol": "x"})
        params = request.url.params
        per_page, page = int(params["per_page"]), int(params["page"])
        listed = self._listed(params)
        found = [
            entry
            for entry in listed[(page - 1) * per_page : page * per_page]
            if not (isinstance(entry, dict) and entry.get("id") in self.unreadable)
        ]
        if "_fields" in params:
            fields = params["_fields"].split(",")
            found = [
                {name: entry[name] for name in fields if name in entry}
                if isinstance(entry, dict)
                else entry
                for entry in found
            ]
        pages = -(-len(listed) // per_page)
        headers = {"X-WP-Total": str(len(listed)), "X-WP-TotalPages": str(pages)}
        return reply(found, headers={**headers, **self.headers})

    def _listed(self, params: httpx.QueryParams) -> list[Any]:
        """Every product that a query finds, in the order of the list."""
        listed = self.trash if params.get("status") == "trash" else self.products
        if "include" in params:
            asked = params["include"].split(",")
            listed = [entry for entry in listed if str(entry["id"]) in asked]
        if "modified_after" in params:
            assert params["dates_are_gmt"] == "true"
            after = params["modified_after"]
            listed = [entry for entry in listed if entry["date_modified_gmt"] > after]
        return listed

    @property
    def transport(self) -> httpx.MockTransport:
        """The network that leads here."""
        return httpx.MockTransport(self)


def page_of(request: httpx.Request) -> int | None:
    """The number of the page that is asked for; None for anything that is no page of a walk."""
    params = request.url.params
    if not request.url.path.endswith("/products") or {"_fields", "include"} & set(params):
        return None
    return int(params["page"])


def reply(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> httpx.Response:
    """A JSON answer."""
    return httpx.Response(
        status,
        content=json.dumps(data).encode(),
        headers={"Date": NOW, "Content-Type": "application/json", **(headers or {})},
    )


def recorded(folder: Path, name: str) -> httpx.Response:
    """A recorded answer as a response."""
    kept = json.loads((folder / "woocommerce" / f"{name}.json").read_text())
    body = kept["body"]
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    dropped = {"transfer-encoding", "content-encoding", "content-length", "connection"}
    headers = {k: v for k, v in kept["headers"].items() if k.lower() not in dropped}
    return httpx.Response(kept["status"], content=content, headers=headers)


def recorded_products(folder: Path) -> Iterator[dict[str, Any]]:
    """Every whole product in the recorded answers."""
    for path in sorted((folder / "woocommerce").glob("*.json")):
        kept = json.loads(path.read_text())
        if isinstance(kept, dict):
            yield from _whole_products(kept.get("body"))


def _whole_products(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and {"id", "name", "sku", "permalink"} <= value.keys():
        if isinstance(value["id"], int):
            yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _whole_products(part)
    elif isinstance(value, list):
        for part in value:
            yield from _whole_products(part)


def client_of(handler: Handler, fake: FakeTime | None = None, **settings: Any) -> StoreClient:
    """A client of a store that this handler plays, whose waits take no time."""
    fake = fake or FakeTime()
    return StoreClient(
        store(**settings),
        transport=httpx.MockTransport(handler),
        sleep=fake.sleep,
        clock=fake.clock,
    )


def scripted(*answers: httpx.Response | Exception) -> Handler:
    """Gives one answer after the other, the last one for ever."""
    queue = list(answers)

    def handle(_request: httpx.Request) -> httpx.Response:
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handle
