"""The Dagster instance on one machine and in a deployment."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import yaml
from dagster import DagsterInstance
from sqlalchemy import make_url

from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.instance import ensure_dagster_home, ensure_workspace
from catalog_pipeline.settings import load_settings

REPOSITORY = Path(__file__).resolve().parents[1]
DEPLOYMENT = REPOSITORY / "dagster.yaml"
LOCAL = resources.files("catalog_pipeline").joinpath("dagster_local.yaml").read_text()


def home_under(folder: Path, environ: dict[str, str] | None = None) -> Path:
    settings = load_settings({"CATALOG_DATA_DIR": str(folder)})
    return ensure_dagster_home(settings, environ or {})


def test_the_two_instances_differ_in_storage_alone() -> None:
    deployment: dict[str, Any] = yaml.safe_load(DEPLOYMENT.read_text())

    assert deployment.pop("storage")["postgres"]["postgres_db"]["scheme"] == "postgresql+psycopg2"
    assert deployment == yaml.safe_load(LOCAL)


def holds_the_rules(instance: DagsterInstance) -> None:
    queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None
    assert queue.tag_concurrency_limits == [
        {"key": "dagster/partition", "value": {"applyLimitPerUniqueValue": True}, "limit": 1},
        {"key": "catalog/kind", "value": "first", "limit": 2},
    ]
    assert instance.run_monitoring_enabled
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries > 0
    assert not instance.run_retries_retry_on_asset_or_op_failure
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled
    assert instance.managed_python_loggers == ["catalog_pipeline"]


def test_the_local_instance_loads_in_dagster(tmp_path: Path) -> None:
    home = home_under(tmp_path)

    with DagsterInstance.from_config(str(home)) as instance:
        holds_the_rules(instance)
        assert instance.get_runs() == []


@pytest.fixture
def postgresql_instance(
    postgresql_server: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DagsterInstance]:
    name = f"dagster_{uuid4().hex}"
    with psycopg.connect(postgresql_server, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"'.encode())
    server = make_url(postgresql_server)
    # The test's server listens on a socket alone: an empty host makes libpq look at PGHOST.
    monkeypatch.setenv("PGHOST", str(server.query["host"]))
    monkeypatch.setenv("DAGSTER_POSTGRES_HOST", "")
    monkeypatch.setenv("DAGSTER_POSTGRES_PORT", "5432")
    monkeypatch.setenv("DAGSTER_POSTGRES_USER", server.username or "")
    monkeypatch.setenv("DAGSTER_POSTGRES_PASSWORD", "p@ss/word %41")
    monkeypatch.setenv("DAGSTER_POSTGRES_DB", name)
    with DagsterInstance.from_config(str(REPOSITORY)) as instance:
        yield instance


def test_the_instance_of_a_deployment_loads_in_dagster(
    postgresql_instance: DagsterInstance,
) -> None:
    holds_the_rules(postgresql_instance)
    assert postgresql_instance.get_runs() == []
    postgresql_instance.add_dynamic_partitions("stores", ["atelier"])
    assert postgresql_instance.get_dynamic_partitions("stores") == ["atelier"]


def test_makes_the_home_beside_the_data(tmp_path: Path) -> None:
    home = home_under(tmp_path / "data")

    assert home == tmp_path / "data" / "dagster"
    assert (home / "dagster.yaml").read_text() == LOCAL
    assert [path.name for path in home.iterdir()] == ["dagster.yaml"]


def test_makes_the_home_that_is_named(tmp_path: Path) -> None:
    home = home_under(tmp_path / "data", {"DAGSTER_HOME": str(tmp_path / "home")})

    assert home == tmp_path / "home"
    assert (home / "dagster.yaml").read_text() == LOCAL


def test_a_named_home_serves_remote_data(tmp_path: Path) -> None:
    settings = load_settings(
        {
            "CATALOG_DATA_DIR": "s3://bucket/catalog",
            "CATALOG_DATABASE_URL": "postgresql+psycopg://db/catalog",
            "CATALOG_QDRANT_URL": "https://qdrant.example.com",
        }
    )

    assert ensure_dagster_home(settings, {"DAGSTER_HOME": str(tmp_path)}) == tmp_path
    with pytest.raises(ConfigurationError, match="DAGSTER_HOME: must be set"):
        ensure_dagster_home(settings, {})


def test_never_overwrites_a_persons_file(tmp_path: Path) -> None:
    own = tmp_path / "dagster" / "dagster.yaml"
    own.parent.mkdir()
    own.write_text("telemetry: {enabled: false}\n")

    home_under(tmp_path)

    assert own.read_text() == "telemetry: {enabled: false}\n"


def test_a_link_to_a_file_not_yet_there_is_a_persons_too(tmp_path: Path) -> None:
    own = tmp_path / "dagster" / "dagster.yaml"
    own.parent.mkdir()
    own.symlink_to(tmp_path / "later.yaml")

    home_under(tmp_path)

    assert own.is_symlink()


def test_refuses_a_home_that_dagster_would_not_take(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match="must be an absolute path, not 'relative/home'"):
        home_under(tmp_path, {"DAGSTER_HOME": "relative/home"})
    with pytest.raises(ConfigurationError, match="file cannot be used: File exists"):
        home_under(tmp_path, {"DAGSTER_HOME": str(tmp_path / "file")})
    with pytest.raises(ConfigurationError, match="cannot be used: Not a directory"):
        home_under(tmp_path / "file" / "data")


def test_both_ways_to_start_dagster_load_the_same_code_location() -> None:
    (entry,) = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text())["load_from"]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["dg"]["project"]

    assert entry["python_module"] == {
        "module_name": project["code_location_target_module"],
        "location_name": project["code_location_name"],
    }


def test_the_packaged_workspace_is_the_projects_own(tmp_path: Path) -> None:
    written = ensure_workspace(tmp_path)
    project = Path(__file__).resolve().parents[1] / "workspace.yaml"
    assert written.read_bytes() == project.read_bytes()


def test_a_workspace_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "workspace.yaml").write_text("load_from: []\n")
    assert ensure_workspace(tmp_path).read_text() == "load_from: []\n"
