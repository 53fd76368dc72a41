"""The main job in a fresh process, as the command line runs it: the contender on our side."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def sync(store_id: str, walk: str = "auto") -> None:
    """Run `sync_store` for one store on the instance of DAGSTER_HOME; tell what each stage took."""
    from catalog_pipeline.definitions import defs

    _run(defs, store_id, walk)


def sync_without_model(store_id: str) -> None:
    """The same with made-up vectors of the usual size in place of a model's."""
    from benchmarks.no_model import NoModelResource
    from catalog_pipeline.definitions import build_defs

    _run(build_defs({"embedder": NoModelResource()}), store_id)


def sync_up_to_pictures(store_id: str) -> None:
    """The stages before the embedding alone."""
    from catalog_pipeline.definitions import defs

    _run(defs, store_id, only=["raw_products", "products", "product_images"])


def _run(
    defs: dg.Definitions, store_id: str, walk: str = "auto", only: list[str] | None = None
) -> None:
    import json
    import time

    import dagster as dg

    from catalog_pipeline.defs.partitions import STORES
    from catalog_pipeline.instance import ensure_dagster_home
    from catalog_pipeline.settings import load_settings

    ensure_dagster_home(load_settings())
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(STORES, [store_id])
        job = defs.resolve_job_def("sync_store")
        started = time.perf_counter()
        result = job.execute_in_process(
            instance=instance,
            partition_key=store_id,
            asset_selection=None if only is None else [dg.AssetKey(name) for name in only],
            run_config={
                "ops": {"raw_products": {"config": {"walk": walk}}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
        )
        seconds = time.perf_counter() - started
        told = {
            event.materialization.asset_key.to_user_string(): {
                name: value.value
                for name, value in event.materialization.metadata.items()
                if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue)
            }
            for event in result.get_asset_materialization_events()
        }
        steps = instance.get_run_step_stats(result.run_id)
    spans = {
        step.step_key: (step.start_time, step.end_time)
        for step in steps
        if step.start_time is not None and step.end_time is not None
    }
    print(json.dumps({"told": told, "spans": spans, "seconds": seconds}))


def stage_seconds(spans: dict[str, tuple[float, float]]) -> dict[str, float]:
    """How long each stage took, by the `spans` that a run prints: its start and its end."""
    return {stage: round(end - start, 2) for stage, (start, end) in spans.items()}
