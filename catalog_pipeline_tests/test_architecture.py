"""The shape of the house: who imports whom, and what loading the code location costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "catalog_pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 400
HEAVY = ("torch", "torchvision", "open_clip", "transformers", "timm")


def test_imports_run_downwards_only() -> None:
    # In a process of its own: it silences every logger that there is.
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_layers_are_all_the_rooms_there_are() -> None:
    rooms = {
        path.stem
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()
    }

    contracts = (REPOSITORY / "pyproject.toml").read_text()
    for room in rooms - {"cli", "defs", "definitions"}:
        assert contracts.count(f'"catalog_pipeline.{room}"') >= 1, (
            f"{room} is not held to know nothing of Dagster"
        )


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What a process of its own holds after loading the code location."""
    script = """
import json, socket, sys
reached = []
def refuse(*args, **kwargs):
    reached.append(repr(args))
    raise OSError("no network at import time")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
import catalog_pipeline.definitions
print(json.dumps({"modules": sorted(sys.modules), "reached": reached}))
"""
    folder = tmp_path_factory.mktemp("empty")
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:catalog_pipeline", "-c", script],
        cwd=folder,
        # Neither settings nor secrets: they may be read only where they are needed.
        env={"PYTHONPATH": str(REPOSITORY), "CATALOG_BATCH_SIZE": "wrong", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == [], "loading the code location writes no file"
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_loading_the_code_location_loads_no_model_library(loaded: dict[str, list[str]]) -> None:
    assert "catalog_pipeline.defs" in loaded["modules"]
    assert not [name for name in loaded["modules"] if name.split(".")[0] in HEAVY]


def test_loading_the_code_location_reaches_for_no_network(loaded: dict[str, list[str]]) -> None:
    assert loaded["reached"] == []


def test_the_sample_stores_are_no_part_of_the_code_location(loaded: dict[str, list[str]]) -> None:
    assert not [name for name in loaded["modules"] if name.startswith("catalog_pipeline.demo")]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_says_what_belongs_in_it_and_stays_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert ast.get_docstring(ast.parse(text)), "a module begins with a docstring"
    assert len(text.splitlines()) <= LONGEST, "a module does one thing"
