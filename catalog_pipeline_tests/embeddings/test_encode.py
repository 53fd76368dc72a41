"""Vectors are open_clip's own, and a picture that fails costs no other its vector."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from catalog_pipeline.embeddings import encode
from catalog_pipeline.embeddings.encode import Embedder, FittingForward, unit_vectors
from catalog_pipeline.embeddings.loading import Device, Precision
from catalog_pipeline.embeddings.problems import CheckpointError, DeviceMemoryError
from catalog_pipeline.errors import ConfigurationError, PermanentError
from catalog_pipeline_tests.embeddings.conftest import (
    CROPPED,
    SQUASHED,
    TINY,
    WEIGHTS,
    picture,
    write_checkpoint,
)

PICTURES = [picture(seed, size) for seed, size in enumerate([(90, 60), (40, 120), (32, 32)] * 3)]


def _embedder(
    folder: Path, *, precision: Precision = "fp32", device: Device = "cpu", batch_size: int = 4
) -> Embedder:
    return Embedder(
        f"local-dir:{folder}", device=device, precision=precision, batch_size=batch_size
    )


def _by_open_clip(folder: Path, pictures: Sequence[bytes]) -> npt.NDArray[np.float32]:
    """open_clip's own preprocessing and image tower in float32, one picture at a time."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    model.eval()
    with torch.inference_mode():
        features = [
            model.encode_image(preprocess(Image.open(io.BytesIO(content)))[None])[0]
            for content in pictures
        ]
    vectors: npt.NDArray[np.float32] = torch.stack(features).numpy()
    unit: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _encoded(embedder: Embedder, pictures: Sequence[bytes]) -> npt.NDArray[np.float32]:
    batches = list(embedder.encode((str(row), content) for row, content in enumerate(pictures)))
    assert [key for batch in batches for key in batch.keys] == list(map(str, range(len(pictures))))
    return np.concatenate([batch.vectors for batch in batches])


@pytest.mark.parametrize("preprocess", [SQUASHED, CROPPED], ids=["squashed", "cropped"])
@pytest.mark.parametrize(("precision", "floor"), [("fp32", 0.9999), ("bf16", 0.999)])
def test_vectors_are_open_clips_own(
    tmp_path: Path, preprocess: dict[str, Any], precision: Precision, floor: float
) -> None:
    folder = write_checkpoint(tmp_path / "tiny", preprocess=preprocess)
    vectors = _encoded(_embedder(folder, precision=precision), PICTURES)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(PICTURES), 24)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    expected = _by_open_clip(folder, PICTURES)
    cosines = np.sum(vectors * expected, axis=1)
    assert cosines.min() >= floor
    # Neighbouring pictures differ, so the bound above could not be met by a constant.
    assert np.sum(expected[:-1] * expected[1:], axis=1).min() < 0.99


@pytest.mark.parametrize(("precision", "floor"), [("fp32", 0.9999), ("bf16", 0.999)])
def test_a_vision_transformer_of_timm_is_served_too(
    tmp_path: Path, precision: Precision, floor: float
) -> None:
    tower = {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_proj": "linear"}
    model = TINY | {"vision_cfg": tower}
    folder = write_checkpoint(tmp_path / "timm", model=model, preprocess=SQUASHED)
    vectors = _encoded(_embedder(folder, precision=precision), PICTURES[:3])
    assert np.sum(vectors * _by_open_clip(folder, PICTURES[:3]), axis=1).min() >= floor


@pytest.mark.parametrize("batch_size", [1, 2, 9, 64])
def test_the_batch_size_changes_nothing(checkpoint: Path, batch_size: int) -> None:
    vectors = _encoded(_embedder(checkpoint, batch_size=batch_size), PICTURES)
    np.testing.assert_allclose(vectors, _by_open_clip(checkpoint, PICTURES), atol=1e-5)


def test_a_picture_that_fails_keeps_no_other_from_its_vector(checkpoint: Path) -> None:
    def absent() -> bytes:
        raise FileNotFoundError

    items: list[tuple[str, encode.Content]] = [
        ("a", PICTURES[0]),
        ("gone", absent),
        ("b", lambda: PICTURES[1]),
        ("cut", PICTURES[2][:100]),
        # Only where nobody told Pillow to fill up what is missing, as some libraries do.
        ("half", PICTURES[2][: len(PICTURES[2]) // 2]),
        ("text", b"<html>"),
        ("c", PICTURES[2]),
    ]
    batches = list(_embedder(checkpoint).encode(items))
    assert [key for batch in batches for key in batch.keys] == ["a", "b", "c"]
    assert {key: why for batch in batches for key, why in batch.refused.items()} == {
        "gone": "missing",
        "cut": "undecodable",
        "half": "undecodable",
        "text": "undecodable",
    }
    np.testing.assert_allclose(
        np.concatenate([batch.vectors for batch in batches]),
        _by_open_clip(checkpoint, PICTURES[:3]),
        atol=1e-5,
    )


def test_a_source_that_breaks_ends_the_encoding_with_its_error(checkpoint: Path) -> None:
    def broken() -> bytes:
        raise ConnectionError("the bucket is away")

    with pytest.raises(ConnectionError, match="bucket"):
        list(_embedder(checkpoint).encode([("a", PICTURES[0]), ("b", broken)]))


@pytest.mark.parametrize(("value", "reason"), [(float("nan"), "not_finite"), (0.0, "zero")])
def test_vectors_that_cannot_be_compared_are_refused(
    tmp_path: Path, value: float, reason: str
) -> None:
    folder = write_checkpoint(
        tmp_path / "bad", change=lambda weights: weights["visual.proj"].fill_(value)
    )
    (batch,) = _embedder(folder).encode([("a", PICTURES[0]), ("b", PICTURES[1])])
    assert batch.keys == []
    assert batch.vectors.shape == (0, 24)
    assert batch.refused == {"a": reason, "b": reason}
    with pytest.raises(PermanentError, match=reason):
        _embedder(folder).encode_image(PICTURES[0])


@settings(max_examples=50, deadline=None)
@given(
    arrays(
        np.float32, st.tuples(st.integers(0, 6), st.integers(1, 8)), elements=st.floats(width=32)
    )
)
def test_every_row_is_of_length_one_or_has_a_reason(features: npt.NDArray[np.float32]) -> None:
    vectors, reasons = unit_vectors(features)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    for row, vector, reason in zip(features, vectors, reasons, strict=True):
        if reason is None:
            assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1.0, abs=1e-5)
            direction = row.astype(np.float64) / np.linalg.norm(row.astype(np.float64))
            np.testing.assert_allclose(vector, direction, atol=1e-6)
        elif reason == "not_finite":
            assert not np.isfinite(row).all()
        else:
            assert reason == "zero"
            assert np.abs(row).max() < 1e-11


def test_nothing_to_encode_loads_nothing() -> None:
    embedder = Embedder("local-dir:/there/is/no/such/folder")
    assert list(embedder.encode([])) == []
    assert embedder.loaded is None


def test_the_model_is_loaded_once_whoever_asks(checkpoint: Path) -> None:
    embedder = _embedder(checkpoint)
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: embedder.load(), range(4)))
    assert all(model is loaded[0] for model in loaded)
    assert embedder.loaded is loaded[0]
    assert loaded[0].device_name.endswith("threads")
    assert loaded[0].precision == "fp32"


def test_the_defaults_follow_the_device(checkpoint: Path) -> None:
    model = Embedder(f"local-dir:{checkpoint}", device="cpu").load()
    assert (model.device.type, model.precision, model.batch_size) == ("cpu", "fp32", 16)
    anywhere = Embedder(f"local-dir:{checkpoint}").load()
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    if not torch.backends.mps.is_available():
        assert anywhere.device.type == expected


def test_an_absent_device_is_a_matter_of_configuration(checkpoint: Path) -> None:
    absent: Device = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(ConfigurationError, match=f"CATALOG_DEVICE is {absent}.*finds.*cpu"):
        _embedder(checkpoint, device=absent).load()


def test_decoding_leaves_torchs_threads_alone(checkpoint: Path) -> None:
    inside: list[int] = []

    def content() -> bytes:
        inside.append(torch.get_num_threads())
        return PICTURES[0]

    before = torch.get_num_threads()
    list(_embedder(checkpoint).encode([("a", content), ("b", content)]))
    assert inside == [1, 1]
    assert torch.get_num_threads() == before
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_cuda_gives_the_same_vectors(checkpoint: Path) -> None:
    expected = _by_open_clip(checkpoint, PICTURES)
    for precision, floor in (("fp32", 0.9999), ("auto", 0.999)):
        embedder = _embedder(checkpoint, precision=precision, device="cuda", batch_size=2)  # type: ignore[arg-type]
        assert np.sum(_encoded(embedder, PICTURES) * expected, axis=1).min() >= floor


def test_text_vectors_are_open_clips_own(checkpoint: Path) -> None:
    texts = ["a red dress", "shoes"]
    vectors = _embedder(checkpoint).encode_texts(texts)
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{checkpoint}")
    tokens = open_clip.get_tokenizer(f"local-dir:{checkpoint}")(texts)
    with torch.inference_mode():
        expected = model.eval().encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_a_tokenizer_that_is_not_the_models_is_refused(tmp_path: Path) -> None:
    model = TINY | {"text_cfg": TINY["text_cfg"] | {"vocab_size": 300}}
    folder = write_checkpoint(tmp_path / "small", model=model)
    with pytest.raises(CheckpointError, match="knows more words than the model"):
        _embedder(folder).encode_texts(["a red dress"])


def _with_weights(folder: Path, content: bytes, name: str = WEIGHTS) -> Path:
    (folder / WEIGHTS).unlink()
    (folder / name).write_bytes(content)
    return folder


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "tiny")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["layers"] = 5
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS} cannot be loaded"):
        _embedder(folder).load()


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "tiny")
    cut = (folder / WEIGHTS).read_bytes()[:-1000]
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS} cannot be loaded"):
        _embedder(_with_weights(folder, cut)).load()


class _Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_cannot_run_code(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "tiny")
    canary = tmp_path / "canary"
    content = io.BytesIO()
    torch.save({"state_dict": {"x": _Malicious(canary)}}, content)
    with pytest.raises(CheckpointError, match=r"model\.bin cannot be loaded"):
        _embedder(_with_weights(folder, content.getvalue(), "open_clip_pytorch_model.bin")).load()
    assert not canary.exists()


def test_a_plain_pickle_of_weights_is_served(tmp_path: Path, checkpoint: Path) -> None:
    from safetensors.torch import load_file

    folder = write_checkpoint(tmp_path / "tiny")
    content = io.BytesIO()
    torch.save(load_file(folder / WEIGHTS), content)
    _with_weights(folder, content.getvalue(), "open_clip_pytorch_model.bin")
    np.testing.assert_allclose(
        _encoded(_embedder(folder), PICTURES), _by_open_clip(checkpoint, PICTURES), atol=1e-5
    )


def test_memory_that_runs_out_halves_the_pieces() -> None:
    sizes: list[int] = []

    def run(piece: torch.Tensor) -> torch.Tensor:
        if len(piece) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(piece))
        return piece * 2

    forward = FittingForward(run, 16)
    batch = torch.arange(13)
    assert torch.equal(forward(batch), batch * 2)
    assert forward.size == 3
    assert sizes == [3, 3, 3, 3, 1]


def test_memory_too_small_for_one_image_is_an_error() -> None:
    def run(piece: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError(f"no room for {len(piece)}")

    with pytest.raises(DeviceMemoryError, match="too little free memory"):
        FittingForward(run, 8)(torch.zeros(5))
