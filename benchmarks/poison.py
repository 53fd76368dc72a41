"""A decoder with a hole in it, for pictures that kill or hang whatever decodes them.

No such picture is known for the real decoder, so the hole is made here. Decode workers import this
module, so it imports no more than they need.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Final

from catalog_pipeline.images.measure import Measurements, measure

KILLS: Final = b"\xff\xd8\xff kills "
HANGS: Final = b"\xff\xd8\xff hangs "


def measure_poison(content: bytes, max_pixels: int) -> Measurements:
    """The usual measuring, for all but the two kinds of poison."""
    if content.startswith(KILLS):
        os.kill(os.getpid(), signal.SIGKILL)
    if content.startswith(HANGS):
        time.sleep(600)
    return measure(content, max_pixels)


def sync(store_id: str) -> None:
    """In a fresh process: the job for one store, without a model and with the hole."""
    from benchmarks.job import sync_without_model
    from catalog_pipeline.images.decode import Decoder

    defaults = Decoder.__init__.__kwdefaults__
    assert defaults is not None
    assert "function" in defaults
    defaults["function"] = measure_poison
    sync_without_model(store_id)
