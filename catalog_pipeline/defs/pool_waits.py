"""A run that waits for a slot of a pool sleeps meanwhile.

Only what Dagster gets wrong about waiting belongs here; which stage takes a slot is said where the
stage is.
"""

import time

from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext


def sleep_while_waiting() -> None:
    """Have Dagster's in-process execution sleep until it may ask for a slot again.

    It takes the least of 0 and the seconds until then (`min` where `max` is meant, in 1.13), so it
    never sleeps: each run that waits for the GPU would keep a core busy for as long, and take it
    from the runs that work. Both of its executors, for runs of the daemon and for those of a
    terminal, ask this one method.
    """
    InstanceConcurrencyContext.interval_to_next_pending_claim_check = (  # type: ignore[method-assign]
        _seconds_to_next_check  # type: ignore[assignment]
    )


def _seconds_to_next_check(claims: InstanceConcurrencyContext) -> float:
    if not claims.has_pending_claims():
        return 0.0
    soonest = min(claims._pending_timeouts.values(), default=0.0)
    return max(0.0, soonest - time.time())
