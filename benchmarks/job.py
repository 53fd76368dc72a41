"""The main job in a fresh process, as the command line runs it: the contender on our side."""

from __future__ import annotations


def sync(store_id: str) -> None:
    """Run `sync_store` for one store on the instance of DAGSTER_HOME; tell what each stage took.

    Raises:
        RuntimeError: the run failed.
    """
    import json

    import dagster as dg

    from catalog_pipeline.definitions import defs
    from catalog_pipeline.instance import ensure_dagster_home
    from catalog_pipeline.settings import load_settings

    ensure_dagster_home(load_settings())
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("stores", [store_id])
        result = defs.resolve_job_def("sync_store").execute_in_process(
            instance=instance,
            partition_key=store_id,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        counts = {
            event.materialization.asset_key.to_user_string(): {
                name: value.value
                for name, value in event.materialization.metadata.items()
                if isinstance(value, dg.IntMetadataValue)
            }
            for event in result.get_asset_materialization_events()
        }
        steps = instance.get_run_step_stats(result.run_id)
    stages = {
        step.step_key: round(step.end_time - step.start_time, 2)
        for step in steps
        if step.start_time is not None and step.end_time is not None
    }
    print(json.dumps({"stage_seconds": stages, "counts": counts}))
