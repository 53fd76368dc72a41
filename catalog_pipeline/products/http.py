"""One store's HTTP API: asked politely, retried where that helps, refused clearly elsewhere.

This is the only place where requests to a store's API are retried. What is asked and what the
answers mean belongs to the source. The network itself is a transport passed in, so that a guard of
addresses or a test can take its place.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from catalog_pipeline.network.deadlines import deadline
from catalog_pipeline.network.guard import GuardError
from catalog_pipeline.network.retry_after import http_date, retry_after
from catalog_pipeline.products.ahead import Connections, attentive, check
from catalog_pipeline.products.answers import (
    Answer,
    Asked,
    Facts,
    StoreRefusedError,
    StoreUnavailableError,
    Trouble,
    examine,
    judge,
)
from catalog_pipeline.products.bodies import (
    TooDeepError,
    TooManyValuesError,
    in_utf8,
    parse_json,
)
from catalog_pipeline.products.network import diagnose, store_client
from catalog_pipeline.products.pace import Pace
from catalog_pipeline.products.redaction import Redactor
from catalog_pipeline.stores import StoreConfig

logger = logging.getLogger(__name__)

RETRY_WAITS = (1.0, 2.0, 4.0, 8.0)
MAX_BODY_BYTES = 64 * 1024 * 1024
# A page of 100 full products has some ten thousand. In memory a value takes up to 100 bytes however
# few it has in JSON, and several pages are read side by side.
MAX_VALUES = 1_000_000
# A page of 100 full products took 0.5 s on a fast server; shared hosts take tens of seconds.
_TOTAL_SECONDS = 180.0
# A walk ends once it took half an hour and this much for each request besides, so that a store that
# hangs without failing does not keep a run's place from the others.
_SLOW_START_SECONDS = 1_800.0
_SLOWEST_SECONDS = 30.0
# Stacked or denser codings could unpack a few bytes into gigabytes between two looks at the size.
_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})


@dataclass
class Counters:
    """What was asked of a store and how it went; bytes are as they came over the wire."""

    requests: int = 0
    retries: int = 0
    throttles: int = 0
    bytes: int = 0


class StoreClient:
    """Reads JSON from one store; safe to share between threads."""

    def __init__(
        self,
        store: StoreConfig,
        *,
        transport: httpx.BaseTransport | None = None,
        retry_waits: tuple[float, ...] = RETRY_WAITS,
        patience: float | None = None,
        max_bytes: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; neither the network nor a secret is touched before the first request.

        Args:
            store: address, keys, pace and headers.
            transport: the network; by default the guarded one.
            retry_waits: seconds before each further attempt at a request.
            patience: seconds that one attempt may take; by default what a slow shared host needs
                for a full page.
            max_bytes: as long may an answer be once unpacked; by default more than any page is.
            sleep: waits; replaced in tests.
            clock: a monotonic clock that `sleep` moves on.
        """
        self._store = store
        self._waits = retry_waits
        self._total_seconds = _TOTAL_SECONDS if patience is None else patience
        self._max_bytes = MAX_BODY_BYTES if max_bytes is None else max_bytes
        self._sleep = sleep
        self._clock = clock
        self._pace = Pace(store.requests_per_second, sleep=sleep, clock=clock)
        self._slots = threading.BoundedSemaphore(store.connections)
        self._lock = threading.Lock()
        self._counters = Counters()
        self._transport = transport
        self._client: httpx.Client | None = None
        self._connections = Connections()
        self._redactor = Redactor(())
        self._began: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    @property
    def user_agent(self) -> str:
        """What the store sees this client as."""
        return self._store.sent_user_agent

    def counters(self) -> dict[str, int]:
        """Requests, retries, throttles and bytes so far."""
        with self._lock:
            return asdict(self._counters)

    def get(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        expect: type,
        given_up: threading.Event | None = None,
    ) -> Answer:
        """Read a JSON document below the store's address.

        Args:
            path: begins with a slash.
            params: the query; never holds a key. A list of more than its `per_page` is refused.
            expect: `list` or `dict`, whichever the document is.
            given_up: once it is set, nobody waits for the answer any more; see `cut`.

        Raises:
            GivenUpError: nobody waits for the answer any more.
            StoreRefusedError: asking again would bring the same refusal.
            StoreUnavailableError: no attempt brought a usable answer.
            MissingSecretError: a key is not where `stores.yaml` says it is.
            ConfigurationError: the store's `ca_file` cannot be read.
        """
        client = self._open()
        self._check_progress()
        attempts = Retrying(
            stop=stop_after_attempt(len(self._waits) + 1),
            wait=self._wait_seconds,
            retry=retry_if_exception_type(StoreUnavailableError),
            sleep=attentive(self._sleep, given_up),
            before_sleep=self._count_retry,
            reraise=True,
        )
        try:
            return attempts(self._attempt, client, path, dict(params or {}), expect, given_up)
        except StoreUnavailableError as error:
            tries = attempts.statistics["attempt_number"]
            sentence = f"{error} (tried {tries} times)"
            raise StoreUnavailableError(sentence, error.trouble, error.facts) from None

    def cut(self) -> None:
        """Let every request fail that waits for an answer; for those that nobody waits for."""
        self._connections.cut()

    def _attempt(
        self,
        client: httpx.Client,
        path: str,
        params: dict[str, str | int],
        expect: type,
        given_up: threading.Event | None,
    ) -> Answer:
        with self._slots:
            check(given_up)
            self._pace.wait(attentive(self._sleep, given_up))
            self._count(requests=1)
            try:
                with self._translated(path), deadline(self._total_seconds):
                    response, body = self._exchange(client, path, params, given_up)
            except StoreUnavailableError:
                # It may have failed because it was cut, which is no reason to try again.
                check(given_up)
                raise
        body = in_utf8(body)
        data, too_deep = self._read(path, response.status_code, body)
        if response.status_code == 200 and isinstance(data, expect):
            self._check_number(path, data, params)
            usable = self._redactor.data(body)
            if usable is body:
                return Answer(response.headers, body, data)
            data, too_deep = self._read(path, response.status_code, usable)
            if isinstance(data, expect):
                return Answer(response.headers, usable, data)
        # Before the facts are cut to length, and after their markup is gone.
        redacted = self._redactor.raw(body)
        if redacted != body:
            data, too_deep = self._read(path, response.status_code, redacted)
        # As bytes: a stranger's header need not be ASCII, and httpx takes no other as text.
        headers = httpx.Headers(
            [(name, self._redactor.raw(value)) for name, value in response.headers.raw]
        )
        asked = Asked(
            "GET", self._redactor.text(str(response.url)), self.user_agent, datetime.now(UTC)
        )
        facts = examine(asked, response.status_code, headers, redacted, data, too_deep=too_deep)
        raise self._judge(path, response, self._redactor.facts(facts))

    def _exchange(
        self,
        client: httpx.Client,
        path: str,
        params: dict[str, str | int],
        given_up: threading.Event | None,
    ) -> tuple[httpx.Response, bytes]:
        watched = self._connections.watch(given_up)
        deadline = self._clock() + self._total_seconds
        chunks: list[bytes] = []
        size = 0
        with client.stream(
            "GET", self._store.url + path, params=params, extensions=watched
        ) as response:
            encoding = response.headers.get("content-encoding", "").strip().lower()
            if encoding not in _ENCODINGS:
                raise httpx.DecodingError(f"content encoding {encoding[:40]!r} was not asked for")
            try:
                for chunk in response.iter_bytes():
                    size += len(chunk)
                    if size > self._max_bytes:
                        limit = f"{self._max_bytes // 2**20} MiB"
                        raise self._too_large(path, response.status_code, limit)
                    if self._clock() > deadline:
                        raise httpx.ReadTimeout(f"not all there after {self._total_seconds:.0f} s")
                    chunks.append(chunk)
            finally:
                self._count(bytes=response.num_bytes_downloaded)
        return response, b"".join(chunks)

    def _judge(
        self, path: str, response: httpx.Response, facts: Facts
    ) -> StoreRefusedError | StoreUnavailableError:
        if response.status_code == 429:
            self._count(throttles=1)
        error = judge(self._where(path), response.status_code, facts)
        if isinstance(error, StoreUnavailableError):
            error.retry_after = self._asked_pause(response)
        return error

    def _asked_pause(self, response: httpx.Response) -> float | None:
        now = http_date(response.headers.get("date")) or datetime.now(UTC)
        asked = [retry_after(one, now) for one in response.headers.get_list("retry-after")]
        # Of several, as proxies add them, the one that asks for most.
        seconds = max((one for one in asked if one is not None), default=None)
        if seconds is not None:
            # The store means everybody who asks it, not just this thread.
            self._pace.pause(seconds)
        return seconds

    def _check_progress(self) -> None:
        """Give up on a store that answers, but so slowly that a walk would never end."""
        with self._lock:
            now = self._clock()
            self._began = now if self._began is None else self._began
            requests, taken = self._counters.requests, now - self._began
        each = _SLOWEST_SECONDS + 1 / self._store.requests_per_second
        if taken > _SLOW_START_SECONDS + requests * each:
            raise StoreUnavailableError(
                f"store {self._store.id}: {self._store.url} is too slow to be read: {requests} "
                f"requests took {taken / 60:.0f} minutes; its host can say why. What it showed is "
                "kept",
                Trouble.TIMEOUT,
                Facts(),
            )

    def _wait_seconds(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, StoreUnavailableError) else None
        if asked is not None:
            return asked
        # Asked for after the last attempt too, where nothing is waited for any more.
        return self._waits[min(state.attempt_number, len(self._waits)) - 1] if self._waits else 0.0

    def _count_retry(self, state: RetryCallState) -> None:
        self._count(retries=1)
        wait = state.next_action.sleep if state.next_action else 0.0
        logger.debug("tried again in %.1f s: %s", wait, state.outcome and state.outcome.exception())

    def _read(self, path: str, status: int, body: bytes) -> tuple[Any, bool]:
        """The JSON in a body or None, and whether there is some that is nested too deeply."""
        try:
            return parse_json(body, most_values=MAX_VALUES), False
        except TooDeepError:
            return None, True
        except TooManyValuesError:
            if status == 200:
                raise self._too_large(path, status, f"{MAX_VALUES} values") from None
        except ValueError:
            pass
        return None, False

    def _check_number(self, path: str, data: Any, params: Mapping[str, str | int]) -> None:
        asked = params.get("per_page")
        if isinstance(data, list) and asked is not None and len(data) > int(asked):
            raise StoreRefusedError(
                f"{self._where(path)} sent {len(data)} records where {asked} were asked for: "
                "something in front of the store caches answers and ignores the query; exclude "
                "/wp-json/ from that cache",
                Trouble.TOO_LARGE,
                Facts(status=200),
            )

    def _too_large(self, path: str, status: int, limit: str) -> StoreRefusedError:
        return StoreRefusedError(
            f"{self._where(path)} sent more than {limit} in one answer",
            Trouble.TOO_LARGE,
            Facts(status=status),
        )

    @contextlib.contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        # `from None`: the library's errors carry the request, and with it the key.
        try:
            yield
        except httpx.TimeoutException as error:
            raise self._unavailable(path, Trouble.TIMEOUT, f"took too long ({error})") from None
        except httpx.DecodingError as error:
            sentence = f"sent a body that cannot be unpacked ({error})"
            raise self._unavailable(path, Trouble.BROKEN, sentence) from None
        except (httpx.HTTPError, UnicodeError) as error:
            trouble, sentence = diagnose(error)
            if trouble is Trouble.TLS:
                raise StoreRefusedError(
                    self._redactor.text(f"{self._where(path)}: {sentence}"), trouble, Facts()
                ) from None
            raise self._unavailable(path, trouble, sentence) from None
        except GuardError as error:
            raise StoreRefusedError(
                f"{self._where(path)}: {error}", Trouble.GUARDED, Facts(message=str(error))
            ) from None
        except httpx.InvalidURL as error:
            raise StoreRefusedError(
                self._redactor.text(f"{self._where(path)}: {error}"), Trouble.BAD_ADDRESS, Facts()
            ) from None

    def _unavailable(self, path: str, trouble: Trouble, sentence: str) -> StoreUnavailableError:
        text = self._redactor.text(f"{self._where(path)}: {sentence}")
        return StoreUnavailableError(text, trouble, Facts())

    def _where(self, path: str) -> str:
        return f"store {self._store.id}: {self._store.url}{path}"

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, number in more.items():
                setattr(self._counters, name, getattr(self._counters, name) + number)

    def _open(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
            return self._client

    def _new_client(self) -> httpx.Client:
        key = self._store.consumer_key.read("consumer_key")
        secret = self._store.consumer_secret.read("consumer_secret")
        credentials = base64.b64encode(f"{key}:{secret}".encode()).decode()
        self._redactor = Redactor((key, secret, credentials))
        return store_client(self._store, credentials, self._transport, self._total_seconds)
