"""Dagster's instance as commands open it, beside others and after a kill."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import dagster as dg
import filelock
import pytest
from dagster._core.test_utils import create_run_for_test

from catalog_pipeline.cli import dagster_instance
from catalog_pipeline.cli.dagster_instance import open_instance, register_partitions
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.settings import Settings, load_settings

_DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")

# Opens when its input ends, so that several can be told to at one moment.
_OPEN = """
import sys
from catalog_pipeline.cli.dagster_instance import open_instance
from catalog_pipeline.settings import load_settings
print("ready", flush=True)
sys.stdin.read()
with open_instance(load_settings()) as instance:
    print(len(instance.all_instigator_state()), len(instance.get_runs()))
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CATALOG_DATA_DIR", str(tmp_path / "data"))
    return load_settings()


@pytest.mark.end_to_end
def test_commands_that_find_no_instance_at_one_moment_make_one(
    settings: Settings, tmp_path: Path
) -> None:
    commands = [
        subprocess.Popen(
            [sys.executable, "-c", _OPEN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for command in commands:
        assert command.stdout is not None
        assert command.stdout.readline() == "ready\n"
    for command in commands:
        assert command.stdin is not None
        command.stdin.close()
        command.stdin = None
    for command in commands:
        said, complaint = command.communicate(timeout=120)
        assert said == "0 0\n", complaint
        assert command.returncode == 0, complaint
    for name in _DATABASES:
        with closing(sqlite3.connect(tmp_path / "home" / name)) as made:
            assert made.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,), name


def test_an_instance_that_another_process_keeps_opening_is_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dagster_instance, "_WAIT_SECONDS", 0.1)
    home = tmp_path / "home"
    home.mkdir()
    with filelock.FileLock(home / ".opening"):
        with (
            pytest.raises(ConfigurationError, match=f"another process has been opening {home}"),
            open_instance(settings),
        ):
            pass
        assert not (home / "history").exists()


def test_a_folder_in_which_nothing_can_be_made_is_named(settings: Settings, tmp_path: Path) -> None:
    # A folder where the lock's file would be: permissions do not stop root.
    (tmp_path / "home" / ".opening").mkdir(parents=True)
    with (
        pytest.raises(ConfigurationError, match=f"DAGSTER_HOME: the folder {tmp_path / 'home'}"),
        open_instance(settings),
    ):
        pass


@pytest.mark.parametrize("made", [0, 1, 3])
def test_an_event_log_that_was_killed_while_it_was_made_is_completed(
    settings: Settings, tmp_path: Path, made: int, capsys: pytest.CaptureFixture[str]
) -> None:
    index = tmp_path / "home" / "history" / "runs" / "index.db"
    with open_instance(settings):
        pass
    for side in index.parent.glob("index.db-*"):
        side.unlink()
    with closing(sqlite3.connect(index)) as whole:
        tables = [
            (name, sql)
            for name, sql in whole.execute("SELECT name, sql FROM sqlite_master WHERE type='table'")
            if not name.startswith(("sqlite_", "alembic"))
        ]
    index.unlink()
    with closing(sqlite3.connect(index)) as half:
        for name, sql in sorted(tables)[:made]:
            assert name != "dynamic_partitions"
            half.execute(sql)
        half.commit()
    with open_instance(settings) as opened:
        register_partitions(opened, ["atelier"])
        assert opened.get_dynamic_partitions(STORES) == ["atelier"]
        started = create_run_for_test(opened, job_name="sync_store")
        event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name="sync_store")
        opened.report_dagster_event(event, started.run_id)
    assert capsys.readouterr().out == ""


def test_registering_stores_adds_and_never_takes_out(settings: Settings) -> None:
    with open_instance(settings) as opened:
        register_partitions(opened, ["nordhavn", "atelier"])
        register_partitions(opened, ["atelier", "third"])
        assert set(opened.get_dynamic_partitions(STORES)) == {"nordhavn", "atelier", "third"}
    # A second command finds what the first one made.
    with open_instance(settings) as again:
        assert len(again.get_dynamic_partitions(STORES)) == 3
