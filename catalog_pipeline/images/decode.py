"""Measuring unknown bytes in worker processes that may die or hang without harm to anyone else.

The workers hand back measurements and nothing else. They come from a fork server, because the
process that asks has threads, and they are capped in memory and time. What a measurement is belongs
to `measure.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Final

from pebble import ProcessExpired, ProcessPool

from catalog_pipeline.errors import TransientError
from catalog_pipeline.images.measure import Measurements, measure
from catalog_pipeline.images.pictures import picture_format

TIMEOUT_SECONDS: Final = 8.0
MAX_WORKERS: Final = 4
# Room for the file itself and the largest picture decoded, converted and flattened.
_BASE_MEMORY: Final = 512_000_000
_MEMORY_PER_PIXEL: Final = 16
# A worker is replaced now and then, so that what a decoder leaks goes with it.
_TASKS_PER_WORKER: Final = 2_000
_ATTEMPTS: Final = 2

Measure = Callable[[bytes, int], Measurements]


class DecoderUnavailableError(TransientError):
    """Worker processes cannot be started or die by themselves; no picture is to blame."""


class Decoder:
    """A pool of worker processes, started by the first picture; shared freely between threads."""

    def __init__(
        self,
        *,
        max_pixels: int = 50_000_000,
        workers: int | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        function: Measure = measure,
    ) -> None:
        """Prepare the pool.

        Args:
            max_pixels: the largest picture that `measure` will be asked for; sets the memory cap.
            workers: processes; by default one per core, at most four.
            timeout_seconds: for one picture, after which its worker is killed.
            function: what a worker does; importable by name.
        """
        self._max_pixels = max_pixels
        self._memory = _BASE_MEMORY + _MEMORY_PER_PIXEL * max_pixels
        self._workers = workers or min(MAX_WORKERS, os.cpu_count() or 1)
        self._timeout = timeout_seconds
        self._function = function
        self._lock = threading.Lock()
        self._pool: ProcessPool | None = None

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def measure(self, content: bytes, max_pixels: int | None = None) -> Measurements:
        """Measure a picture, waiting for a worker; a worker it kills or hangs is its own verdict.

        Args:
            content: the whole file.
            max_pixels: a larger picture is not decoded; by default the pool's own limit.

        Raises:
            ValueError: `max_pixels` is more than the pool's memory was measured out for.
            DecoderUnavailableError: workers cannot be started.
        """
        limit = max_pixels or self._max_pixels
        if limit > self._max_pixels:
            raise ValueError(f"this decoder takes {self._max_pixels} pixels, not {limit}")
        died: ProcessExpired | None = None
        broken: Exception | None = None
        for _ in range(_ATTEMPTS):
            pool = self._running()
            try:
                future = pool.schedule(self._function, args=(content, limit), timeout=self._timeout)
                return future.result()
            except TimeoutError:
                return _corrupt(content, f"decoding took longer than {self._timeout:g} s")
            except MemoryError:
                return _corrupt(content, "decoding needs too much memory")
            except ProcessExpired as error:
                # Once may be the machine's doing, such as its want of memory; twice is the bytes'.
                died = error
            except (BrokenProcessPool, CancelledError, RuntimeError) as error:
                broken = error
                self._discard(pool)
        if died is not None:
            return _corrupt(content, f"decoding killed its process (exit code {died.exitcode})")
        raise DecoderUnavailableError(
            "the processes that decode pictures cannot be started or end by themselves; "
            "look for a want of memory or of process ids"
        ) from broken

    def close(self) -> None:
        """End the workers; the next `measure` would start them again."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            _end(pool)

    def _running(self) -> ProcessPool:
        with self._lock:
            if self._pool is None:
                context = multiprocessing.get_context("forkserver")
                # Imported once in the server, so that a worker is there in milliseconds.
                context.set_forkserver_preload([measure.__module__, "pebble"])
                self._pool = ProcessPool(
                    max_workers=self._workers,
                    max_tasks=_TASKS_PER_WORKER,
                    initializer=_confine,
                    initargs=(self._memory,),
                    context=context,
                )
            return self._pool

    def _discard(self, pool: ProcessPool) -> None:
        with self._lock:
            if self._pool is not pool:
                return
            self._pool = None
        _end(pool)


def _corrupt(content: bytes, reason: str) -> Measurements:
    return Measurements(len(content), picture_format(content), problem="corrupt", reason=reason)


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


def _confine(memory: int) -> None:
    """Cap what this worker may allocate beyond what it has, and keep it quiet and coreless."""
    warnings.simplefilter("ignore")
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        used = pages * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
