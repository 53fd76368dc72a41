"""torch and open_clip, imported once something must be embedded, and no more than a model needs.

Their import is most of what a sync of a few new pictures takes, so it may begin while the last of
them are still on their way.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType

from catalog_pipeline.errors import ConfigurationError

# What open_clip imports if it is there, and the module of open_clip that then makes towers by it.
_OFTEN_NEEDLESS = {"timm": "timm_model", "transformers": "hf_model"}
_importing = threading.Lock()


def import_libraries(towers_of: Collection[str]) -> tuple[ModuleType, ModuleType]:
    """Torch and open_clip.

    Args:
        towers_of: which of timm and transformers the model's towers are made by; open_clip would
            import both, and most models need one or none. Tokenizers import theirs themselves.

    Raises:
        ConfigurationError: one of them is not installed.
    """
    with _importing:
        _keep_root_logger()
        _forget_open_clip_without(towers_of)
        try:
            with (
                _without_garbage_collection(),
                _imports_fail(_OFTEN_NEEDLESS.keys() - set(towers_of)),
            ):
                import open_clip
                import torch
        except ImportError as error:
            raise ConfigurationError(
                f"embedding needs torch and open_clip ({error.name or error} is missing); install "
                "catalog-pipeline[embed]"
            ) from error
        return torch, open_clip


def import_ahead(towers_of: Collection[str]) -> None:
    """Begin the import in a thread; whoever loads a model then waits for what is left of it.

    What is missing is told to them, not here.
    """

    def work() -> None:
        with suppress(ConfigurationError):
            import_libraries(towers_of)

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
    """Over imports that make a million objects and drop none: looking through them is a quarter.

    Nor is it worth while to look through them ever again. No-op once they are there.
    """
    if "open_clip" in sys.modules:
        yield
        return
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


@contextmanager
def _imports_fail(unwanted: Collection[str]) -> Iterator[None]:
    """Let imports of them fail, which open_clip is prepared for; no-op for those that are there."""
    unwanted = [] if "open_clip" in sys.modules else [*(set(unwanted) - sys.modules.keys())]
    for name in unwanted:
        # Python's own mark of a module that must not be imported.
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in unwanted:
            del sys.modules[name]


def _forget_open_clip_without(towers_of: Collection[str]) -> None:
    """Models that were made meanwhile keep the modules that they were made by."""
    makers = {name: sys.modules.get(f"open_clip.{_OFTEN_NEEDLESS[name]}") for name in towers_of}
    if any(maker is not None and getattr(maker, name) is None for name, maker in makers.items()):
        for name in [name for name in sys.modules if name.partition(".")[0] == "open_clip"]:
            del sys.modules[name]
