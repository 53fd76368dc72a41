"""Timing that holds on a noisy machine: contenders take turns, and medians are compared."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any


def interleaved(
    contenders: Mapping[str, Callable[[], float | None]], repeats: int
) -> dict[str, float]:
    """The median seconds of each contender, run in turns.

    A contender that returns a number has timed itself (to leave its preparation out); for the
    others the whole call is timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            started = time.perf_counter()
            own = run()
            seconds[name].append(time.perf_counter() - started if own is None else own)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def in_fresh_process(function: str, *arguments: str) -> dict[str, Any]:
    """Run `module:function` with text arguments in a new interpreter; it prints one JSON object.

    Raises:
        RuntimeError: the process failed; the message ends with what it wrote.
    """
    module, name = function.split(":")
    code = f"import sys, {module} as m; m.{name}(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{function} failed:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
