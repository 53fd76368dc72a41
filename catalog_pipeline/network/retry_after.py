"""What a server's own words say about when to ask it again, and what time it is there.

Strangers write these headers, so nonsense counts as nothing said. Who waits is decided elsewhere.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_PAUSE = 120.0
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for, at most 120; None for none or nonsense.

    Nothing to wait for is nothing said: an attempt that follows at once would fail like the last.

    Args:
        header: the header's value: seconds, or an HTTP date.
        now: the server's clock if it told it, else ours.
    """
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        moment = http_date(text)
        if moment is None:
            return None
        seconds = (moment - now).total_seconds()
    return min(seconds, LONGEST_PAUSE) if seconds > 0 else None


def http_date(header: str | None) -> datetime | None:
    """The moment that a header such as Date names, in UTC; None for none or nonsense."""
    try:
        moment = parsedate_to_datetime(header or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
