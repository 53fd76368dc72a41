"""An embedder that makes vectors up: what `memory` measures is the pipeline, not a model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from catalog_pipeline.defs.resources import EmbedderResource
from catalog_pipeline.embeddings.encode import Content, EncodedBatch, Vectors
from catalog_pipeline.embeddings.model import ModelSpec

NO_MODEL: Final = ModelSpec(
    name="benchmark",
    model_version="benchmark-0",
    checkpoint_hash="",
    preprocessing_hash="",
    dimensions=768,
    architecture="",
    pretrained=None,
    tokenizer="",
    checkpoint=Path(),
)
_BATCH: Final = 16


class NoModel:
    """As much of an `Embedder` as the stages use."""

    spec = NO_MODEL
    loaded = None

    def expect(self) -> None:
        """There is nothing to import."""

    def load(self) -> None:
        """There is nothing to load."""

    def encode(self, items: Iterable[tuple[str, Content]]) -> Iterator[EncodedBatch]:
        """A vector of length 1 for each image, by its key; the bytes are read as always."""
        remaining = iter(items)
        while batch := list(islice(remaining, _BATCH)):
            for _key, content in batch:
                if callable(content):
                    content()
            keys = [key for key, _content in batch]
            yield EncodedBatch(keys, np.stack([_vector(key) for key in keys]), {})


class NoModelResource(EmbedderResource):
    """The resource of that embedder."""

    def spec(self) -> ModelSpec:
        """The identity of no model."""
        return NO_MODEL

    def get(self, *_: Any, **__: Any) -> Any:
        """The embedder, whatever the run overrides."""
        return NoModel()


def _vector(key: str) -> Vectors:
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
    drawn = np.random.default_rng(seed).standard_normal(NO_MODEL.dimensions, dtype=np.float32)
    unit: Vectors = drawn / np.linalg.norm(drawn)
    return unit
