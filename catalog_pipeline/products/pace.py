"""How fast one store is asked: evenly spaced requests, and a pause when the store asks for one.

What counts as an answer that asks for a pause belongs to the client.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Pace:
    """Gives out moments to send at, shared by all threads that ask one store."""

    def __init__(
        self,
        requests_per_second: float,
        *,
        sleep: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        """Prepare.

        Args:
            requests_per_second: the rate that is never exceeded.
            sleep: waits for that many seconds.
            clock: a monotonic clock in seconds that `sleep` moves on.
        """
        self._interval = 1.0 / requests_per_second
        self._sleep = sleep
        self._clock = clock
        self._lock = threading.Lock()
        self._next = float("-inf")

    def wait(self, sleep: Callable[[float], None] | None = None) -> None:
        """Return when the next request may be sent; `sleep` waits in place of the usual one."""
        with self._lock:
            now = self._clock()
            moment = max(now, self._next)
            self._next = moment + self._interval
        if moment > now:
            (sleep or self._sleep)(moment - now)

    def pause(self, seconds: float) -> None:
        """Let nobody send anything for so long."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)
