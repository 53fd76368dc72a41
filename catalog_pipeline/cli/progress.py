"""What a terminal shows while a run or a command goes on: its stage, and a bar for counted work.

A run's counts come from its own log lines, so that a run of a daemon shows the same as one that is
executed here; a command words its counts alike. What of a run is printed for good is decided in
`follow.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from catalog_pipeline.cli.output import printable
from catalog_pipeline.stores import StoreConfig

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

    def count(self, done: int, total: int, things: str) -> None:
        """Show how far work is; a total of 0 is unknown."""
        of = f" of {total:,}" if total else ""
        self.tell(f"{done:,}{of} {things}")

    def stores(self, stores: Collection[StoreConfig]) -> Iterator[StoreConfig]:
        """One store after the other, each shown while it is worked on."""
        for number, store in enumerate(stores):
            self.begin(store.id)
            self.count(number, len(stores), "stores")
            yield store
