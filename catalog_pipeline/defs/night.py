"""When the last night began that every store should have been seen whole since.

What a store is owed in a night is decided by `products/timetable.py`.
"""

from datetime import UTC, datetime, timedelta

from dagster._utils.schedules import get_latest_completed_cron_tick

from catalog_pipeline.settings import Settings

# The starts of a night are spread over an hour, and a large store's sweep takes its time.
_GRACE = timedelta(hours=3)


def last_night(settings: Settings, now: datetime) -> datetime:
    """The beginning, by CATALOG_NIGHTLY_CRON, of the last night whose walks should be through."""
    began = get_latest_completed_cron_tick(settings.nightly_cron, now - _GRACE, settings.timezone)
    return began.astimezone(UTC)
