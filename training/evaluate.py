"""What a checkpoint understands: generated garments it never saw, and real photographs.

It goes through `Embedder`, the way in which the pipeline embeds, so that preprocessing, precision
and tokenizer are those that count.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from catalog_pipeline.demo.garments import Attributes
from catalog_pipeline.demo.pictures import encoded, picture
from catalog_pipeline.embeddings.encode import Embedder

Vectors = npt.NDArray[np.float32]
_CROPPED = 0.05
_QUALITY = 60


@dataclass(frozen=True)
class Found:
    """How many of the queries found first what they asked for, whole and word by word."""

    queries: int
    right: int
    kind: int
    colour: int
    pattern: int

    @property
    def share(self) -> float:
        """Of queries whose first answer is right in all three."""
        return self.right / self.queries


def words_to_garments(
    embedder: Embedder, queries: Sequence[Attributes], others: Sequence[Attributes], seed: int
) -> Found:
    """Ask for each look in words, among pictures of the same looks and of others.

    Args:
        embedder: the model.
        queries: what is asked for, each once.
        others: what else is in the catalogue.
        seed: of the pictures; below 2**24 the model was not trained on them.
    """
    looks = [*queries, *others]
    catalogue = _vectors(
        embedder,
        [encoded(picture(x.kind, x.colour, x.pattern, seed + n, 256)) for n, x in enumerate(looks)],
    )
    asked = embedder.encode_texts([look.words for look in queries])
    first = [looks[row] for row in np.argmax(asked @ catalogue.T, axis=1)]
    pairs = list(zip(queries, first, strict=True))
    return Found(
        len(queries),
        sum(a == b for a, b in pairs),
        sum(a.kind == b.kind for a, b in pairs),
        sum(a.colour == b.colour for a, b in pairs),
        sum(a.pattern == b.pattern for a, b in pairs),
    )


def copies_to_photographs(embedder: Embedder, photographs: Sequence[Path]) -> int:
    """How many photographs are found first by their own worse copy."""
    contents = [path.read_bytes() for path in photographs]
    catalogue = _vectors(embedder, contents)
    copies = _vectors(embedder, [worse_copy(content) for content in contents])
    return int(np.sum(np.argmax(copies @ catalogue.T, axis=1) == np.arange(len(contents))))


def worse_copy(content: bytes) -> bytes:
    """The picture cropped by 5% on each side, halved, and re-encoded as JPEG at quality 60."""
    with Image.open(io.BytesIO(content)) as opened:
        whole = opened.convert("RGB")
    across, down = round(whole.width * _CROPPED), round(whole.height * _CROPPED)
    inner = whole.crop((across, down, whole.width - across, whole.height - down))
    target = io.BytesIO()
    inner.resize((inner.width // 2, inner.height // 2)).save(target, "JPEG", quality=_QUALITY)
    return target.getvalue()


def _vectors(embedder: Embedder, contents: Sequence[bytes]) -> Vectors:
    batches = embedder.encode((str(row), content) for row, content in enumerate(contents))
    return np.concatenate([batch.vectors for batch in batches])
