"""torch and open_clip, imported once something must be embedded, and no more than a model needs.

Their import is most of what a sync of a few new pictures takes, so it may begin while the last of
them are still on their way.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType

from catalog_pipeline.errors import ConfigurationError

_OFTEN_NEEDLESS = "transformers"
_importing = threading.Lock()


def import_libraries(*, needs_transformers: bool) -> tuple[ModuleType, ModuleType]:
    """Torch and open_clip.

    Args:
        needs_transformers: whether the model's text tower is one of transformers', which open_clip
            otherwise imports for nothing. Its tokenizers import it themselves.

    Raises:
        ConfigurationError: one of them is not installed.
    """
    with _importing:
        _keep_root_logger()
        if needs_transformers:
            _forget_open_clip_without_it()
        try:
            with _without_garbage_collection(), _import_fails(not needs_transformers):
                import open_clip
                import torch
        except ImportError as error:
            raise ConfigurationError(
                f"embedding needs torch and open_clip ({error.name or error} is missing); install "
                "catalog-pipeline[embed]"
            ) from error
        return torch, open_clip


def import_ahead(*, needs_transformers: bool) -> None:
    """Begin the import in a thread; whoever loads a model then waits for what is left of it.

    What is missing is told to them, not here.
    """

    def work() -> None:
        with suppress(ConfigurationError):
            import_libraries(needs_transformers=needs_transformers)

    # No daemon: a process must not end amid a library's first steps.
    threading.Thread(target=work, name="import-torch").start()


def _keep_root_logger() -> None:
    """open_clip logs by the module's functions, which give a root logger that has none a handler.

    That one would write every line of ours once more, in a form in which a stranger's text is not
    kept on its line.
    """
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.NullHandler())


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Over imports that make a million objects and drop none: looking through them is a quarter."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _import_fails(is_unwanted: bool) -> Iterator[None]:
    """Let `import transformers` fail, which open_clip is prepared for; no-op where it is there."""
    if not is_unwanted or _OFTEN_NEEDLESS in sys.modules or "open_clip" in sys.modules:
        yield
        return
    # Python's own mark of a module that must not be imported.
    sys.modules[_OFTEN_NEEDLESS] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[_OFTEN_NEEDLESS]


def _forget_open_clip_without_it() -> None:
    """Models that were made meanwhile keep the modules that they were made by."""
    towers = sys.modules.get("open_clip.hf_model")
    if towers is not None and towers.transformers is None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "open_clip"]:
            del sys.modules[name]
