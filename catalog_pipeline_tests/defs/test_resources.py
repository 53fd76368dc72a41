"""What assets are handed: read from the settings when asked for, refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
import yaml

from catalog_pipeline.defs.resources import (
    DatabaseResource,
    FilesResource,
    StoresResource,
    VectorIndexResource,
)
from catalog_pipeline.defs.runs import EXECUTED_BY
from catalog_pipeline.errors import ConfigurationError, PermanentError
from catalog_pipeline.processes import this_process


def store(store_id: str, *, active: bool) -> dict[str, object]:
    return {
        "id": store_id,
        "url": f"https://{store_id}.example.com",
        "consumer_key": {"env": "KEY"},
        "consumer_secret": {"env": "SECRET"},
        "active": active,
    }


def test_a_store_that_cannot_be_synced_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stores.yaml"
    stores = [store("atelier", active=True), store("closed", active=False)]
    path.write_text(yaml.safe_dump({"stores": stores}))
    monkeypatch.setenv("CATALOG_STORES_FILE", str(path))
    resource = StoresResource()

    assert resource.get("atelier").url == "https://atelier.example.com"
    with pytest.raises(PermanentError, match=r"store closed is inactive in .*stores\.yaml$"):
        resource.get("closed")
    assert resource.stored("closed").url == "https://closed.example.com"
    with pytest.raises(PermanentError, match=r"store attic is not in .*: add it, or pick another"):
        resource.get("attic")
    with pytest.raises(PermanentError, match=r"store attic is not in .*: add it, or pick another"):
        resource.stored("attic")
    path.write_text("stores: 3")
    with pytest.raises(ConfigurationError):
        resource.get("atelier")


def test_only_a_qdrant_server_has_a_dashboard(monkeypatch: pytest.MonkeyPatch) -> None:
    index = VectorIndexResource()
    monkeypatch.delenv("CATALOG_QDRANT_URL", raising=False)
    assert index.dashboard("products__v1") is None

    monkeypatch.setenv("CATALOG_QDRANT_URL", "https://qdrant.example.com:6333/")
    dashboard = "https://qdrant.example.com:6333/dashboard#/collections/products__v1"
    assert index.dashboard("products__v1") == dashboard


@pytest.mark.parametrize(
    ("data_dir", "address"),
    [
        ("memory://catalog", "memory:///catalog/images"),
        ("/srv/catalog", "file:///srv/catalog/images"),
    ],
)
def test_files_have_an_address_with_a_protocol(
    data_dir: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOG_DATA_DIR", data_dir)
    monkeypatch.setenv("CATALOG_DATABASE_URL", "postgresql+psycopg://db/catalog")
    monkeypatch.setenv("CATALOG_QDRANT_URL", "https://qdrant.example.com")

    assert FilesResource().get().uri("images") == address


def test_a_run_names_the_process_that_executes_it_whatever_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOG_DATA_DIR", str(tmp_path))

    @dg.op
    def work(database: DatabaseResource) -> None:
        database.get()

    @dg.job(resource_defs={"database": DatabaseResource()})
    def some_job() -> None:
        work()

    with dg.DagsterInstance.ephemeral() as instance:
        done = some_job.execute_in_process(instance=instance)
        run = instance.get_run_by_id(done.run_id)
        assert run is not None
        assert run.tags[EXECUTED_BY] == f"{this_process()}|{done.run_id}"
