"""`catalog status`: every store in one line, and below them what needs a person.

How a store stands, and what of that needs somebody, is decided in `attention.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from catalog_pipeline.attention import Concern, StoreStanding, look_at
from catalog_pipeline.cli.deployment import (
    as_json,
    model_at_hand,
    open_database,
    stores_to_look_after,
)
from catalog_pipeline.cli.output import Records, print_json, printable, say, table, terminal
from catalog_pipeline.settings import Settings, load_settings
from catalog_pipeline.vectors.index import collection_name

# What a store said can be a page long; `--json` has all of it.
_LONGEST_TEXT = 300
_NARROWEST = 60


@click.command()
@as_json
def status(as_json: bool) -> None:
    """Show every store in a line, and below what needs a person and where to begin.

    A store needs a person when removals wait, its circuit is open, its last sync or a check
    failed, no walk saw it whole lately, pictures are owed, or many of its records are in
    quarantine: at least three, and more than 5% of them. --json tells all of it. Without the
    model at hand vectors and points are not counted, which a dash or a null says.

    \b
    Examples:
      catalog status
      catalog status --json | jq '.stores[] | select(.concerns != []) | .store_id'
    """
    settings = load_settings()
    now = datetime.now(UTC)
    found = standings(settings, now)
    if as_json:
        print_json({"stores": [_document(one) for one in found]})
        return
    console = terminal()
    console.print(overview(found, now))
    console.print()
    show_concerns(console, found)


def standings(settings: Settings, now: datetime) -> list[StoreStanding]:
    """How each store of stores.yaml stands, for the configured model."""
    from catalog_pipeline.cli.run_records import settle_runs
    from catalog_pipeline.defs.night import last_night
    from catalog_pipeline.defs.standing import CHECKS

    # The rows are worth showing on a machine that has no checkpoint, too.
    model = model_at_hand(settings, "Vectors and points are not counted")
    model_version = model.model_version if model else None
    collection = collection_name(settings.collection, model_version) if model_version else None
    with open_database(settings) as database:
        stores = stores_to_look_after(settings, database)
        settle_runs(settings, database)
        night = last_night(settings, now)
        with database.read() as connection:
            return [
                look_at(
                    connection,
                    store,
                    model_version=model_version,
                    collection=collection,
                    checks=CHECKS,
                    now=now,
                    night=night,
                )
                for store in stores.stores.values()
            ]


def _document(one: StoreStanding) -> dict[str, Any]:
    """A store's standing as JSON shows it, its counts at the top."""
    rest = {field.name: getattr(one, field.name) for field in dataclasses.fields(one)}
    state, again = rest.pop("circuit_state"), rest.pop("asked_again_at")
    circuit: dict[str, Any] = {"state": state, "failures": 0}
    if one.circuit is not None:
        circuit |= dataclasses.asdict(one.circuit) | {"asked_again_at": again}
        del circuit["store_id"]
    return {**dataclasses.asdict(rest.pop("summary")), **rest, "circuit": circuit}


def overview(found: Sequence[StoreStanding], now: datetime) -> Records:
    """A line for each store."""
    numbers = ["live", "accepted", "vectors", "points", "owed"]
    rows: list[list[Any]] = [
        [
            one.summary.store_id,
            one.summary.live,
            one.summary.accepted,
            one.summary.embedded,
            one.summary.points,
            one.owed_pictures,
            _last_sync(one, now),
        ]
        for one in found
    ]
    return table(["store", *numbers, "last sync"], rows, numbers=numbers)


def _last_sync(one: StoreStanding, now: datetime) -> str:
    if not one.active:
        return "inactive"
    paused = "paused, " if one.paused_until else ""
    sync = one.last_sync
    if sync is None:
        return f"{paused}never"
    ago = _ago(now - (sync.completed_at or sync.started_at or sync.updated_at))
    words = {"success": "ok", "failure": "failed"}
    return f"{paused}{words.get(sync.status, sync.status)} {ago}"


def _ago(passed: timedelta) -> str:
    minutes = max(int(passed.total_seconds()) // 60, 0)
    if minutes < 1:
        return "just now"
    if minutes < 120:
        return f"{minutes} min ago"
    hours = minutes // 60
    return f"{hours} h ago" if hours < 48 else f"{hours // 24} d ago"


def show_concerns(console: Console, found: Sequence[StoreStanding]) -> None:
    """Print what needs a person, store by store, and how many need nobody."""
    concerned = [one for one in found if one.concerns]
    others = len(found) - len(concerned)
    are_counted = all(one.summary.points is not None for one in found)
    nobody = "nobody" if are_counted else "nobody, vectors and points aside"
    if not concerned:
        say(console, f"{_stores_need(others)} {nobody}.")
        return
    rest = f"; {_stores_need(others)} {nobody}" if others else ""
    say(console, f"{_stores_need(len(concerned))} a person{rest}:", style="bold")
    for one in concerned:
        for concern in one.concerns:
            _show_concern(console, one.summary.store_id, concern)


def _show_concern(console: Console, store_id: str, concern: Concern) -> None:
    text = " ".join(printable(concern.text).split())
    if len(text) > _LONGEST_TEXT:
        text = text[: _LONGEST_TEXT - 1].rstrip() + "…"
    if not console.is_terminal or console.width < _NARROWEST:
        say(console, f"{store_id}: {text}; run: {concern.command}")
        return
    line = Text.assemble(
        (store_id, "bold"), "  ", text, "\n", ("→ ", "dim"), (concern.command, "cyan")
    )
    grid = Table.grid(padding=(0, 0, 0, 0))
    grid.add_column(width=2)
    grid.add_column(overflow="fold")
    grid.add_row("", line)
    console.print(grid)


def _stores_need(count: int) -> str:
    return "1 store needs" if count == 1 else f"{count:,} stores need"
