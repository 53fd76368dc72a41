"""What Dagster is told about every asset, and how the code location is put together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from catalog_pipeline.definitions import build_defs, defs
from catalog_pipeline.defs.stage import RECONNECT
from catalog_pipeline_tests.deployment import STAGES

GROUPS = {
    "raw_products": "products",
    "products": "products",
    "product_images": "images",
    "image_embeddings": "embeddings",
    "qdrant_points": "vectors",
}
GRAPH = defs.resolve_asset_graph()
SPECS = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_there_are_five_assets_in_one_line() -> None:
    assert list(GRAPH.toposorted_asset_keys) == [dg.AssetKey(stage) for stage in STAGES]
    upstream = {
        stage: {key.to_user_string() for key in GRAPH.get(dg.AssetKey(stage)).parent_keys}
        for stage in STAGES
    }
    expected = {stage: {before} if before else set() for before, stage in _pairs()}
    # Payloads come from the rows: a run that leaves pictures and vectors out waits for them too.
    expected["qdrant_points"] |= {"products"}
    assert upstream == expected


def _pairs() -> list[tuple[str, str]]:
    return list(zip(["", *STAGES], STAGES, strict=False))


@pytest.mark.parametrize("stage", STAGES)
def test_every_asset_says_what_a_person_wants_to_know(stage: str) -> None:
    spec = SPECS[stage]
    holds, *how, failing = (spec.description or "").split("\n\n")

    assert holds.endswith(".")
    assert "".join(how).endswith(".")
    assert failing.startswith("**When it fails**: ")
    assert spec.owners == ["team:catalogue"]
    assert spec.group_name == GROUPS[stage]
    assert 1 <= len(spec.kinds) <= 3
    assert spec.tags["stage"] in {"extract", "transform", "quality", "embed", "load"}
    assert spec.code_version
    assert isinstance(spec.partitions_def, dg.DynamicPartitionsDefinition)
    assert spec.partitions_def.name == "stores"
    assert {"dagster/table_name", "dagster/uri"} & spec.metadata.keys()


@pytest.mark.parametrize("stage", STAGES)
def test_every_column_has_a_type_and_a_description(stage: str) -> None:
    schema = SPECS[stage].metadata["dagster/column_schema"]

    assert isinstance(schema, dg.TableSchema)
    names = [column.name for column in schema.columns]
    assert names
    assert len(set(names)) == len(names)
    for column in schema.columns:
        assert column.description, column.name
        assert column.description.endswith("."), column.name
        assert column.type in {
            *("boolean", "bytes", "decimal", "integer", "json", "string", "timestamp", "uuid")
        }, column.name


def test_assets_are_retried_for_a_lost_connection_and_no_more_than_twice() -> None:
    policies = {stage: GRAPH.get(dg.AssetKey(stage)).assets_def.op.retry_policy for stage in STAGES}

    assert policies == dict.fromkeys(STAGES, RECONNECT)
    assert RECONNECT.max_retries == 2


def test_only_embedding_takes_the_gpu() -> None:
    pools = {stage: GRAPH.get(dg.AssetKey(stage)).assets_def.op.pool for stage in STAGES}

    assert pools == {**dict.fromkeys(STAGES), "image_embeddings": "gpu"}


@pytest.mark.parametrize("name", ["sync_store", "__ASSET_JOB"])
def test_every_job_covers_all_stages_in_one_process(name: str) -> None:
    job = defs.resolve_job_def(name)

    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == set(STAGES)
    assert job.executor_def is dg.in_process_executor
    assert isinstance(job.partitions_def, dg.DynamicPartitionsDefinition)


def test_a_test_can_put_its_own_resource_in_place() -> None:
    assert set(defs.resources or {}) == {
        *("stores", "database", "files", "embedder", "vector_index")
    }
    stand_in = object()
    assert (build_defs({"stores": stand_in}).resources or {})["stores"] is stand_in


def test_the_code_location_loads_without_a_warning_or_a_setting_or_torch(tmp_path: Path) -> None:
    script = (
        "import sys, catalog_pipeline.definitions as loaded;"
        "loaded.defs.resolve_job_def('sync_store');"
        "sys.exit(bool({'torch', 'open_clip', 'qdrant_client', 'qdrant_edge'} & set(sys.modules)))"
    )
    environ = {"PATH": "/usr/bin:/bin", "CATALOG_DATABASE_URL": "nothing that could be opened"}
    done = subprocess.run(
        # Dagster's own use of Pydantic is not ours to mend.
        [sys.executable, "-W", "error", "-W", "ignore:The `__fields__` attribute", "-c", script],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
