"""Measuring unknown bytes in worker processes that may die or hang without harm to anyone else.

The workers hand back measurements and nothing else. They come from a fork server, because the
process that asks has threads, and they are capped in memory and in processor time, which a busy
machine does not use up. A picture is blamed only for what it surely did: what it costs ends within
`BUDGET_SECONDS` all the same, without a verdict if need be. What a measurement is belongs to
`measure.py`.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Final, Self

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from catalog_pipeline.errors import TransientError
from catalog_pipeline.images.measure import Measurements, measure
from catalog_pipeline.images.pictures import picture_format

logger = logging.getLogger(__name__)

# Of processor time, for one picture: twice what the largest ones take.
TIMEOUT_SECONDS: Final = 6.0
# For whatever becomes of one picture, a second try alone included.
BUDGET_SECONDS: Final = 14.0
MAX_WORKERS: Final = 4
# Room for the file itself and the largest picture decoded, converted and flattened.
_BASE_MEMORY: Final = 512_000_000
_MEMORY_PER_PIXEL: Final = 16
# A worker is replaced now and then, so that what a decoder leaks goes with it.
_TASKS_PER_WORKER: Final = 2_000
# For the fork server and the first worker, on a machine that has other things to do.
_FIRST_START_SECONDS: Final = 60.0
# For a worker of a pool that runs to take a picture up, to get its processor time beside others,
# and to be killed beyond its time.
_START_SECONDS: Final = 3.0
_SHARE_SECONDS: Final = 3.0
_KILL_SECONDS: Final = 3.5
_LOOK_SECONDS: Final = 0.5

_UNAVAILABLE: Final = (
    "the processes that decode pictures cannot be started; "
    "look for a want of memory or of process ids"
)

_UNDECIDED: Final = "a picture was not decoded in its time; the machine may have been too busy"

Measure = Callable[[bytes, int], Measurements]


class DecoderUnavailableError(TransientError):
    """Worker processes cannot be started; no picture is to blame."""


class UndecidedError(TransientError):
    """A picture was not measured in its time; the machine may be to blame, so nothing is said."""


class _WorkerLostError(Exception):
    """A picture's worker died; whose doing that was is not known."""


class _PictureLostError(Exception):
    """No worker took a picture up, or none answered for it, in more time than that takes."""


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
            timeout_seconds: of processor time for one picture, after which its worker is killed.
            function: what a worker does; importable by name.
        """
        self._max_pixels = max_pixels
        self._memory = _BASE_MEMORY + _MEMORY_PER_PIXEL * max_pixels
        self._workers = workers or min(MAX_WORKERS, os.cpu_count() or 1)
        self._timeout = timeout_seconds
        self._function = function
        self._lock = threading.Lock()
        self._pool: ProcessPool | None = None
        # No more pictures in the pool than workers: one that is not taken up at once is lost.
        self._free = threading.BoundedSemaphore(self._workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def measure(self, content: bytes, max_pixels: int | None = None) -> Measurements:
        """Measure a picture, waiting for a worker; a worker it kills or busies is its own verdict.

        Args:
            content: the whole file.
            max_pixels: a larger picture is not decoded; by default the pool's own limit.

        Raises:
            ValueError: `max_pixels` is more than the pool's memory was measured out for.
            UndecidedError: it was not measured in its time, for which it may not be to blame.
            DecoderUnavailableError: workers cannot be started.
        """
        limit = max_pixels or self._max_pixels
        if limit > self._max_pixels:
            raise ValueError(f"this decoder takes {self._max_pixels} pixels, not {limit}")
        with self._free:
            ends_at = time.monotonic() + BUDGET_SECONDS
            pool = self._running()
            try:
                return self._ask(pool, content, limit, self._timeout + _SHARE_SECONDS)
            except (_WorkerLostError, _PictureLostError) as error:
                if isinstance(error, _PictureLostError) or not pool.active:
                    self._discard(pool)
            return self._measured_alone(content, limit, ends_at)

    def close(self) -> None:
        """End the workers; the next `measure` would start them again."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            _end(pool)

    def _measured_alone(self, content: bytes, limit: int, ends_at: float) -> Measurements:
        """Measure a picture in a process of its own, whose death is its own doing.

        Beside others, a neighbour or the machine may have been at fault.
        """
        pool = self._started(workers=1)
        try:
            left = ends_at - time.monotonic()
            if left <= 0:
                raise UndecidedError(_UNDECIDED)
            return self._ask(pool, content, limit, min(self._timeout + _SHARE_SECONDS, left))
        except _WorkerLostError as error:
            return _corrupt(content, str(error))
        except _PictureLostError as error:
            raise UndecidedError(_UNDECIDED) from error
        finally:
            _end(pool)

    def _ask(self, pool: ProcessPool, content: bytes, limit: int, seconds: float) -> Measurements:
        """What a worker says, or what its end says of the picture, within these seconds."""
        too_long = f"decoding took longer than {self._timeout:g} s"
        try:
            future = pool.schedule(
                _bounded,
                args=(self._function, self._timeout, seconds + _KILL_SECONDS, content, limit),
                timeout=seconds,
            )
            self._wait(pool, future, seconds)
            return future.result()
        except TimeoutError as error:
            raise UndecidedError(_UNDECIDED) from error
        except MemoryError:
            return _corrupt(content, "decoding needs too much memory")
        except ProcessExpired as error:
            if error.exitcode == -signal.SIGPROF:
                return _corrupt(content, too_long)
            raise _WorkerLostError(
                f"decoding killed its process (exit code {error.exitcode})"
            ) from error
        except (BrokenProcessPool, CancelledError, RuntimeError) as error:
            raise _WorkerLostError("decoding killed its process") from error

    def _wait(self, pool: ProcessPool, future: ProcessFuture[Measurements], seconds: float) -> None:
        """Wait for an answer, but not for one that cannot come any more.

        pebble forgets a picture whose worker dies between taking it up and saying so, one that
        reaches a pool while it breaks, and all of them once the workers' pipe is left locked.
        """
        ends_at = time.monotonic() + _START_SECONDS
        taken_up = False
        while not wait([future], timeout=_LOOK_SECONDS).done:
            if not pool.active:
                raise BrokenProcessPool("the pool ended before it answered")
            if not taken_up and future.running():
                taken_up = True
                ends_at = time.monotonic() + seconds + _KILL_SECONDS
            if time.monotonic() > ends_at:
                raise _PictureLostError

    def _running(self) -> ProcessPool:
        with self._lock:
            if self._pool is None:
                self._pool = self._started(self._workers)
            return self._pool

    def _started(self, workers: int) -> ProcessPool:
        """A pool that has shown that it works.

        Raises:
            DecoderUnavailableError: it does not.
        """
        context = multiprocessing.get_context("forkserver")
        # Imported once in the server, so that a worker is there in milliseconds.
        context.set_forkserver_preload([measure.__module__, "pebble"])
        pool = ProcessPool(
            max_workers=workers,
            max_tasks=_TASKS_PER_WORKER,
            initializer=_confine,
            initargs=(self._memory,),
            context=context,
        )
        try:
            pool.schedule(int).result(timeout=_FIRST_START_SECONDS)
        except Exception as error:
            _end(pool)
            raise DecoderUnavailableError(_UNAVAILABLE) from error
        return pool

    def _discard(self, pool: ProcessPool) -> None:
        with self._lock:
            if self._pool is not pool:
                return
            self._pool = None
        _end(pool)


def _corrupt(content: bytes, reason: str) -> Measurements:
    logger.warning("picture %s is poison: %s", hashlib.sha256(content).hexdigest(), reason)
    return Measurements(len(content), picture_format(content), problem="corrupt", reason=reason)


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


def _bounded(
    function: Measure, busy: float, in_all: float, content: bytes, limit: int
) -> Measurements:
    """Under timers that end this worker: on the processor, and by the clock if nobody is left to.

    The system looks at the first one, so it stops C code too.
    """
    if not hasattr(signal, "setitimer"):
        return function(content, limit)
    signal.setitimer(signal.ITIMER_PROF, busy)
    signal.setitimer(signal.ITIMER_REAL, in_all)
    try:
        return function(content, limit)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _confine(memory: int) -> None:
    """Cap what this worker may allocate beyond what it has, and keep it quiet and coreless."""
    warnings.simplefilter("ignore")
    # pebble's own handler would wait for C code to return to Python, and pebble with it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        used = pages * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
