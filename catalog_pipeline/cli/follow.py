"""Shows a run while it goes on, by reading the instance's event log as the UI does.

It works the same for a run executed here and for one that a daemon launched.
"""

from __future__ import annotations

import logging
import threading
import time
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

from catalog_pipeline.cli.output import printable, say
from catalog_pipeline.cli.progress import StageProgress
from catalog_pipeline.cli.summary import INDENT, stage_lines
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
        with StageProgress(self._console) as progress:
            while True:
                # Asked before the page is read, so that nothing written in between is missed.
                ending = over.is_set() or self._is_finished(run_id)
                page = self._instance.get_records_for_run(run_id, cursor=cursor)
                cursor = page.cursor
                for record in page.records:
                    self._show(record.event_log_entry, progress)
                if page.has_more:
                    continue
                if ending:
                    return
                time.sleep(POLL_SECONDS)

    def _is_finished(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        return run is not None and run.is_finished

    def _show(self, entry: EventLogEntry, progress: StageProgress) -> None:
        event = entry.dagster_event
        if event is None:
            if entry.level in {logging.ERROR, logging.CRITICAL}:
                # Of a failed step, whose own event says more, or of those that wait for it.
                return
            if progress.is_shown:
                progress.tell(entry.user_message)
            else:
                say(self._console, f"  {entry.user_message}")
            return
        if event.event_type == DagsterEventType.STEP_START and event.step_key:
            progress.begin(event.step_key)
        elif event.event_type == DagsterEventType.ASSET_MATERIALIZATION and event.asset_key:
            metadata = event.step_materialization_data.materialization.metadata
            name = event.asset_key.to_user_string()
            self.metadata[name] = {key: _plain(value) for key, value in metadata.items()}
            progress.begin(name)
            for line in stage_lines(name, self.metadata[name]):
                say(self._console, line, indent=INDENT)
        elif event.event_type == DagsterEventType.STEP_FAILURE:
            self.failures.append(f"{event.step_key}: {why_failed(event)}")
        elif event.event_type == DagsterEventType.RUN_FAILURE and not self.failures:
            # Not one of its steps: the run could not be launched, or its worker died.
            self.failures.append(printable(event.message or "the run failed"))


def _plain(value: MetadataValue[Any]) -> Any:
    """A metadata value as plain data: a table as a list of its rows, a time as a datetime."""
    if isinstance(value, TableMetadataValue):
        return [dict(record.data) for record in value.records]
    if isinstance(value, TimestampMetadataValue):
        return datetime.fromtimestamp(value.value, UTC)
    return value.value
