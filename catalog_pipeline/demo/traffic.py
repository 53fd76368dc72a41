"""What was asked of a store: counters, and the last requests themselves."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_REMEMBERED: Final = 2000


@dataclass(frozen=True, slots=True)
class Seen:
    """One request and the status that it was answered with; `kind` as in `Response.kind`."""

    kind: str
    method: str
    path: str
    query: str
    status: int
    headers: Mapping[str, str]


class Traffic:
    """Counts requests by kind: `products`, `product`, `variations`, `currency`, `image`, …"""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, int]] = Counter()
        self._last: deque[Seen] = deque(maxlen=_REMEMBERED)

    def record(self, seen: Seen) -> None:
        """Count one answered request."""
        with self._lock:
            self._counts[seen.kind, seen.method, seen.status] += 1
            self._last.append(seen)

    def reset(self) -> None:
        """Start counting from nothing."""
        with self._lock:
            self._counts.clear()
            self._last.clear()

    def count(
        self, kind: str | None = None, *, method: str | None = None, status: int | None = None
    ) -> int:
        """How many requests there were, of this kind, method and status."""
        with self._lock:
            return sum(
                times
                for (k, m, s), times in self._counts.items()
                if kind in (None, k) and method in (None, m) and status in (None, s)
            )

    @property
    def images_served(self) -> int:
        """Pictures whose bytes went out."""
        return self.count("image", method="GET", status=200)

    @property
    def images_not_modified(self) -> int:
        """Pictures that were asked for again and answered 304."""
        return self.count("image", method="GET", status=304)

    @property
    def last(self) -> list[Seen]:
        """The last 2,000 requests, oldest first."""
        with self._lock:
            return list(self._last)

    def totals(self) -> dict[str, int]:
        """Requests by kind and status, such as `{"image 200": 180, "products 200": 3}`."""
        with self._lock:
            totals: Counter[str] = Counter()
            for (kind, _, status), times in self._counts.items():
                totals[f"{kind} {status}"] += times
            return dict(sorted(totals.items()))
