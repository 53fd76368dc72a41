"""When to ask again: pauses between the attempts of one URL, and hosts that have stopped answering.

Which answers deserve another attempt is decided in `download.py`.
"""

from __future__ import annotations

import threading
import time

from tenacity import RetryCallState

BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0)
# So many pictures of a host in a row that all retries could not get: the rest are left for later.
HOST_GIVEN_UP_AFTER = 10


class TryAgainError(Exception):
    """An attempt failed in a way that another attempt may not."""

    def __init__(self, reason: str, *, host_asked: bool = False) -> None:
        """`host_asked` says that its `HostWatch` knows for how long the host wants to be left."""
        super().__init__(reason)
        self.reason = reason
        self.host_asked = host_asked


def pause_before_next(state: RetryCallState) -> float:
    """Seconds until the next attempt: growing ones, unless the host named a pause.

    That one is made where the host is asked again, which may be at the end of a redirect.
    """
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, TryAgainError) and error.host_asked:
        return 0.0
    # Asked once more after the last attempt, for a pause that is not made.
    return BACKOFF_SECONDS[min(state.attempt_number, len(BACKOFF_SECONDS)) - 1]


class HostWatch:
    """Hosts that want to be left alone: for as long as they say, or because pictures only fail.

    What fails is counted in pictures in a row, each with all its retries.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: dict[str, int] = {}
        self._paused_until: dict[str, float] = {}

    def pause(self, host: str, seconds: float) -> None:
        """Let no other picture of the host be asked for so long."""
        with self._lock:
            until = max(self._paused_until.get(host, 0.0), time.monotonic() + seconds)
            self._paused_until[host] = until

    def pause_left(self, host: str) -> float:
        """Seconds until a picture of the host may be asked for."""
        with self._lock:
            return max(self._paused_until.get(host, 0.0) - time.monotonic(), 0.0)

    def has_given_up(self, host: str) -> bool:
        """Whether the host is to be left alone for the rest of the run."""
        with self._lock:
            return self._failures.get(host, 0) >= HOST_GIVEN_UP_AFTER

    def record(self, host: str, *, failed: bool) -> None:
        """Count a failure, or begin anew after an answer of any kind."""
        with self._lock:
            if failed:
                self._failures[host] = self._failures.get(host, 0) + 1
            else:
                self._failures.pop(host, None)
