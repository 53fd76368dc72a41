"""The kinds of failure that are this room's own."""

from __future__ import annotations

from catalog_pipeline.errors import ConfigurationError, PermanentError, TransientError


class CheckpointError(PermanentError):
    """A model's checkpoint is absent, incomplete or does not fit; another one is needed."""


class TextTowerError(CheckpointError, ConfigurationError):
    """The model embeds no texts: it can neither be searched by words nor loaded by open_clip."""


class DeviceMemoryError(TransientError):
    """Not even one image fits into the device's free memory."""


class PartError(PermanentError):
    """A file of vectors is damaged or is not what it should be."""


class MissingPartError(PartError):
    """A file of vectors that the database knows of is not in the data folder."""
