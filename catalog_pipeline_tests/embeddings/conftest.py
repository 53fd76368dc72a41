"""Small checkpoints with seeded weights, built by open_clip itself."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

TINY: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {
        "image_size": 32,
        "patch_size": 8,
        "width": 64,
        "head_width": 32,
        "layers": 3,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}
SQUASHED = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
CROPPED = {"size": 32, "interpolation": "bilinear", "resize_mode": "shortest"}


def write_checkpoint(
    folder: Path,
    *,
    model: Mapping[str, Any] = TINY,
    preprocess: Mapping[str, Any] = SQUASHED,
    change: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """A checkpoint in open_clip's layout; `change` edits the weights before they are written."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(11)
        weights = dict(open_clip.CLIP(**model).state_dict())
    weights.pop("attn_mask", None)
    if change is not None:
        change(weights)
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS)
    config = {"model_cfg": model, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config), "utf-8")
    return folder


WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny checkpoint with both towers."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


def picture(seed: int, size: tuple[int, int] = (90, 60)) -> bytes:
    """A JPEG of coloured blocks, another one for each seed."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    target = io.BytesIO()
    Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC).save(target, "JPEG", quality=90)
    return target.getvalue()
