"""The demo's checkpoint: what it is, and that it finds what it is asked for."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest

from catalog_pipeline.demo.model import DEMO_MODEL
from catalog_pipeline.embeddings.encode import Embedder
from training.captions import EVERY_LOOK
from training.evaluate import copies_to_photographs, words_to_garments

# Pictures of training have seeds from 2**24 up; these are a store's.
UNSEEN_SEED = 9_000_000
LEAST_FOUND = 0.9
ASKED = 120
OTHERS = 240


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(DEMO_MODEL, device="cpu")


def test_the_model_says_what_it_is(embedder: Embedder) -> None:
    assert re.fullmatch(r"demo-clip-[0-9a-f]{8}-[0-9a-f]{8}", embedder.spec.model_version)
    assert embedder.spec.dimensions == 768
    checkpoint = embedder.spec.checkpoint
    assert sum(path.stat().st_size for path in checkpoint.parent.iterdir()) <= 10_000_000


def test_it_embeds_texts_without_a_download(embedder: Embedder) -> None:
    vectors = embedder.encode_texts(["a red dress", "black shoes", "something it never heard of"])
    assert vectors.shape == (3, 768)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_words_find_the_garment_they_name(embedder: Embedder) -> None:
    chance = random.Random(3)
    looks = chance.sample(EVERY_LOOK, ASKED + OTHERS)
    found = words_to_garments(embedder, looks[:ASKED], looks[ASKED:], UNSEEN_SEED)
    assert found.queries == ASKED
    assert found.share >= 0.8, found


def test_a_cropped_copy_of_a_photograph_finds_it(embedder: Embedder, shared_data: Path) -> None:
    photographs = sorted(shared_data.glob("photos/*/*.jpg"))[::2]
    found = copies_to_photographs(embedder, photographs)
    assert found / len(photographs) >= LEAST_FOUND, found
