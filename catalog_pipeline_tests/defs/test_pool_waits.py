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
_START_SECONDS = 2.0
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
        used: list[float] = []
        freed_at: list[float] = []

        def free() -> None:
            # By then the run has asked for its slot, and has nothing else to do.
            time.sleep(_START_SECONDS)
            before = process.cpu_times()
            time.sleep(_WAIT_SECONDS)
            after = process.cpu_times()
            used.append(after.user + after.system - before.user - before.system)
            freed_at.append(time.monotonic())
            assert done == []
            storage.free_concurrency_slots_for_run("another run")

        process = psutil.Process()
        other = threading.Thread(target=free)
        other.start()
        result = waits.execute_in_process(instance=instance)
        ended = time.monotonic()
        other.join()
    assert result.success
    assert done == ["embedded"]
    # It asks again every second or two at first.
    assert 0 < ended - freed_at[0] < 10
    assert used[0] < _WAIT_SECONDS / 4
