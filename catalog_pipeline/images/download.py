"""One picture from one URL of a store, with everything that can go wrong turned into an outcome.

Retries of picture requests live here and nowhere else. What is owed, and what an outcome means for
the catalogue, is decided in `sync.py`; which addresses may be dialled, in `network/`.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import httpcore
import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from catalog_pipeline.images.retries import (
    BACKOFF_SECONDS,
    HostWatch,
    TryAgainError,
    pause_before_next,
)
from catalog_pipeline.images.urls import origin, parsed_url
from catalog_pipeline.images.validators import Validators
from catalog_pipeline.network.deadlines import deadline
from catalog_pipeline.network.guard import AddressRefusedError, GuardError, PortRefusedError
from catalog_pipeline.network.pool import guarded_pool, port_of
from catalog_pipeline.network.resolver import UnknownHostError
from catalog_pipeline.network.retry_after import http_date, retry_after
from catalog_pipeline.stores import StoreConfig

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 30.0
MAX_REDIRECTS = 3

UNUSABLE_URL = "unusable URL"
PRIVATE_ADDRESS = "address is not public"
FORBIDDEN_ADDRESS = "address is never dialled"
HOST_DOES_NOT_ANSWER = "host does not answer"

Outcome = Literal["fetched", "unchanged", "gone", "refused", "failed", "postponed"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def refused_port(port: int) -> str:
    """The reason recorded for a URL on a port that the store's configuration does not allow."""
    return f"port {port} is not allowed"


def allowed_ports(store: StoreConfig) -> frozenset[int]:
    """`image_ports`, and the port of the store's own URL."""
    return frozenset({*store.image_ports, port_of(httpx.URL(store.url))})


def too_many_bytes(limit: int) -> str:
    """The reason recorded for a body over the limit; another limit makes another reason."""
    return f"too many bytes: over {limit}"


@dataclass(frozen=True, slots=True)
class Download:
    """What came of one URL.

    `refused` is an answer that asking again soon cannot change, `failed` one that it may;
    `postponed` was not asked, because its host has stopped answering.
    """

    outcome: Outcome
    reason: str | None = None
    content: bytes | None = None
    etag: str | None = None
    last_modified: str | None = None
    requests: int = 0
    retries: int = 0


class _Counter:
    def __init__(self) -> None:
        self.requests = 0
        self.attempts = 0


class Downloader:
    """Fetches a store's pictures; one pool of connections for all the threads that share it."""

    def __init__(
        self,
        store: StoreConfig,
        *,
        sleep: Callable[[float], None] = time.sleep,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        """Prepare for a store; nothing is dialled before the first `fetch`.

        Args:
            store: whose limits, ports, headers and certificate apply. Its extra headers go to its
                own origin only.
            sleep: waits between attempts and for hosts; what it raises passes through `fetch`.
            total_seconds: the limit on one attempt, redirects and body included, but not the pauses
                that hosts ask for.

        Raises:
            ConfigurationError: the store's `ca_file` cannot be read or holds no certificate.
        """
        # A folder, so that a relative URL lands inside a shop that lives in one.
        self._site = httpx.URL(store.url + "/")
        self._max_bytes = store.quality.max_bytes
        self._validators = Validators.of(store)
        self._headers = [
            (b"User-Agent", store.sent_user_agent.encode("ascii")),
            (b"Accept", b"image/jpeg,image/png,image/webp,image/gif;q=0.9,*/*;q=0.1"),
            (b"Accept-Encoding", b"identity"),
        ]
        self._own_headers = [
            (name.encode("ascii"), value.encode("ascii")) for name, value in store.headers.items()
        ]
        self._sleep = sleep
        self._total_seconds = total_seconds
        self._hosts = HostWatch()
        # httpcore itself rather than an httpx client: redirects, cookies, netrc and content
        # decoding would all have to be switched off.
        self._pool = guarded_pool(store, allowed_ports(store))

    def __enter__(self) -> Downloader:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def fetch(
        self, url: str, *, etag: str | None = None, last_modified: str | None = None
    ) -> Download:
        """Get a picture, unless it is unchanged by the validators of an earlier answer.

        Args:
            url: as the store gave it; a relative one is taken from the store's own URL.
            etag: the earlier answer's `ETag`, if the answer 304 is of use.
            last_modified: the earlier answer's `Last-Modified`, likewise.
        """
        target = parsed_url(url, self._site)
        if target is None:
            return Download("refused", UNUSABLE_URL)
        if self._hosts.has_given_up(target.host):
            return Download("postponed", HOST_DOES_NOT_ANSWER)
        conditions = [
            (name, value.encode("latin-1"))
            for name, value in ((b"If-None-Match", etag), (b"If-Modified-Since", last_modified))
            if value
        ]
        counter = _Counter()
        retrying = Retrying(
            retry=retry_if_exception_type(TryAgainError),
            stop=stop_after_attempt(1 + len(BACKOFF_SECONDS)),
            wait=pause_before_next,
            sleep=self._pause,
            reraise=True,
        )
        try:
            found = retrying(self._attempt, target, conditions, counter)
        except TryAgainError as error:
            logger.debug("a picture of %s is given up for now: %s", target.host, error.reason)
            found = Download("failed", error.reason)
        self._hosts.record(target.host, failed=found.outcome == "failed" and counter.attempts > 1)
        return replace(found, requests=counter.requests, retries=max(0, counter.attempts - 1))

    def _attempt(
        self, url: httpx.URL, conditions: list[tuple[bytes, bytes]], counter: _Counter
    ) -> Download:
        """One request with its redirects and its body."""
        counter.attempts += 1
        try:
            return self._follow(url, conditions, counter)
        except (
            GuardError,
            httpcore.TimeoutException,
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.UnsupportedProtocol,
            ValueError,
        ) as error:
            return _outcome_of(error)

    def _follow(
        self, url: httpx.URL, conditions: list[tuple[bytes, bytes]], counter: _Counter
    ) -> Download:
        left = self._total_seconds
        for _ in range(1 + MAX_REDIRECTS):
            # Of every host on the way, and outside the time that its answer may take.
            self._pause(self._hosts.pause_left(url.host))
            counter.requests += 1
            began = time.monotonic()
            with deadline(left):
                answer = self._request(url, conditions)
            left -= time.monotonic() - began
            if isinstance(answer, Download):
                return answer
            if url.scheme == "https" and answer.scheme != "https":
                return Download("refused", "redirect from https to http")
            url = answer
        return Download("refused", "too many redirects")

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self._sleep(seconds)

    def _request(
        self, url: httpx.URL, conditions: list[tuple[bytes, bytes]]
    ) -> Download | httpx.URL:
        """One request: its outcome, or where it redirects to."""
        headers = [(b"Host", url.netloc), *self._headers, *conditions]
        if origin(url) == origin(self._site):
            headers += self._own_headers
        with self._pool.stream(
            b"GET",
            httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=headers,
            extensions={
                "timeout": {
                    "connect": CONNECT_SECONDS,
                    "read": self._total_seconds,
                    "write": self._total_seconds,
                    # Threads and connections are equally many.
                    "pool": self._total_seconds,
                }
            },
        ) as response:
            answered = {name.lower(): value for name, value in response.headers}
            status = response.status
            if status in _REDIRECTS and b"location" in answered:
                target = parsed_url(answered[b"location"].decode("latin-1"), url)
                return Download("refused", "unusable redirect") if target is None else target
            if status == 200:
                return self._body(response, answered)
            if status == 304 and conditions:
                return Download("unchanged")
            if status in (404, 410):
                return Download("gone", f"HTTP {status}")
            if status in (408, 429) or status >= 500:
                asked = _asked_to_wait(answered)
                if asked is not None:
                    # The host means everybody who asks it, not just this thread.
                    self._hosts.pause(url.host, asked)
                raise TryAgainError(f"HTTP {status}", host_asked=asked is not None)
            return Download("refused", f"HTTP {status}")

    def _body(self, response: httpcore.Response, headers: dict[bytes, bytes]) -> Download:
        encodings = [v for name, v in response.headers if name.lower() == b"content-encoding"]
        if any(value.strip().lower() not in (b"", b"identity") for value in encodings):
            return Download("refused", "content encoding that was not asked for")
        announced = headers.get(b"content-length", b"")
        refusal = Download("refused", too_many_bytes(self._max_bytes))
        if announced.isdigit() and int(announced) > self._max_bytes:
            return refusal
        # Not a list of pieces: a server decides how small they are, and each would cost its object.
        content = bytearray()
        for piece in response.iter_stream():
            content += piece
            if len(content) > self._max_bytes:
                return refusal
        if not content:
            return Download("failed", "empty answer")
        return Download(
            "fetched",
            content=bytes(content),
            etag=self._validators.kept(headers.get(b"etag")),
            last_modified=self._validators.kept(headers.get(b"last-modified")),
        )


def _outcome_of(error: Exception) -> Download:
    """The outcome of an attempt that an exception ended.

    Raises:
        TryAgainError: another attempt may end otherwise.
    """
    if isinstance(error, PortRefusedError):
        return Download("refused", refused_port(error.port))
    if isinstance(error, AddressRefusedError):
        return Download("refused", PRIVATE_ADDRESS if error.is_private else FORBIDDEN_ADDRESS)
    if isinstance(error, UnknownHostError):
        return Download("failed", "unknown host")
    if isinstance(error, httpcore.TimeoutException):
        raise TryAgainError("time-out") from error
    if isinstance(error, httpcore.NetworkError | httpcore.RemoteProtocolError):
        if _is_certificate_error(error):
            return Download("failed", "certificate is not valid")
        raise TryAgainError("connection broke") from error
    # h11 refuses to send the request, or ssl to name the host.
    return Download("refused", UNUSABLE_URL)


def _is_certificate_error(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _asked_to_wait(headers: dict[bytes, bytes]) -> float | None:
    date, wait = (headers.get(name, b"").decode("latin-1") for name in (b"date", b"retry-after"))
    return retry_after(wait, http_date(date) or datetime.now(UTC))
