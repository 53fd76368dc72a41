"""Shows a run while it goes on, by reading the instance's event log as the UI does.

It works the same for a run executed here and for one that a daemon launched.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from dagster import (
    DagsterEventType,
    DagsterInstance,
    MetadataValue,
    TableMetadataValue,
    TimestampMetadataValue,
)
from dagster._core.events.log import EventLogEntry
from rich.console import Console
from rich.status import Status
from rich.text import Text

from catalog_pipeline.cli.output import printable
from catalog_pipeline.cli.summary import stage_lines
from catalog_pipeline.defs.runs import why_failed

POLL_SECONDS = 0.25


class Follower:
    """Prints what a run's log says, line by line, and collects each asset's metadata."""

    def __init__(self, instance: DagsterInstance, console: Console) -> None:
        """Follow runs of an instance on a console."""
        self._instance = instance
        self._console = console
        self.metadata: dict[str, dict[str, Any]] = {}
        self.failures: list[str] = []

    def watch(self, run_id: str, over: threading.Event) -> None:
        """Show the run until it is finished, or until `over` is set and all has been shown."""
        cursor: str | None = None
        with self._spinner() as spinner:
            while True:
                # Asked before the page is read, so that nothing written in between is missed.
                ending = over.is_set() or self._is_finished(run_id)
                page = self._instance.get_records_for_run(run_id, cursor=cursor)
                cursor = page.cursor
                for record in page.records:
                    self._show(record.event_log_entry, spinner)
                if page.has_more:
                    continue
                if ending:
                    return
                time.sleep(POLL_SECONDS)

    def _is_finished(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        return run is not None and run.is_finished

    def _show(self, entry: EventLogEntry, spinner: Status | None) -> None:
        event = entry.dagster_event
        if event is None:
            if entry.level in {logging.ERROR, logging.CRITICAL}:
                # Of a failed step, whose own event says more, or of those that wait for it.
                return
            if spinner is not None:
                spinner.update(Text(printable(entry.user_message)))
            else:
                self._print(f"  {printable(entry.user_message)}")
            return
        if event.event_type == DagsterEventType.STEP_START and event.step_key:
            if spinner is not None:
                spinner.update(event.step_key)
        elif event.event_type == DagsterEventType.ASSET_MATERIALIZATION and event.asset_key:
            metadata = event.step_materialization_data.materialization.metadata
            name = event.asset_key.to_user_string()
            self.metadata[name] = {key: _plain(value) for key, value in metadata.items()}
            for line in stage_lines(name, self.metadata[name]):
                self._print(printable(line))
        elif event.event_type == DagsterEventType.STEP_FAILURE:
            self.failures.append(f"{event.step_key}: {why_failed(event)}")
        elif event.event_type == DagsterEventType.RUN_FAILURE and not self.failures:
            # Not one of its steps: the run could not be launched, or its worker died.
            self.failures.append(printable(event.message or "the run failed"))

    def _print(self, line: str) -> None:
        # A pipe's reader breaks lines where it likes.
        self._console.print(line, markup=False, soft_wrap=not self._console.is_terminal)

    @contextmanager
    def _spinner(self) -> Iterator[Status | None]:
        if not self._console.is_terminal:
            yield None
            return
        with self._console.status("starting") as spinner:
            yield spinner


def _plain(value: MetadataValue[Any]) -> Any:
    """A metadata value as plain data: a table as a list of its rows, a time as a datetime."""
    if isinstance(value, TableMetadataValue):
        return [dict(record.data) for record in value.records]
    if isinstance(value, TimestampMetadataValue):
        return datetime.fromtimestamp(value.value, UTC)
    return value.value
