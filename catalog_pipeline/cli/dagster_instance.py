"""Dagster's instance as commands open it: whole, whatever a kill or another process left of it.

Where it lies and its `dagster.yaml` are `catalog_pipeline/instance.py`'s; runs are `runs.py`'s.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import dagster as dg
import filelock
from dagster import DagsterInstance
from dagster._core.storage.event_log import SqliteEventLogStorage

from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.instance import VARIABLE, ensure_dagster_home
from catalog_pipeline.settings import Settings

_LOCK = ".opening"
# Making one takes a few seconds on a slow machine.
_WAIT_SECONDS = 120


@contextmanager
def open_instance(settings: Settings) -> Iterator[DagsterInstance]:
    """The instance of DAGSTER_HOME, made if absent; the processes that follow find it complete.

    Dagster makes its SQLite databases without excluding others: two processes that do so at once
    leave one of them with two schema versions, which no process can open again. So one after
    another, and before any server is started.

    Raises:
        ConfigurationError: the folder cannot be used, or another process holds it for minutes.
    """
    home = ensure_dagster_home(settings, os.environ)
    os.environ[VARIABLE] = str(home)
    with _alone(home):
        instance = DagsterInstance.get()
        _complete(instance)
    with instance:
        yield instance


def register_partitions(instance: DagsterInstance, store_ids: Iterable[str]) -> None:
    """Add the stores that the partition set does not hold yet; none is ever taken out here."""
    missing = sorted(set(store_ids) - set(instance.get_dynamic_partitions(STORES)))
    if missing:
        instance.add_dynamic_partitions(STORES, missing)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    lock = filelock.FileLock(home / _LOCK)
    try:
        lock.acquire(timeout=_WAIT_SECONDS)
    except filelock.Timeout as error:
        raise ConfigurationError(
            f"{VARIABLE}: another process has been opening {home} for {_WAIT_SECONDS} s; end it, "
            "and try again"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"{VARIABLE}: the folder {home} cannot be used: {error.strerror}"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _complete(instance: DagsterInstance) -> None:
    """Make what is missing of an event log that a killed process left half made.

    Dagster makes the tables of its own SQLite where there is no file, so nobody else completes it.
    A server's schema is for whoever looks after it to migrate.
    """
    if not isinstance(instance.event_log_storage, SqliteEventLogStorage):
        return
    try:
        instance.get_dynamic_partitions(STORES)
    except dg.DagsterInvalidInvocationError:
        with redirect_stdout(sys.stderr):
            instance.upgrade()
