"""What a WooCommerce site answers to a request: routes, rights, headers and errors.

Follows recorded answers of WooCommerce 11.0.1. Sockets are elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

import numpy as np

from catalog_pipeline.demo.keys import Caller
from catalog_pipeline.demo.listing import found, page_of
from catalog_pipeline.demo.messages import HTML, JSON, Request, Response
from catalog_pipeline.demo.parameters import BadParametersError, Listing, check_status, read_listing
from catalog_pipeline.demo.render import (
    CURRENCIES,
    Json,
    currency_json,
    currency_setting_json,
    slug_of,
)
from catalog_pipeline.demo.state import UnknownProductError
from catalog_pipeline.demo.store import WooStore
from catalog_pipeline.demo.uploads import PictureCache, upload_response

_LONGEST_TARGET: Final = 8 * 1024
_REST_HEADERS: Final = {
    "Content-Type": JSON,
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
    "Access-Control-Expose-Headers": "X-WP-Total, X-WP-TotalPages, Link",
    "Access-Control-Allow-Headers": (
        "Authorization, X-WP-Nonce, Content-Disposition, Content-MD5, Content-Type"
    ),
}
_NO_CACHE: Final = {
    "Expires": "Wed, 11 Jan 1984 05:00:00 GMT",
    "Cache-Control": "no-cache, must-revalidate, max-age=0, no-store, private",
}
_ID: Final = r"products/(\d{1,18})"
_COLLECTION: Final = "GET, POST"
_SINGLE: Final = "GET, POST, PUT, PATCH, DELETE"


class RestError(Exception):
    """An error answer: WordPress's code, sentence and status.

    `allow` is False where WordPress does not say which methods the caller may use.
    """

    def __init__(self, status: int, code: str, message: str, *, allow: bool = True) -> None:
        super().__init__(message)
        self.status = status
        self.allow = allow
        self.data: Json = {"status": status}
        self.payload: Json = {"code": code, "message": message, "data": self.data}


def _no_route() -> RestError:
    message = "No route was found matching the URL and request method."
    return RestError(404, "rest_no_route", message)


def _invalid_id(what: str = "product", *, allow: bool = True) -> RestError:
    return RestError(404, f"woocommerce_rest_{what}_invalid_id", "Invalid ID.", allow=allow)


class WooSite:
    """Answers for one store."""

    def __init__(self, store: WooStore, cache: PictureCache) -> None:
        self.store = store
        self._cache = cache
        self._routes: list[tuple[re.Pattern[str], str, Callable[..., Response]]] = [
            (re.compile(pattern + "/?"), methods, handler)
            for pattern, methods, handler in (
                ("products", "GET", self._products),
                ("products", "POST", self._create),
                (_ID, "GET", self._product),
                (_ID, "POST PUT PATCH", self._update),
                (_ID, "DELETE", self._delete),
                (_ID + "/variations", "GET", self._variations),
                (_ID + r"/variations/(\d{1,18})", "GET", self._variation),
                (r"data/currencies/([\w-]+)", "GET", self._currency),
                ("settings/general/woocommerce_currency", "GET", self._currency_setting),
            )
        ]

    def answer(self, request: Request) -> Response:
        """The site's response, faults included."""
        return self.store.faults.answer(request, self._answer)

    # --- outside the REST API ------------------------------------------------------------------

    def _answer(self, request: Request) -> Response:
        if len(request.path) + len(request.query) > _LONGEST_TARGET:
            page = b"<html>\r\n<head><title>414 Request-URI Too Large</title></head>\r\n</html>\r\n"
            return Response(414, page, {"Content-Type": HTML}, chunked=False)
        path = request.path
        if path == "wp-json" or path.startswith("wp-json/"):
            return self._rest(request, path.removeprefix("wp-json").strip("/"))
        if path.startswith("wp-content/uploads/"):
            image = upload_response(self.store, request, self._cache)
            return image or self._page(404, "Page not found", kind="image")
        if path in ("", "index.php"):
            return self._page(200, "Home")
        known = path.startswith("product/")
        return self._page(200, unquote(path)) if known else self._page(404, "Page not found")

    def _page(self, status: int, title: str, kind: str = "html") -> Response:
        shop = self.store.profile.title
        shown = f"{title} &#8211; {shop}".replace("<", "&lt;")
        body = (
            '<!DOCTYPE html>\n<html lang="en-US">\n<head>\n\t<meta charset="UTF-8" />\n'
            f"<title>{shown}</title>\n</head>\n<body><h1>{shown}</h1></body>\n</html>\n"
        )
        headers = {"Content-Type": HTML, "Link": self._root_link()}
        if status != 200:
            headers |= _NO_CACHE
        return Response(status, body.encode(), headers, kind=kind)

    def _root_link(self) -> str:
        return f'<{self.store.site.root}/wp-json/>; rel="https://api.w.org/"'

    # --- the REST API --------------------------------------------------------------------------

    def _rest(self, request: Request, route: str) -> Response:
        caller = self.store.keyring.caller(request.headers.get("Authorization", ""), request.method)
        headers = {**_REST_HEADERS, "Link": self._root_link()}
        if caller.key is not None:
            headers |= _NO_CACHE
        elif request.method != "HEAD":
            headers["Vary"] = "Origin"
        try:
            response = self._routed(request, route, caller, headers)
        except RestError as error:
            response = Response(error.status, error.payload, kind="error")
            if not error.allow:
                headers.pop("Allow", None)
        except BadParametersError as error:
            response = Response(400, error.payload, kind="error")
        response.headers = {**headers, **response.headers}
        return response

    def _routed(
        self, request: Request, route: str, caller: Caller, headers: dict[str, str]
    ) -> Response:
        if caller.refusal is not None:
            raise RestError(401, "woocommerce_rest_authentication_error", caller.refusal)
        method = "GET" if request.method == "HEAD" else request.method
        if route == "":
            return Response(200, self._index(), kind="index")
        if route == "wc/v3":
            headers["Allow"] = "GET"
            return Response(200, self._namespace(), kind="index")
        below = route.removeprefix("wc/v3/")
        matches = [
            (methods, handler, match)
            for pattern, methods, handler in self._routes
            if route != below and (match := pattern.fullmatch(below))
        ]
        for methods, handler, match in matches:
            if method in methods.split():
                if caller.may_view:
                    headers["Allow"] = _allowed(below)
                return handler(request, caller, *match.groups())
        raise _no_route()

    def _products(self, request: Request, caller: Caller) -> Response:
        asked = read_listing(request.parameters, self.store.site.zone)
        _check(caller, "list resources")
        with self.store.lock:
            ids, total = page_of(found(self.store, asked), asked)
            payload = [trimmed(self.store.product(i), asked.fields) for i in ids]
        return self._listed(request, asked, payload, total, "products")

    def _listed(
        self, request: Request, asked: Listing, payload: list[object], total: int, kind: str
    ) -> Response:
        pages = -(-total // asked.per_page)
        headers = {"X-WP-Total": str(total), "X-WP-TotalPages": str(pages)}
        links = []
        if asked.page > 1 and pages:
            links.append((min(asked.page - 1, pages), "prev"))
        if asked.page < pages:
            links.append((asked.page + 1, "next"))
        if links:
            headers["Link"] = ", ".join(
                f'<{self._same_with(request, page)}>; rel="{rel}"' for page, rel in links
            )
        return Response(200, payload, headers, kind=kind)

    def _same_with(self, request: Request, page: int) -> str:
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        query["page"] = str(page)
        path = request.path.rstrip("/")
        return f"{self.store.site.root}/{path}?{urlencode(query, quote_via=quote)}"

    def _product(self, request: Request, caller: Caller, product_id: str) -> Response:
        answer = self._existing(product_id)
        _check(caller)
        return Response(200, trimmed(answer, _fields(request)), kind="product")

    def _existing(self, product_id: str) -> Json:
        try:
            return self.store.product(int(product_id))
        except UnknownProductError:
            raise _invalid_id() from None

    def _create(self, request: Request, caller: Caller) -> Response:
        _check(caller, "create resources")
        fields = _body(request)
        name = fields.pop("name", None)
        check_status(str(fields.get("status", "publish")))
        product_id = self.store.add(name=None if name is None else str(name))
        answer = self.store.write(product_id, _writable(fields))
        return Response(201, self._editable(answer), kind="write")

    def _update(self, request: Request, caller: Caller, product_id: str) -> Response:
        self._existing(product_id)
        _check(caller, "edit this resource")
        fields = _writable(_body(request))
        if "status" in fields:
            check_status(str(fields["status"]))
        answer = self.store.write(int(product_id), fields)
        return Response(200, self._editable(answer), kind="write")

    def _delete(self, request: Request, caller: Caller, product_id: str) -> Response:
        answer = self._existing(product_id)
        _check(caller, "delete this resource")
        if request.parameters.get("force", "") in ("true", "1"):
            self.store.delete(int(product_id))
        elif answer["status"] == "trash":
            message = "The product has already been deleted."
            raise RestError(410, "woocommerce_rest_already_trashed", message)
        else:
            self.store.trash(int(product_id))
        return Response(200, self._editable(answer), kind="write")

    def _editable(self, answer: Json) -> Json:
        """The product as `context=edit` shows it, which every write answers."""
        links = answer["_links"]
        shown = {name: value for name, value in answer.items() if name != "_links"}
        shown["permalink_template"] = f"{self.store.site.root}/product/%pagename%/"
        shown["generated_slug"] = slug_of(str(answer["name"]))
        return {**shown, "_links": links}

    def _variations(self, request: Request, caller: Caller, product_id: str) -> Response:
        asked = read_listing(request.parameters, self.store.site.zone)
        _check(caller, "list resources")
        found_here = self.store.variations(int(product_id))
        if asked.include:
            found_here = [v for v in found_here if v["id"] in asked.include]
        if asked.orderby == "id" and asked.order == "asc":
            found_here.reverse()
        places, total = page_of(np.arange(len(found_here)), asked)
        payload = [trimmed(found_here[n], asked.fields) for n in places]
        return self._listed(request, asked, payload, total, "variations")

    def _variation(
        self, request: Request, caller: Caller, product_id: str, variation_id: str
    ) -> Response:
        mine = self.store.variations(int(product_id))
        answer = next((v for v in mine if v["id"] == int(variation_id)), None)
        if answer is None:
            raise _invalid_id("product_variation", allow=False)
        _check(caller)
        return Response(200, trimmed(answer, _fields(request)), kind="variations")

    def _currency(self, request: Request, caller: Caller, code: str) -> Response:
        _check(caller)
        code = self.store.site.currency if code == "current" else code.upper()
        if code not in CURRENCIES:
            message = "There are no currencies matching these parameters."
            raise RestError(404, "woocommerce_rest_data_invalid_currency", message)
        return Response(200, currency_json(self.store.site, code), kind="currency")

    def _currency_setting(self, request: Request, caller: Caller) -> Response:
        _check(caller)
        return Response(200, currency_setting_json(self.store.site), kind="currency")

    def _index(self) -> Json:
        site = self.store.site
        offset = self.store.clock.now().astimezone(site.zone).utcoffset()
        return {
            "name": self.store.profile.title,
            "description": "",
            "url": site.root,
            "home": site.root,
            "gmt_offset": offset.total_seconds() / 3600 if offset else 0,
            "timezone_string": site.zone.key,
            "page_for_posts": 0,
            "page_on_front": 0,
            "show_on_front": "posts",
            "namespaces": ["wc/v3", "wp/v2"],
            "authentication": {},
            "site_logo": 0,
            "site_icon": 0,
            "site_icon_url": "",
            "_links": {"help": [{"href": "https://developer.wordpress.org/rest-api/"}]},
        }

    def _namespace(self) -> Json:
        routes: Json = {}
        for pattern, methods, _ in self._routes:
            name = f"/wc/v3/{pattern.pattern.removesuffix('/?')}"
            known = routes.setdefault(name, {"namespace": "wc/v3", "methods": [], "endpoints": []})
            if isinstance(known, dict):
                known["methods"] += methods.split()
        return {"namespace": "wc/v3", "routes": routes}


def _check(caller: Caller, what: str = "view this resource") -> None:
    if not caller.may_view:
        status = 401 if caller.key is None else 403
        raise RestError(status, "woocommerce_rest_cannot_view", f"Sorry, you cannot {what}.")


def trimmed(answer: Json, fields: tuple[str, ...]) -> object:
    """What `_fields` leaves of an answer.

    A nested name such as `images.src` drops the whole field, and nothing left is an empty list,
    because PHP has no other empty array.
    """
    if not fields:
        return answer
    return {name: value for name, value in answer.items() if name in fields} or []


def _fields(request: Request) -> tuple[str, ...]:
    named = request.parameters.get("_fields", "")
    return tuple(part.strip() for part in named.split(",") if part.strip())


def _allowed(route: str) -> str:
    if route.startswith("data/"):
        return "GET"
    if route.startswith("settings/"):
        return "GET, POST, PUT, PATCH"
    return _SINGLE if re.search(r"\d/?$", route) else _COLLECTION


def _body(request: Request) -> Json:
    try:
        fields = json.loads(request.body or b"{}")
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        error = RestError(400, "rest_invalid_json", "Invalid JSON body passed.")
        error.data |= {"json_error_code": 4, "json_error_message": "Syntax error"}
        raise error
    return fields


def _writable(fields: Json) -> Json:
    """Without what only the server decides."""
    decided = {"id", "permalink", "_links", "price", "on_sale"}
    return {name: value for name, value in fields.items() if name not in decided}
