"""The data folder on a disk and on a file system that is none."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.files import DataFolder


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> DataFolder:
    """The same folder on two file systems."""
    return DataFolder(str(tmp_path) if request.param == "local" else f"memory://{uuid4().hex}")


def test_reads_back_what_was_written(folder: DataFolder) -> None:
    folder.write("images/ab/abc", b"first")
    folder.write("images/ab/abc", b"second")

    assert folder.read("images/ab/abc") == b"second"
    assert folder.exists("images/ab/abc")
    with folder.open("images/ab/abc") as handle:
        handle.seek(3)
        assert handle.read() == b"ond"


def test_lists_what_lies_inside(folder: DataFolder) -> None:
    for name in ("walks/b/2", "walks/b/1", "walks/a/1", "other"):
        folder.write(name, b"x")

    assert folder.names("walks") == ["a", "b"]
    assert folder.names("walks/b") == ["1", "2"]
    assert folder.names("nothing") == []
    assert sorted(folder.walk("walks")) == ["walks/a/1", "walks/b/1", "walks/b/2"]


def test_removes_files_and_folders(folder: DataFolder) -> None:
    folder.write("walks/a/1", b"x")
    folder.write("walks/b/1", b"x")

    folder.remove("walks/a")
    folder.remove("walks/absent")

    assert folder.names("walks") == ["b"]
    assert not folder.exists("walks/a/1")


def test_an_absent_file_is_an_error(folder: DataFolder) -> None:
    assert not folder.exists("absent")
    with pytest.raises(FileNotFoundError):
        folder.read("absent")


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "", "."])
def test_paths_stay_inside(folder: DataFolder, name: str) -> None:
    with pytest.raises(ValueError, match="not a path inside"):
        folder.write(name, b"x")


def test_a_failed_write_leaves_the_file_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = DataFolder(str(tmp_path))
    folder.write("parts/1", b"whole")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        folder.write("parts/1", b"half")

    assert folder.read("parts/1") == b"whole"
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["1"]


def test_drafts_of_a_killed_process_are_not_seen(tmp_path: Path) -> None:
    folder = DataFolder(str(tmp_path))
    folder.write("parts/1", b"whole")
    (tmp_path / "parts" / ".2.feed").write_bytes(b"half")

    assert folder.names("parts") == ["1"]
    assert list(folder.walk("parts")) == ["parts/1"]


def left_by_a_kill(folder: DataFolder, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that no clearing up follows, as a process's end by SIGKILL is none."""

    def killed(_: int) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", killed)
        patched.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(SystemExit):
            folder.write(name, b"half")


def test_drafts_that_nobody_writes_to_are_found_by_their_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = DataFolder(str(tmp_path))
    left_by_a_kill(folder, "images/ab/cd/picture", monkeypatch)
    folder.write("images/ab/cd/whole", b"whole")
    (tmp_path / "images" / ".DS_Store").write_bytes(b"somebody else's")
    now = datetime.now(UTC)

    assert list(folder.drafts("images", now - timedelta(hours=1))) == []
    assert list(folder.drafts("parts", now + timedelta(hours=1))) == []
    (draft,) = folder.drafts("images", now + timedelta(hours=1))
    assert draft.startswith("images/ab/cd/.picture.")
    folder.remove(draft)
    assert [path.name for path in (tmp_path / "images/ab/cd").iterdir()] == ["whole"]


def test_a_file_system_without_drafts_has_none(folder: DataFolder) -> None:
    folder.write("images/1", b"x")
    assert list(folder.drafts("images", datetime.now(UTC) + timedelta(hours=1))) == []


def test_an_unknown_file_system_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigurationError, match="the data folder 'nowhere://x' cannot be opened"):
        DataFolder("nowhere://x")
