"""A small open_clip model with seeded, untrained weights, built on the spot without a download.

It knows nothing about clothes: what it can do is tell pictures apart by where which colours and
edges are, enough to find a picture again after scaling and compression. The demo uses it where no
trained checkpoint is at hand, and its name says what it is.

Built from raw random bits rather than by torch, so that every machine gets the same bytes and
thereby the same model version.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import uuid
from pathlib import Path

import numpy as np
import numpy.typing as npt

NAME = "demo-seeded-untrained"
_CONFIG_FILE = "open_clip_config.json"
_WEIGHTS_FILE = "open_clip_model.safetensors"
_SEED = 20_240_607
_DIMENSIONS = 768
_IMAGE = {"size": 112, "patch": 16, "width": 192, "layers": 2, "mlp_ratio": 2.0}
# The vocabulary is that of the tokenizer that open_clip brings along.
_TEXT = {"context": 77, "vocabulary": 49_408, "width": 32, "layers": 1, "mlp_ratio": 4.0}

_CONFIG = {
    "model_cfg": {
        "embed_dim": _DIMENSIONS,
        "vision_cfg": {
            "image_size": _IMAGE["size"],
            "patch_size": _IMAGE["patch"],
            "width": _IMAGE["width"],
            "head_width": 64,
            "layers": _IMAGE["layers"],
            "mlp_ratio": _IMAGE["mlp_ratio"],
            "pool_type": "avg",
        },
        "text_cfg": {
            "context_length": _TEXT["context"],
            "vocab_size": _TEXT["vocabulary"],
            "width": _TEXT["width"],
            "heads": 1,
            "layers": _TEXT["layers"],
            "mlp_ratio": _TEXT["mlp_ratio"],
        },
    },
    "preprocess_cfg": {
        "size": _IMAGE["size"],
        "mode": "RGB",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}

Tensors = dict[str, npt.NDArray[np.float16]]


def build_demo_model(folder: Path) -> Path:
    """The demo's checkpoint in open_clip's `local-dir:` layout, written unless it is there.

    Args:
        folder: where it goes, in a folder of its own named `demo-seeded-untrained`.

    Returns:
        That folder; `CATALOG_MODEL=local-dir:<it>` uses the model. About 5 MB.
    """
    target = folder / NAME
    if _is_built(target):
        return target
    # Without torch, and only needed where the model is built.
    from safetensors.numpy import save

    weights = save(_weights())
    config = json.dumps(_CONFIG | {"demo": _origin(weights)}, indent=2) + "\n"
    draft = folder / f".{NAME}.{uuid.uuid4().hex}"
    draft.mkdir(parents=True)
    try:
        (draft / _WEIGHTS_FILE).write_bytes(weights)
        (draft / _CONFIG_FILE).write_text(config, "utf-8")
        _put(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _put(draft: Path, target: Path) -> None:
    try:
        draft.rename(target)
    except OSError:
        # Either another process was faster and built the same bytes, or an old or broken one lies
        # in the way.
        if not _is_built(target):
            shutil.rmtree(target)
            draft.rename(target)


def _is_built(target: Path) -> bool:
    try:
        config = json.loads((target / _CONFIG_FILE).read_text("utf-8"))
        weights = (target / _WEIGHTS_FILE).read_bytes()
    except (OSError, ValueError):
        return False
    return bool(config == _CONFIG | {"demo": _origin(weights)})


def _origin(weights: bytes) -> dict[str, object]:
    """What else the configuration says, for whoever finds the folder and for `_is_built`."""
    return {"seed": _SEED, "trained": False, "sha256": hashlib.sha256(weights).hexdigest()}


class _Bits:
    """Numbers that follow from the seed alone: PCG64's raw output, which never changes."""

    def __init__(self, seed: int) -> None:
        self._source = np.random.PCG64(seed)

    def spread(self, shape: tuple[int, ...], deviation: float) -> npt.NDArray[np.float16]:
        """Uniform around 0 with the given standard deviation."""
        raw = self._source.random_raw(math.prod(shape)) >> np.uint64(11)
        uniform = raw.astype(np.float64) / 2.0**52 - 1.0
        return (uniform * (deviation * math.sqrt(3.0))).astype(np.float16).reshape(shape)


def _weights() -> Tensors:
    bits = _Bits(_SEED)
    width, patch = int(_IMAGE["width"]), int(_IMAGE["patch"])
    patches = (int(_IMAGE["size"]) // patch) ** 2
    text_width = int(_TEXT["width"])
    tensors: Tensors = {
        "visual.conv1.weight": bits.spread(
            (width, 3, patch, patch), (3 * 3 * patch * patch) ** -0.5
        ),
        "visual.class_embedding": bits.spread((width,), width**-0.5),
        "visual.positional_embedding": bits.spread((patches + 1, width), width**-0.5),
        "visual.proj": bits.spread((width, _DIMENSIONS), width**-0.5),
        **_norm("visual.ln_pre", width),
        **_norm("visual.ln_post", width),
        **_blocks(bits, "visual", width, int(_IMAGE["layers"]), _IMAGE["mlp_ratio"]),
        "token_embedding.weight": bits.spread((int(_TEXT["vocabulary"]), text_width), 0.02),
        "positional_embedding": bits.spread((int(_TEXT["context"]), text_width), 0.01),
        "text_projection": bits.spread((text_width, _DIMENSIONS), text_width**-0.5),
        **_norm("ln_final", text_width),
        **_blocks(bits, "", text_width, int(_TEXT["layers"]), _TEXT["mlp_ratio"]),
        "logit_scale": np.array(math.log(1 / 0.07), np.float16),
    }
    return tensors


def _blocks(bits: _Bits, tower: str, width: int, layers: int, mlp_ratio: float) -> Tensors:
    hidden = int(width * mlp_ratio)
    prefix = f"{tower}." if tower else ""
    tensors: Tensors = {}
    for layer in range(layers):
        block = f"{prefix}transformer.resblocks.{layer}"
        tensors |= {
            **_norm(f"{block}.ln_1", width),
            f"{block}.attn.in_proj_weight": bits.spread((3 * width, width), (2 * width) ** -0.5),
            f"{block}.attn.in_proj_bias": _zeros(3 * width),
            **_linear(bits, f"{block}.attn.out_proj", width, width),
            **_norm(f"{block}.ln_2", width),
            **_linear(bits, f"{block}.mlp.c_fc", width, hidden),
            **_linear(bits, f"{block}.mlp.c_proj", hidden, width),
        }
    return tensors


def _linear(bits: _Bits, name: str, inputs: int, outputs: int) -> Tensors:
    weight = bits.spread((outputs, inputs), (3 * inputs) ** -0.5)
    return {f"{name}.weight": weight, f"{name}.bias": _zeros(outputs)}


def _norm(name: str, width: int) -> Tensors:
    return {f"{name}.weight": np.ones(width, np.float16), f"{name}.bias": _zeros(width)}


def _zeros(size: int) -> npt.NDArray[np.float16]:
    return np.zeros(size, np.float16)
