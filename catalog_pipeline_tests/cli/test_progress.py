"""A terminal sees a bar move with the lines that a run logs; a pipe sees none."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from catalog_pipeline.cli.progress import StageProgress
from catalog_pipeline.defs import stage


def logged(done: int, total: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """A line as a stage logs it of so much work."""
    lines: list[str] = []
    clock = iter([0.0, 1.0, 2 * stage.LOG_EVERY_SECONDS])
    monkeypatch.setattr(stage, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    context = SimpleNamespace(log=SimpleNamespace(info=lines.append))
    report = stage.log_progress(cast("Any", context), "images")
    report(0, total)
    report(done, total)
    monkeypatch.undo()
    return lines[-1]


def drawn(*lines: str, terminal: bool = True) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, color_system=None, width=80)
    with StageProgress(console) as progress:
        assert progress.is_shown is terminal
        progress.begin("product_images")
        for line in lines:
            progress.tell(line)
    return out.getvalue()


@pytest.mark.parametrize("done", [0, 300, 600, 1_200])
def test_the_bar_stands_where_the_log_says(done: int, monkeypatch: pytest.MonkeyPatch) -> None:
    line = logged(done, 1_201, monkeypatch)
    assert line.startswith(f"{done:,} of 1,201 images")
    before, found, _ = drawn(line).rpartition(line)
    assert found
    # Without colour, what is not done is left blank.
    bar = before.rpartition("product_images ")[2][:-1]
    assert (bar.count("━") + bar.count("╸")) / len(bar) == pytest.approx(done / 1_201, abs=0.15)


def test_a_line_that_counts_nothing_is_shown_as_it_is() -> None:
    assert "walk w-1 is complete" in drawn("walk w-1 is complete")


def test_a_pipe_sees_nothing() -> None:
    assert drawn("3 of 9 images", terminal=False).strip() == ""
