"""The time that the sample stores live in: the real one, which tests may push forward."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta


class SampleClock:
    """UTC now, plus whatever `advance` added."""

    def __init__(self) -> None:
        self._ahead = timedelta()
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The stores' time, aware, in UTC."""
        return datetime.now(UTC) + self._ahead

    def seconds(self) -> int:
        """The same in whole Unix seconds, as WordPress stores dates."""
        return int(self.now().timestamp())

    def advance(self, *, seconds: float = 0, minutes: float = 0, days: float = 0) -> None:
        """Let time pass at once; every `Date` header and every later edit shows it."""
        with self._lock:
            self._ahead += timedelta(seconds=seconds, minutes=minutes, days=days)
