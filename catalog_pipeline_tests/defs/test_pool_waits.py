"""What it costs to wait for a slot of a pool."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

from catalog_pipeline.definitions import build_defs

_POOL = "gpu"
_INTERVAL = "interval_to_next_pending_claim_check"
_WAIT_SECONDS = 3.0


def test_a_run_that_waits_for_a_slot_leaves_the_core_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    @dg.op(pool=_POOL)
    def embed() -> None:
        done.append("embedded")

    @dg.job
    def waits() -> None:
        embed()

    # As Dagster has it, whatever was loaded before.
    monkeypatch.setattr(InstanceConcurrencyContext, _INTERVAL, lambda _claims: 0.0)
    build_defs()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots(_POOL, 1)
        assert storage.claim_concurrency_slot(_POOL, "another run", "embed").is_claimed
        freed_at: list[float] = []

        def free() -> None:
            assert done == []
            freed_at.append(time.monotonic())
            storage.free_concurrency_slots_for_run("another run")

        timer = threading.Timer(_WAIT_SECONDS, free)
        process = psutil.Process()
        before, began = process.cpu_times(), time.monotonic()
        timer.start()
        result = waits.execute_in_process(instance=instance)
        after, ended = process.cpu_times(), time.monotonic()
        timer.join()
    assert result.success
    assert done == ["embedded"]
    assert freed_at[0] - began >= _WAIT_SECONDS
    # It asks again every second or two at first.
    assert ended - freed_at[0] < 10
    used = after.user + after.system - before.user - before.system
    assert used < _WAIT_SECONDS / 2
