"""The kinds of failure that are this room's own."""

from __future__ import annotations

from catalog_pipeline.errors import PermanentError, TransientError


class CheckpointError(PermanentError):
    """A model's checkpoint is absent, incomplete or does not fit; another one is needed."""


class DeviceMemoryError(TransientError):
    """Not even one image fits into the device's free memory."""


class PartError(PermanentError):
    """A file of vectors is damaged or is not what it should be."""


class MissingPartError(PartError):
    """A file of vectors that the database knows of is not in the data folder."""
