"""Timing that holds on a noisy machine: contenders take turns, and medians are compared.

Nothing here knows what is measured.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psutil

_SAMPLE_SECONDS = 0.1


@dataclass(frozen=True)
class FreshRun:
    """What a new interpreter did.

    Attributes:
        seconds: from its start to its end, imports included.
        cpu_seconds: that it and its descendants spent; unlike `seconds` it hardly suffers from what
            else runs on the machine, and it leaves out all waiting.
        found: the JSON object that it printed last.
        memory: every 0.1 s the time in Unix seconds, the resident bytes of the process, and those
            of its family: itself and all its descendants, where what they share counts for each.
    """

    seconds: float
    cpu_seconds: float
    found: dict[str, Any]
    memory: list[tuple[float, int, int]]

    def peak_bytes(self, until: float = math.inf) -> tuple[int, int]:
        """Most resident bytes up to a time: of the process, and of its family."""
        before = [sample for sample in self.memory if sample[0] <= until]
        return max(own for _, own, _ in before), max(family for _, _, family in before)


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


def in_fresh_process(
    function: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> FreshRun:
    """Run `module:function` with text arguments in a new interpreter; it prints one JSON object.

    Args:
        function: module and function.
        arguments: handed to the function as they are.
        environment: variables beside those of this process.

    Raises:
        RuntimeError: the process failed; the message ends with what it wrote.
    """
    module, name = function.split(":")
    code = f"import sys, {module} as m; m.{name}(*sys.argv[1:])"
    # Files, not pipes: nobody reads while the process is watched.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdout=output,
            stderr=errors,
            env={**os.environ, **(environment or {})},
        )
        try:
            with _Watch(process.pid) as watch:
                status = process.wait()
        finally:
            process.kill()
        seconds = time.perf_counter() - started
        if status != 0:
            errors.seek(0)
            raise RuntimeError(f"{function} failed:\n{errors.read()[-4000:]}")
        output.seek(0)
        found = json.loads(output.read().splitlines()[-1])
        return FreshRun(seconds, sum(watch.cpu_seconds.values()), found, watch.samples)


class _Watch:
    """Samples what a process and its descendants use until the block ends."""

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[float, int, int]] = []
        # By process; the last sample of each, so what it spends after that is lost.
        self.cpu_seconds: dict[psutil.Process, float] = {}
        self._root = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            try:
                descendants = self._root.children(recursive=True)
            except psutil.NoSuchProcess:
                return
            own = self._used(self._root)
            family = own + sum(map(self._used, descendants))
            self.samples.append((time.time(), own, family))

    def _used(self, process: psutil.Process) -> int:
        """The resident bytes of a process, its seconds noted."""
        try:
            with process.oneshot():
                spent = process.cpu_times()
                resident = int(process.memory_info().rss)
        except psutil.NoSuchProcess:
            return 0
        self.cpu_seconds[process] = spent.user + spent.system
        return resident
