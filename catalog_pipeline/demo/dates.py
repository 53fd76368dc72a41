"""Dates as WordPress keeps, words, reads and compares them, its time zone quirks included."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# The pattern of WordPress's rest_parse_date: a bare date or a bare number is no date.
_DATE: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:Z|([+-])(\d\d)(?::?(\d\d))?)?"
)


def gmt_text(seconds: int) -> str:
    """A `*_gmt` field: UTC without saying so."""
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def local_text(seconds: int, zone: ZoneInfo) -> str:
    """The field beside it: the site's wall clock."""
    moment = (_EPOCH + timedelta(seconds=seconds)).astimezone(zone)
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def attachment_local_text(seconds: int, zone: ZoneInfo) -> str:
    """An image's local field, which WooCommerce shifts by the site's offset twice."""
    moment = (_EPOCH + timedelta(seconds=seconds)).astimezone(zone)
    offset = moment.utcoffset() or timedelta()
    return (moment + offset).strftime("%Y-%m-%dT%H:%M:%S")


def wall_seconds(seconds: int, zone: ZoneInfo) -> int:
    """The site's wall clock as seconds since 1970: the `post_modified` column as a number."""
    moment = (_EPOCH + timedelta(seconds=seconds)).astimezone(zone)
    return seconds + round((moment.utcoffset() or timedelta()).total_seconds())


def cut_off(text: str, zone: ZoneInfo) -> int | None:
    """The number that a date column is compared with, or None for what is no date.

    WordPress turns the value into wall clock time of the site, whichever column it then compares:
    a value with `Z` or an offset is converted, one without is taken as it stands. So a `Z` value
    against the GMT column is off by the site's offset.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour <= 24 and minute < 60 and second < 61):
        return None
    # 30 February is 2 March to PHP, so days are counted on from the first of the month.
    naive = datetime(year, month, 1, tzinfo=UTC) + timedelta(
        days=day - 1, hours=hour, minutes=minute, seconds=second
    )
    seconds = round((naive - _EPOCH).total_seconds())
    sign, hours, minutes = match.groups()[6:]
    if sign is None and not text.endswith("Z"):
        return seconds
    if sign is not None:
        offset = int(hours) * 3600 + int(minutes or 0) * 60
        seconds -= offset if sign == "+" else -offset
    return wall_seconds(seconds, zone)
