"""The script that makes the demo's checkpoint, as far as a few steps show."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from catalog_pipeline.demo.catalogue import Catalogue
from catalog_pipeline.demo.media import Drawing
from catalog_pipeline.demo.pictures import encoded, picture
from catalog_pipeline.demo.profiles import DEFAULT_PROFILES
from catalog_pipeline.embeddings.encode import Embedder
from training.captions import EVERY_LOOK, GROUPS, every_caption
from training.pictures import FIRST_SEED, drawn
from training.train import (
    MODEL,
    STORED_SIDE,
    PictureTrainer,
    WordTrainer,
    meanings,
    save_checkpoint,
)


def test_of_each_group_one_caption_is_true_of_any_garment() -> None:
    for look in EVERY_LOOK:
        assert [sum(said.holds_for(look) for said in group) for group in GROUPS] == [1] * len(
            GROUPS
        )
    captions = every_caption(random.Random(1))
    assert len(captions) == sum(map(len, GROUPS)) == len(meanings())
    assert all(caption.strip() == caption and caption for caption in captions)


def test_no_sample_store_shows_a_picture_of_training() -> None:
    for profile in DEFAULT_PROFILES:
        catalogue = Catalogue(profile, 2024, 400)
        for index in range(catalogue.count):
            for image in catalogue.product(index).images:
                assert isinstance(image.media, Drawing)
                assert image.media.seed < FIRST_SEED


@pytest.mark.end_to_end
def test_a_few_steps_learn_and_leave_a_checkpoint_that_loads(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = open_clip.CLIP(**MODEL)
    words = WordTrainer(model, 5, seed=1)
    losses = [words.step() for _ in range(5)]
    assert losses[-1] < losses[0]
    pictures = PictureTrainer(model, drawn(64, STORED_SIDE, seed=1), 1, seed=1)
    assert np.isfinite(pictures.step())
    save_checkpoint(model, tmp_path / "made", {"steps": 1})
    embedder = Embedder(f"local-dir:{tmp_path / 'made'}", device="cpu")
    assert embedder.encode_texts(["a striped blue dress"]).shape == (1, 768)
    assert embedder.encode_image(encoded(picture("hat", "red", "plain", 1, 64))).shape == (768,)
    # Words that no caption has say nothing, rather than something by chance.
    zebra, giraffe, dress = embedder.encode_texts(["zebra", "giraffe", "dress"])
    np.testing.assert_allclose(zebra, giraffe, atol=1e-6)
    assert float(zebra @ dress) < 0.99999
