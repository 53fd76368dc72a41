"""What a terminal shows while a run goes on: its stage, and a bar for work that counts itself.

The counts come from the run's own log lines, so that a run of a daemon shows the same as one that
is executed here. What is printed for good is decided in `follow.py`.
"""

from __future__ import annotations

import re
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from catalog_pipeline.cli.output import printable

# As `log_progress` in defs/stage.py words it: 1,200 of 5,000 images, 12.0 a second, …
_COUNTED = re.compile(r"(?P<done>[\d,]+) of (?P<total>[\d,]+) \S.*")
_BAR = 24


class StageProgress:
    """A line at the bottom of a terminal; shows nothing anywhere else."""

    def __init__(self, console: Console) -> None:
        """Show on this console, if it is a terminal."""
        self.is_shown = console.is_terminal
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[stage]}", style="bold", markup=False),
            BarColumn(bar_width=_BAR),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            # They are Dagster's during a step.
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not self.is_shown,
        )
        # Without a total, the bar says only that something goes on.
        self._task = self._progress.add_task("", total=None, stage="starting")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def begin(self, stage: str) -> None:
        """Another stage has begun; nothing of it is counted yet."""
        self._progress.reset(self._task, total=None, description="", stage=stage)

    def tell(self, line: str) -> None:
        """Show a line of the log, as a bar if it counts."""
        found = _COUNTED.fullmatch(line)
        if found is None:
            self._progress.update(self._task, description=printable(line))
            return
        done, total = (int(found[name].replace(",", "")) for name in ("done", "total"))
        self._progress.update(self._task, completed=done, total=total, description=printable(line))
