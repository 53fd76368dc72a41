"""What Dagster is told about every asset, and how the code location is put together."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import dagster as dg
import pytest

from catalog_pipeline.definitions import build_defs, defs
from catalog_pipeline.defs.external import SOURCES
from catalog_pipeline.defs.partitions import stores_partitions
from catalog_pipeline.defs.report import AT_LEAST_EVERY
from catalog_pipeline.defs.stage import RECONNECT
from catalog_pipeline.products.models import WooProduct
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.payload import point_payload
from catalog_pipeline_tests.deployment import STAGES

GRAPH = defs.resolve_asset_graph()
SPECS = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
# What a person is told of every asset, whoever makes it.
ASSETS = [pytest.param(spec, id=key.to_user_string()) for key, spec in SPECS.items()]
MADE_HERE = [
    pytest.param(spec, id=key.to_user_string())
    for key, spec in SPECS.items()
    if GRAPH.get(key).is_executable
]
# Columns that an asset makes of nothing but itself, such as its own clock.
OWN_COLUMNS = {
    "raw_products": {"name", "walk_id"},
    "products": {"store_id"},
    "product_images": {"gate_version", "judged_at"},
    "image_embeddings": {"model_version", "part", "row"},
    "qdrant_points": set(),
    "store_report": {
        *("active", "circuit", "concern", "kind", "last_sync", "points_before"),
        *("quarantined", "status"),
    },
    "search_alias": set(),
}
TYPES = {
    *("boolean", "bytes", "decimal", "integer", "json", "string", "timestamp", "uuid", "vector"),
}


def columns_of(spec: dg.AssetSpec) -> dict[str, dg.TableColumn]:
    schema = spec.metadata["dagster/column_schema"]
    assert isinstance(schema, dg.TableSchema)
    found = {column.name: column for column in schema.columns}
    assert len(found) == len(schema.columns) > 0
    return found


def test_the_lineage_runs_from_the_stores_over_five_stages_to_the_alias() -> None:
    line = ["woocommerce_stores", *STAGES, "search_alias"]
    keys = [key.to_user_string() for key in GRAPH.toposorted_asset_keys]
    assert [key for key in keys if key in line] == line
    upstream = {
        name: {key.to_user_string() for key in GRAPH.get(dg.AssetKey(name)).parent_keys}
        for name in line
    }
    expected = {
        name: {before} if before else set() for before, name in zip(["", *line], line, strict=False)
    }
    # Payloads come from the rows: a run that leaves pictures and vectors out waits for them too.
    expected["qdrant_points"] |= {"products"}
    assert upstream == expected


def test_every_kind_of_source_has_its_stores_at_the_top() -> None:
    kinds = get_args(StoreConfig.model_fields["source"].annotation)

    assert set(SOURCES) == set(kinds)
    for spec in SOURCES.values():
        assert not GRAPH.get(spec.key).parent_keys
        assert not GRAPH.get(spec.key).is_executable
        assert GRAPH.get(spec.key).child_keys == {dg.AssetKey("raw_products")}


@pytest.mark.parametrize("spec", ASSETS)
def test_every_asset_says_what_a_person_wants_to_know(spec: dg.AssetSpec) -> None:
    holds, *how, failing = (spec.description or "").strip().split("\n\n")

    assert holds.endswith(".")
    assert how
    assert "".join(how).endswith(".")
    assert failing.startswith("**When it fails**: ")
    assert failing.endswith(".")
    assert spec.owners == ["team:catalogue"]
    assert spec.group_name
    assert spec.group_name != "default"
    assert 1 <= len(spec.kinds) <= 3
    assert spec.tags["stage"]
    assert {"dagster/table_name", "dagster/uri"} & spec.metadata.keys()


@pytest.mark.parametrize("spec", ASSETS)
def test_every_asset_but_those_over_all_stores_is_partitioned_by_store(spec: dg.AssetSpec) -> None:
    if spec.partitions_def is None:
        # Only what all stores come together in has none.
        assert GRAPH.get(spec.key).parent_keys
        assert not any(GRAPH.get(key).is_partitioned for key in GRAPH.get(spec.key).child_keys)
    else:
        assert spec.partitions_def == stores_partitions


@pytest.mark.parametrize("spec", MADE_HERE)
def test_every_asset_made_here_has_a_code_version(spec: dg.AssetSpec) -> None:
    assert spec.code_version


@pytest.mark.parametrize("spec", ASSETS)
def test_every_column_has_a_type_and_a_description(spec: dg.AssetSpec) -> None:
    for name, column in columns_of(spec).items():
        assert column.description, name
        assert column.description.endswith("."), name
        assert column.type in TYPES, name


@pytest.mark.parametrize("spec", ASSETS)
def test_every_column_that_comes_from_columns_says_from_which(spec: dg.AssetSpec) -> None:
    above = GRAPH.get_ancestor_asset_keys(spec.key)
    if not above:
        assert "dagster/column_lineage" not in spec.metadata
        return
    lineage = spec.metadata["dagster/column_lineage"]
    assert isinstance(lineage, dg.TableColumnLineage)
    own = OWN_COLUMNS[spec.key.to_user_string()]
    assert lineage.deps_by_column.keys() == columns_of(spec).keys() - own
    for column, sources in lineage.deps_by_column.items():
        assert sources, column
        for source in sources:
            assert source.asset_key in above, column
            assert source.column_name in columns_of(SPECS[source.asset_key]), column


def test_a_payloads_columns_are_its_fields() -> None:
    product = SimpleNamespace(
        **dict.fromkeys(columns_of(SPECS[dg.AssetKey("products")]), "a text")
        | {"categories": [], "price": Decimal(1), "created_at": datetime(2026, 5, 4, tzinfo=UTC)}
    )
    fields = point_payload(product, store_id="atelier", image_sha256="0a", model_version="m")

    lineage = SPECS[dg.AssetKey("qdrant_points")].metadata["dagster/column_lineage"]
    declared = {source.column_name for source in lineage.deps_by_column["payload_hash"]}
    # The address of the point's own picture, which need not be the main one.
    assert declared - {"images"} | {"image_url"} == fields.keys()


def test_the_source_columns_are_the_fields_that_are_read_of_a_product() -> None:
    read = WooProduct.model_fields.keys()

    assert columns_of(SPECS[dg.AssetKey("woocommerce_stores")]).keys() == {*read, "currency"}
    archived = columns_of(SPECS[dg.AssetKey("raw_products")])
    assert {f"body.{name}" for name in read} <= archived.keys()


def test_assets_are_retried_for_a_lost_connection_and_no_more_than_twice() -> None:
    policies = {stage: GRAPH.get(dg.AssetKey(stage)).assets_def.op.retry_policy for stage in STAGES}

    assert policies == dict.fromkeys(STAGES, RECONNECT)
    assert RECONNECT.max_retries == 2


def test_the_report_alone_becomes_overdue_as_an_asset() -> None:
    # Stores have intervals of their own, of which a check tells by name.
    policies = {key.to_user_string(): spec.freshness_policy for key, spec in SPECS.items()}
    assert {name for name, policy in policies.items() if policy} == {"store_report"}
    window = dg.FreshnessPolicy.time_window(fail_window=3 * AT_LEAST_EVERY)
    assert policies["store_report"] == window


def test_only_embedding_takes_the_gpu() -> None:
    pools = {stage: GRAPH.get(dg.AssetKey(stage)).assets_def.op.pool for stage in STAGES}

    assert pools == {**dict.fromkeys(STAGES), "image_embeddings": "gpu"}


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("sync_store", {dg.AssetKey(stage) for stage in STAGES}),
        ("__ASSET_JOB", {key for key in SPECS if GRAPH.get(key).is_executable}),
    ],
)
def test_every_job_covers_its_assets_in_one_process(name: str, covered: set[dg.AssetKey]) -> None:
    job = defs.resolve_job_def(name)

    assert job.asset_layer.executable_asset_keys == covered
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
