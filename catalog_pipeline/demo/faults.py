"""Breaking and slowing a sample store, request by request, as real stores break.

A fault has a condition (which requests, how often, after how many) and an effect. Faults are
asked in the order in which they were added; the first one with an answer of its own wins, while
delays and changes of an answer add up.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from catalog_pipeline.demo.messages import HTML, JSON, Request, Response

Respond = Callable[[Request], Response]
Change = Callable[[Response], Response]

MAINTENANCE_PAGE: Final = (
    b"<!DOCTYPE html>\n<html><head><title>Maintenance</title></head><body><h1>Briefly unavailable "
    b"for scheduled maintenance. Check back in a minute.</h1></body></html>\n"
)


@dataclass(slots=True)
class Fault:
    """One way in which a store misbehaves.

    `path` is a regular expression searched for in the path below the store's root, `query` one in
    the query; `method` an exact method; `page` the listing's page. `after` requests pass unharmed
    before it strikes, then it strikes `times` times (None: for ever). `delay` is in seconds.
    """

    path: str = ""
    query: str = ""
    method: str | None = None
    page: int | None = None
    times: int | None = None
    after: int = 0
    delay: float = 0.0
    respond: Respond | None = None
    rewrite: Callable[[Request], Request] | None = None
    change: Change | None = None
    struck: int = field(default=0, init=False)
    _seen: int = field(default=0, init=False)

    def meets(self, request: Request) -> bool:
        """Whether the fault applies to this request; counts it."""
        if self.method not in (None, request.method):
            return False
        if not (re.search(self.path, request.path) and re.search(self.query, request.query)):
            return False
        if self.page is not None and request.parameters.get("page", "1") != str(self.page):
            return False
        self._seen += 1
        if self._seen <= self.after or (self.times is not None and self.struck >= self.times):
            return False
        self.struck += 1
        return True


class Faults:
    """The faults of one store."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def insert(self, fault: Fault) -> Fault:
        """Add a fault; the returned object tells how often it `struck`."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Take one fault away."""
        with self._lock:
            self._faults.remove(fault)

    def clear(self) -> None:
        """Heal the store."""
        with self._lock:
            self._faults.clear()

    def answer(self, request: Request, respond: Respond) -> Response:
        """The response to a request after all faults that meet it."""
        with self._lock:
            met = [fault for fault in self._faults if fault.meets(request)]
        if not met:
            return respond(request)
        time.sleep(sum(fault.delay for fault in met))
        for fault in met:
            if fault.rewrite is not None:
                request = fault.rewrite(request)
        own = next((fault.respond for fault in met if fault.respond is not None), respond)
        response = own(request)
        for fault in met:
            if fault.change is not None:
                response = fault.change(response)
        return response

    # --- the faults that stores are known for ------------------------------------------------

    def add(
        self,
        *,
        status: int,
        times: int | None = None,
        path: str = "wp-json",
        headers: Mapping[str, str] | None = None,
        body: bytes = MAINTENANCE_PAGE,
        content_type: str = HTML,
        after: int = 0,
        page: int | None = None,
        method: str | None = None,
    ) -> Fault:
        """Answer with this status and body instead."""
        sent = {"Content-Type": content_type, **(headers or {})}

        def respond(_: Request) -> Response:
            return Response(status, body, dict(sent), kind="fault", chunked=False)

        return self.insert(
            Fault(path, page=page, times=times, after=after, respond=respond, method=method)
        )

    def delay(self, seconds: float, path: str = "", times: int | None = None) -> Fault:
        """Answer late."""
        return self.insert(Fault(path, times=times, delay=seconds))

    def html(self, times: int | None = None, path: str = "wp-json", after: int = 0) -> Fault:
        """A maintenance page with status 200, as some hosts and firewalls send."""
        return self.add(status=200, times=times, path=path, after=after)

    def invalid_json(self, times: int | None = None, path: str = "wp-json") -> Fault:
        """JSON that ends in the middle, as when PHP dies."""

        def change(response: Response) -> Response:
            body = response.body()
            return replace(response, payload=body[: len(body) // 2])

        return self.insert(Fault(path, times=times, change=change))

    def noise_before_json(
        self,
        noise: bytes = b"\xef\xbb\xbf<br />\n<b>Notice</b>: Undefined index",
        path: str = "wp-json",
    ) -> Fault:
        """A byte order mark and a PHP notice before the JSON."""

        def change(response: Response) -> Response:
            return replace(response, payload=noise + response.body())

        return self.insert(Fault(path, change=change))

    def reset(
        self, after_bytes: int = 100, times: int | None = None, path: str = "wp-json"
    ) -> Fault:
        """Reset the connection in the middle of the body."""

        def change(response: Response) -> Response:
            return replace(response, cut_after=after_bytes)

        return self.insert(Fault(path, times=times, change=change))

    def drop_products(self, ids: Collection[int]) -> Fault:
        """Leave unreadable products out of their pages though they are counted."""

        def change(response: Response) -> Response:
            if not isinstance(response.payload, list):
                return response
            kept = [item for item in response.payload if item.get("id") not in ids]
            return replace(response, payload=kept)

        return self.insert(Fault(r"products/?$", change=change))

    def empty_page(self, page: int, times: int | None = None) -> Fault:
        """A page in the middle without any product, though the next one has some."""

        def change(response: Response) -> Response:
            return replace(response, payload=[])

        return self.insert(Fault(r"products/?$", page=page, times=times, change=change))

    def repeat_first_page(self) -> Fault:
        """A cache that ignores the query: every page is the first, for ever."""

        def rewrite(request: Request) -> Request:
            kept = [p for p in request.query.split("&") if not p.startswith(("page=", "offset="))]
            return replace(request, query="&".join(kept))

        return self.insert(Fault(r"products/?$", rewrite=rewrite))

    def wrong_totals(self, total: int | None, pages: int | None = None) -> Fault:
        """Announce another number of products; None announces none at all."""

        def change(response: Response) -> Response:
            headers = dict(response.headers)
            for name, value in (("X-WP-Total", total), ("X-WP-TotalPages", pages)):
                if total is None:
                    headers.pop(name, None)
                elif value is not None and name in headers:
                    headers[name] = str(value)
            return replace(response, headers=headers)

        return self.insert(Fault(r"products/?$", change=change))

    def close_rest_api(self) -> Fault:
        """A security plugin that hides the REST API: 404 with the theme's page."""
        return self.add(status=404, body=b"<!DOCTYPE html>\n<html><body>Not found</body></html>\n")

    def forbid_rest_api(self) -> Fault:
        """A security plugin that lets only users of the site into the REST API."""
        body = (
            b'{"code":"rest_forbidden","message":"REST API restricted to authenticated users.",'
            b'"data":{"status":401}}'
        )
        return self.add(status=401, body=body, content_type=JSON)

    def plain_permalinks(self, root: str) -> Fault:
        """A site without pretty permalinks: a redirect to its home page, which is HTML."""
        return self.add(status=301, body=b"", headers={"Location": f"{root}/"})
