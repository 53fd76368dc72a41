from __future__ import annotations

import hashlib
import io
import random
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catalog_pipeline.demo.model import build_demo_model
from catalog_pipeline.embeddings.encode import Embedder

# The same on every machine: another checkpoint is another model version, and every vector anew.
WEIGHTS_SHA256 = "c8b17de9"


@pytest.fixture(scope="module")
def demo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_demo_model(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def embedder(demo_model: Path) -> Embedder:
    return Embedder(f"local-dir:{demo_model}", device="cpu")


def test_the_model_says_what_it_is(embedder: Embedder) -> None:
    assert re.fullmatch(
        r"demo-seeded-untrained-[0-9a-f]{8}-[0-9a-f]{8}", embedder.spec.model_version
    )
    assert embedder.spec.dimensions == 768
    assert embedder.spec.checkpoint.stat().st_size < 8_000_000


def test_its_bytes_are_the_same_everywhere(demo_model: Path, tmp_path: Path) -> None:
    def hashes(folder: Path) -> dict[str, str]:
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()
        }

    assert hashes(build_demo_model(tmp_path)) == hashes(demo_model)
    assert hashes(demo_model)["open_clip_model.safetensors"].startswith(WEIGHTS_SHA256)


def test_it_is_built_once_and_mended_when_broken(tmp_path: Path) -> None:
    folder = build_demo_model(tmp_path)
    weights = folder / "open_clip_model.safetensors"
    intact = weights.read_bytes()
    before = weights.stat().st_mtime_ns
    assert build_demo_model(tmp_path) == folder
    assert weights.stat().st_mtime_ns == before
    weights.write_bytes(intact[:1000])
    build_demo_model(tmp_path)
    assert weights.read_bytes() == intact
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_it_embeds_texts_without_a_download(embedder: Embedder) -> None:
    vectors = embedder.encode_texts(["a red dress", "black shoes"])
    assert vectors.shape == (2, 768)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_a_photograph_scaled_and_compressed_finds_itself(
    embedder: Embedder, shared_data: Path
) -> None:
    photographs = [path.read_bytes() for path in sorted(shared_data.glob("photos/*/*.jpg"))]
    chosen = random.Random(5).sample(range(len(photographs)), 100)
    batches = embedder.encode((str(row), content) for row, content in enumerate(photographs))
    catalogue = np.concatenate([batch.vectors for batch in batches])
    assert len(catalogue) == len(photographs) >= 500
    degraded = [(str(row), _halved(photographs[row])) for row in chosen]
    queries = np.concatenate([batch.vectors for batch in embedder.encode(degraded)])
    found = np.argmax(queries @ catalogue.T, axis=1)
    assert np.count_nonzero(found == np.array(chosen)) >= 95


def _halved(content: bytes) -> bytes:
    image = Image.open(io.BytesIO(content)).convert("RGB")
    target = io.BytesIO()
    image.resize((image.width // 2, image.height // 2)).save(target, "JPEG", quality=60)
    return target.getvalue()
