"""What is imported to embed pictures, each time in a process that has imported nothing yet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from catalog_pipeline_tests.embeddings.conftest import SQUASHED, TINY, WEIGHTS

pytestmark = pytest.mark.end_to_end

PICTURES = """
import sys
from catalog_pipeline.embeddings.encode import Embedder
from catalog_pipeline_tests.embeddings.conftest import picture

def embed(folder):
    vector = Embedder(f"local-dir:{folder}", device="cpu").encode_image(picture(1))
    return [round(float(value), 5) for value in vector]
"""


@pytest.fixture(scope="module")
def borrowed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Tiny checkpoints: one whose text tower is one of transformers', one with timm's pictures'."""
    folders = tmp_path_factory.mktemp("bert"), tmp_path_factory.mktemp("timm")
    run(
        f"""
import json, sys, torch, open_clip
from pathlib import Path
from safetensors.torch import save_file
from transformers import BertConfig
bert, timm = map(Path, sys.argv[1:])
BertConfig(
    vocab_size=100, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
).save_pretrained(bert / "tower")
tower = {{
    "hf_model_name": str(bert / "tower"),
    "hf_model_pretrained": False,
    "hf_proj_type": "linear",
    "hf_pooler_type": "mean_pooler",
}}
seen = {{"timm_model_name": "test_vit", "timm_pool": "avg", "image_size": 160}}
for folder, preprocess, change in [
    (bert, {SQUASHED!r}, {{"text_cfg": tower}}),
    (timm, {SQUASHED | {"size": 160}!r}, {{"vision_cfg": seen}}),
]:
    model = {TINY!r} | change
    torch.manual_seed(5)
    kind = open_clip.CustomTextCLIP if "text_cfg" in change else open_clip.CLIP
    weights = kind(**model).state_dict()
    weights.pop("attn_mask", None)
    save_file({{name: value.contiguous() for name, value in weights.items()}}, folder / {WEIGHTS!r})
    config = {{"model_cfg": model, "preprocess_cfg": preprocess}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
""",
        *folders,
    )
    return folders


def run(code: str, *arguments: Path) -> Any:
    """What a new process prints last, as JSON, if it prints something."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None


def test_what_is_expected_is_there_before_anybody_loads_a_model_and_no_more(
    checkpoint: Path,
) -> None:
    code = """
import json, threading
embedder = Embedder(f"local-dir:{sys.argv[1]}", device="cpu")
early = "torch" in sys.modules
for _ in range(3):
    embedder.expect()
imports = [one for one in threading.enumerate() if one.name == "import-torch"]
for one in imports:
    one.join()
ready = "torch" in sys.modules
vector = embed(sys.argv[1])
others = [name for name in ("timm", "transformers") if name in sys.modules]
import timm, transformers
print(json.dumps([early, len(imports), ready, vector, others, timm.__version__]))
"""
    early, threads, ready, vector, others, version = run(PICTURES + code, checkpoint)
    assert (early, threads, ready) == (False, 1, True)
    assert len(vector) == 24
    assert not others, "its towers are open_clip's own"
    assert version, "whoever needs it imports it as ever"


def test_borrowed_towers_have_their_libraries_also_behind_a_model_without(
    checkpoint: Path, borrowed: tuple[Path, Path]
) -> None:
    bert, timm = borrowed
    code = """
import json
# Loading waits for an import that goes on, of another model's libraries.
Embedder(f"local-dir:{sys.argv[1]}").expect()
print(json.dumps([embed(one) for one in sys.argv[2:]]))
"""
    one, other, both = (checkpoint, bert, timm), (bert, timm), (bert, timm, checkpoint, bert)
    found = [run(PICTURES + code, first, *then) for first, then in ((one[0], one), (bert, both))]
    vectors = dict(zip(one, found[0], strict=True))
    assert all(len(vector) == 24 for vector in vectors.values())
    assert len({tuple(vector) for vector in vectors.values()}) == 3
    assert found[1] == [vectors[model] for model in both]
    assert run(PICTURES + code, timm, *other) == [vectors[model] for model in other]


def test_a_model_that_cannot_be_found_is_expected_in_silence(tmp_path: Path) -> None:
    code = """
import json
Embedder(f"local-dir:{sys.argv[1]}/nowhere").expect()
print(json.dumps("torch" in sys.modules))
"""
    assert run(PICTURES + code, tmp_path) is False
