"""The tables of how the work itself goes: runs, checks, circuit breakers, stores in force.

What the catalogue holds is in `schema.py`. Nothing here is needed to derive what is owed.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, String, Table, Text

from catalog_pipeline.catalog.schema import metadata
from catalog_pipeline.catalog.types import Json, UtcDateTime

circuits = Table(
    "circuits",
    metadata,
    # Stores that failed when they were last asked; one that answers has no row.
    Column("store_id", String(63), primary_key=True),
    # In a row.
    Column("failures", Integer, nullable=False),
    # probe | walk: the latter if any of them was a walk
    Column("failed", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("failed_at", UtcDateTime, nullable=False),
    # The failure that opened it, or kept it open, last; null while the circuit is closed.
    Column("opened_at", UtcDateTime, nullable=True),
)

check_verdicts = Table(
    "check_verdicts",
    metadata,
    # What each check of the stores last said of each of them.
    Column("check_name", String(64), primary_key=True),
    Column("store_id", String(63), primary_key=True),
    Column("passed", Boolean, nullable=False),
    # {what was counted: number}, and {what is wrong: [a few ids]}.
    Column("counts", Json, nullable=False),
    Column("examples", Json, nullable=False),
    # Why the store could not be checked; null where it could.
    Column("problem", Text, nullable=True),
    Column("checked_at", UtcDateTime, nullable=False),
)

accepted_stores = Table(
    "accepted_stores",
    metadata,
    # Versions of stores.yaml that were accepted as a whole; the newest is in force while the file
    # itself is wrong.
    Column("digest", String(64), primary_key=True),
    # The file's text: it names where secrets are, and holds none.
    Column("content", Text, nullable=False),
    Column("accepted_at", UtcDateTime, nullable=False),
)

syncs = Table(
    "syncs",
    metadata,
    # One row for each run of a store, derived from Dagster's own record of it.
    Column("run_id", String(64), primary_key=True),
    Column("store_id", String(63), primary_key=True),
    Column("job", String(128), nullable=False),
    # Why it was started: hand | incremental | prices | nightly | full | first | backlog
    Column("kind", String(32), nullable=False),
    # queued | started | success | failure | canceled, as Dagster says it
    Column("status", String(32), nullable=False),
    # The kind of walk it made; null until that is known.
    Column("walk_kind", String(32), nullable=True),
    # {asset: {count: number}} of what it materialised.
    Column("counts", Json, nullable=False),
    Column("error", Text, nullable=True),
    # Attempts beyond the first: steps tried again, and runs started again for a dead worker.
    Column("retries", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=True),
    Column("completed_at", UtcDateTime, nullable=True),
    # When Dagster last changed its record of the run.
    Column("updated_at", UtcDateTime, nullable=False),
    Index(None, "store_id", "updated_at"),
    # What goes on, and what changed last, is asked twice a minute.
    Index(None, "status"),
    Index(None, "updated_at"),
)
