"""Texts with a tokenizer of the kind that SigLIP models bring, read without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from catalog_pipeline.embeddings.encode import Embedder
from catalog_pipeline.embeddings.problems import CheckpointError, TextTowerError
from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline_tests.embeddings.conftest import TINY, write_checkpoint

CONTEXT = 16
# As open_clip configures the text tower of a SigLIP model.
SIGLIP_TEXT: dict[str, Any] = {
    "context_length": CONTEXT,
    "vocab_size": 400,
    "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "width": 16,
    "heads": 2,
    "layers": 1,
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
}


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with a sentence-piece tokenizer in files beside it."""
    folder = tmp_path_factory.mktemp("siglip") / "tiny-siglip"
    write_checkpoint(folder, model=TINY | {"text_cfg": SIGLIP_TEXT})
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    """A unigram tokenizer that ends and pads every text with </s>, as SigLIP's does."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    words = [
        "striped",
        "blue",
        "dress",
        "red",
        "shoes",
        "floral",
        "a",
        "pair",
        "of",
        "green",
        "bag",
    ]
    made.train_from_iterator([" ".join(words[n:] + words[:n]) for n in range(11)] * 20, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", made.token_to_id("</s>"))]
    )
    made.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "</s>",
        "pad_token": "</s>",
        "unk_token": "<unk>",
        "model_max_length": CONTEXT,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")


def embedder_of(folder: Path) -> Embedder:
    return Embedder(f"local-dir:{folder}", device="cpu")


def test_a_siglip_text_is_canonicalised_and_padded(siglip: Path) -> None:
    embedder = embedder_of(siglip)
    plain, shouted, other, long = embedder.encode_texts(
        ["striped blue dress", "  Striped BLUE   dress! ", "red shoes", "red shoes " * 40]
    )
    np.testing.assert_allclose(shouted, plain, atol=1e-6)
    assert float(plain @ other) < 0.999
    # What stands beside a text in a batch does not change it.
    np.testing.assert_allclose(embedder.encode_texts(["red shoes"])[0], other, atol=1e-6)
    assert np.isfinite(long).all()
    assert np.linalg.norm(long) == pytest.approx(1.0, abs=1e-6)


def test_a_siglip_text_vector_is_open_clips_own(siglip: Path) -> None:
    import open_clip
    import torch

    texts = ["a pair of red shoes", "floral green dress"]
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{siglip}")
    tokens = open_clip.get_tokenizer(f"local-dir:{siglip}")(texts)
    assert tokens.shape == (2, CONTEXT)
    with torch.inference_mode():
        expected = model.eval().encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(embedder_of(siglip).encode_texts(texts), expected, atol=1e-6)


def test_a_tokenizer_whose_files_are_not_there_is_named(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "bare", model=TINY | {"text_cfg": SIGLIP_TEXT})
    with pytest.raises(CheckpointError, match="beside the checkpoint"):
        embedder_of(folder).encode_texts(["a red dress"])


def test_a_model_without_a_text_tower_is_a_wrong_setting(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "pictures-only")
    config = {"model_cfg": {key: TINY[key] for key in ("embed_dim", "vision_cfg")}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(TextTowerError, match="no text tower") as raised:
        embedder_of(folder).encode_texts(["a red dress"])
    assert isinstance(raised.value, ConfigurationError)
