"""What a decoder with a hole would do. Runs in workers, which import it, so it imports little."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from catalog_pipeline.images.measure import Measurements, measure

# In front of it, a picture is still a JPEG by its first bytes.
JPEG = b"\xff\xd8\xff"


def poison(how: str, rest: str = "") -> bytes:
    """Bytes that make `sabotage` do one of `_WAYS`, or send its own process a signal."""
    return JPEG + f"{how}\0{rest}".encode()


def sabotage(content: bytes, max_pixels: int) -> Measurements:
    """Does what the bytes ask for; measures all others."""
    how, _, rest = content.removeprefix(JPEG).partition(b"\0")
    if how.startswith(b"SIG") and content.startswith(JPEG):
        os.kill(os.getpid(), signal.Signals[how.decode()])
        time.sleep(60)
    elif (way := _WAYS.get(how)) is not None:
        way(rest)
    return measure(content, max_pixels)


def once_sabotaged(content: bytes, max_pixels: int) -> Measurements:
    """Hangs the first time; the second worker finds that it is the second."""
    marker = Path(os.fsdecode(content.rpartition(b"\0")[2]))
    if marker.exists():
        return Measurements(len(content), reason="measured in peace")
    return sabotage(content, max_pixels)


def refuse_to_start(memory: int) -> None:
    """A worker's beginning that fails."""
    raise OSError(f"no room for {memory}")


def _loop(_: bytes) -> None:
    while True:
        pass


def _idle(seconds: bytes) -> None:
    # As a process is that gets no processor, or waits for something that does not come.
    time.sleep(float(seconds))


def _late(seconds: bytes) -> None:
    ends = time.process_time() + float(seconds)
    while time.process_time() < ends:
        pass
    os.kill(os.getpid(), signal.SIGSEGV)


def _deaf(_: bytes) -> None:
    # To all but SIGKILL and the system's own timers, as C code is to what Python would handle.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _loop(b"")


def _hoard(_: bytes) -> None:
    hoard = []
    while True:
        hoard.append(bytes(50_000_000))


def _lock(_: bytes) -> None:
    """Die as a worker does that the machine kills while it takes a picture from the pipe."""
    frame = sys._getframe()
    while "channel" not in frame.f_locals:
        assert frame.f_back is not None
        frame = frame.f_back
    with frame.f_locals["channel"].lock():
        os._exit(9)


def _orphan(marker: bytes) -> None:
    draft = Path(os.fsdecode(marker) + ".draft")
    draft.write_text(str(os.getpid()), "ascii")
    draft.rename(os.fsdecode(marker))
    time.sleep(60)


_WAYS: dict[bytes, Callable[[bytes], None]] = {
    b"abort": lambda _: os.abort(),
    b"exit": lambda _: os._exit(3),
    b"loop": _loop,
    b"idle": _idle,
    b"late": _late,
    b"deaf": _deaf,
    b"hoard": _hoard,
    b"lock": _lock,
    b"orphan": _orphan,
}
