"""Work on a long stream in a few threads, with little of it in memory at any time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """Threads for one kind of work; use `workers`."""

    def __init__(self, number: int) -> None:
        """As many threads as `number`, started as they are needed."""
        self._number = number
        self.threads = ThreadPoolExecutor(number, thread_name_prefix="images")
        self.stopped = threading.Event()

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order in which they come; few items are taken ahead.

        Raises:
            Exception: the first one that `work` raises.
        """
        pending: set[Future[Result]] = set()
        for item in items:
            pending.add(self.threads.submit(copy_context().run, work, item))
            if len(pending) >= 2 * self._number:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


@contextmanager
def workers(number: int) -> Iterator[Workers]:
    """Threads that are told to stop, by `stopped`, and waited for when the block ends."""
    found = Workers(number)
    try:
        yield found
    finally:
        found.stopped.set()
        found.threads.shutdown(wait=True, cancel_futures=True)


def batches(items: Iterator[Item], size: int, seconds: float) -> Iterator[list[Item]]:
    """Lists of up to `size` items, shorter ones where items come slowly."""
    batch: list[Item] = []
    began = time.monotonic()
    for item in items:
        batch.append(item)
        if len(batch) >= size or time.monotonic() - began > seconds:
            yield batch
            batch = []
            began = time.monotonic()
    if batch:
        yield batch
