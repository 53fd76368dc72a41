"""Several pages asked for at once, handed out one after the other, and all taken back at once.

A request that waits for a slow store cannot be told to stop: it sits in a socket, or sleeps between
two attempts. So whoever no longer wants an answer says so by an event, and the connections are shut
down under the requests that wait in them. Which pages are wanted belongs to the listing.
"""

from __future__ import annotations

import socket
import threading
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Protocol, Self

from catalog_pipeline.products.answers import Answer

# How late a sleeping request may notice that nobody waits for it any more.
_SLICE_SECONDS = 0.1


class GivenUpError(Exception):
    """Nobody waits for the answer any more; seen by no one but the thread that asked."""


class Ask(Protocol):
    """What reads one page."""

    def __call__(self, number: int, given_up: threading.Event) -> Answer:
        """The page with this number, counted from 1; any error once `given_up` is set."""


class Ahead:
    """Pages under way, each read in a thread of its own.

    Leaving the block gives up what nobody took; no thread is left behind then.
    """

    def __init__(self, ask: Ask, cut: Callable[[], None], most: int, name: str) -> None:
        """Prepare.

        Args:
            ask: reads a page; called from several threads.
            cut: ends the requests that wait for an answer.
            most: as many pages at once.
            name: of the threads.
        """
        self._ask = ask
        self._cut = cut
        self._given_up = threading.Event()
        self._under_way: dict[int, Future[Answer]] = {}
        self._threads = ThreadPoolExecutor(most, thread_name_prefix=name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_up()
        self._threads.shutdown()

    def begin(self, numbers: Iterable[int]) -> None:
        """Ask for those of the pages that are not asked for yet."""
        for number in numbers:
            if number not in self._under_way:
                ask = copy_context().run
                future = self._threads.submit(ask, self._ask, number, self._given_up)
                self._under_way[number] = future

    def take(self, number: int) -> Answer:
        """A page that was begun, once it is here; or its error."""
        answer = self._under_way[number].result()
        # Not before it is here: an interrupt while we wait must give it up as well.
        del self._under_way[number]
        return answer

    def give_up(self) -> None:
        """Take back everything that is under way, and return once nothing is."""
        under_way = [future for future in self._under_way.values() if not future.cancel()]
        self._given_up.set()
        if not all(future.done() for future in under_way):
            self._cut()
            wait(under_way)
        self._given_up = threading.Event()
        self._under_way.clear()


class Connections:
    """The open connections of a client, so that they can be shut down from another thread."""

    def __init__(self) -> None:
        self._streams: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()

    def watch(self, given_up: threading.Event | None) -> dict[str, Any]:
        """The extensions of a request that ends soon after `given_up` is set and they are cut."""

        def trace(event: str, told: dict[str, Any]) -> None:
            if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
                with self._lock:
                    self._streams.add(told["return_value"])
            # After the connection was noted: whichever comes first, this or the cut, is noticed.
            if event.endswith(".started"):
                check(given_up)

        return {"trace": trace}

    def cut(self) -> None:
        """Shut down every connection; what waits in one fails at once, the next request opens a
        new one.
        """
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            found = stream.get_extra_info("socket")
            if isinstance(found, socket.socket):
                with suppress(OSError):
                    found.shutdown(socket.SHUT_RDWR)


def check(given_up: threading.Event | None) -> None:
    """Go on only if somebody still waits.

    Raises:
        GivenUpError: nobody does.
    """
    if given_up is not None and given_up.is_set():
        raise GivenUpError("nobody waits for this answer any more")


def attentive(
    sleep: Callable[[float], None], given_up: threading.Event | None
) -> Callable[[float], None]:
    """A sleep that ends, with a `GivenUpError`, soon after `given_up` is set."""
    if given_up is None:
        return sleep

    def slices(seconds: float) -> None:
        while seconds > 0:
            check(given_up)
            sleep(min(seconds, _SLICE_SECONDS))
            seconds -= _SLICE_SECONDS
        check(given_up)

    return slices
