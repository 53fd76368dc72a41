"""How the standing of stores looks: on eighty columns, in a pipe, with hostile words in it."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from catalog_pipeline.attention import Concern, Kind, StoreStanding
from catalog_pipeline.catalog.queries import StoreSummary
from catalog_pipeline.catalog.syncs import Sync
from catalog_pipeline.cli.status import overview, show_concerns

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def standing(
    store_id: str, *concerns: Concern, count: int = 100, is_counted: bool = True
) -> StoreStanding:
    at = NOW - timedelta(hours=5)
    of_vectors = count if is_counted else None
    return StoreStanding(
        summary=StoreSummary(
            store_id=store_id,
            products=count,
            live=count,
            quarantined=0,
            images=count,
            accepted=count,
            embedded=of_vectors,
            points=of_vectors,
            currency="EUR",
            watermark=at,
            last_walk="w",
            last_walk_complete=True,
            last_processed_at=at,
        ),
        last_sync=Sync("r", store_id, "j", "hand", "success", "full", {}, None, 0, at, at, at),
        failures=[],
        failing_checks={},
        circuit=None,
        circuit_state="closed",
        asked_again_at=None,
        owed_pictures=0 if is_counted else None,
        removals={},
        quarantine=None,
        last_complete_walk=at,
        active=True,
        paused_until=None,
        concerns=list(concerns),
    )


def shown(found: list[StoreStanding], *, terminal: bool) -> list[str]:
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=terminal, color_system=None, width=80 if terminal else 160
    )
    console.print(overview(found, NOW))
    show_concerns(console, found)
    return [line.rstrip() for line in out.getvalue().splitlines()]


TROUBLE = Concern(Kind.FAILED, "its last sync failed: " + "no answer " * 20, "catalog sync a")


@pytest.mark.parametrize("count", [0, 100, 1_234_567])
def test_any_store_fits_eighty_columns(count: int) -> None:
    lines = shown([standing("a" * 63, TROUBLE, count=count), standing("b")], terminal=True)
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["store", "live", "accepted", "vectors", "points", "owed", *LAST]
    assert any(f"{count:,}" in line for line in lines)
    assert "  → catalog sync a" in lines


LAST = ["last", "sync"]


def test_stores_that_need_nobody_take_a_line_each() -> None:
    lines = shown([standing("atelier"), standing("nordhavn")], terminal=True)
    assert len(lines) == 4
    assert lines[1].split() == ["atelier", *["100"] * 4, "0", "ok", "5", "h", "ago"]
    assert lines[-1] == "2 stores need nobody."


def test_nobody_is_needed_only_by_what_was_looked_at() -> None:
    quiet = standing("atelier", is_counted=False)
    lines = shown([quiet, standing("nordhavn", is_counted=False)], terminal=True)
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["atelier", "100", "100", "-", "-", "-", "ok", "5", "h", "ago"]
    assert lines[-1] == "2 stores need nobody, vectors and points aside."
    lines = shown([quiet, standing("b", TROUBLE, is_counted=False)], terminal=False)
    assert "1 store needs nobody, vectors and points aside:" in lines[-2]


def test_a_pipe_gets_one_line_a_concern() -> None:
    lines = shown([standing("atelier", TROUBLE), standing("nordhavn")], terminal=False)
    assert lines[-2] == "1 store needs a person; 1 store needs nobody:"
    assert lines[-1].startswith("atelier: its last sync failed: no answer")
    assert lines[-1].endswith("; run: catalog sync a")


def test_a_stores_words_do_not_steer_the_terminal() -> None:
    nasty = Concern(Kind.FAILED, "\x1b[2J[red]gone[/red]\nnext " + "x" * 5_000, "catalog sync a")
    for terminal in (True, False):
        text = "\n".join(shown([standing("atelier", nasty)], terminal=terminal))
        assert "\x1b" not in text
        assert "[red]gone[/red] next" in text
        assert text.count("x") < 400
