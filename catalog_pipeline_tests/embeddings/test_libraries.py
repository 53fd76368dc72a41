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

PICTURES = """
import sys
from catalog_pipeline.embeddings.encode import Embedder
from catalog_pipeline_tests.embeddings.conftest import picture

def embed(folder):
    vector = Embedder(f"local-dir:{folder}", device="cpu").encode_image(picture(1))
    return [round(float(value), 5) for value in vector]
"""


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint whose text tower is one of transformers'."""
    folder = tmp_path_factory.mktemp("bert")
    run(
        f"""
import json, sys, torch, open_clip
from pathlib import Path
from safetensors.torch import save_file
from transformers import BertConfig
folder = Path(sys.argv[1])
BertConfig(
    vocab_size=100, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
).save_pretrained(folder / "tower")
model = {TINY!r} | {{
    "text_cfg": {{
        "hf_model_name": str(folder / "tower"),
        "hf_model_pretrained": False,
        "hf_proj_type": "linear",
        "hf_pooler_type": "mean_pooler",
    }}
}}
torch.manual_seed(5)
weights = open_clip.CustomTextCLIP(**model).state_dict()
save_file({{name: value.contiguous() for name, value in weights.items()}}, folder / {WEIGHTS!r})
config = {{"model_cfg": model, "preprocess_cfg": {SQUASHED!r}}}
(folder / "open_clip_config.json").write_text(json.dumps(config))
""",
        folder,
    )
    return folder


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


def test_pictures_are_embedded_without_transformers(checkpoint: Path) -> None:
    code = """
import json
vector = embed(sys.argv[1])
early = "transformers" in sys.modules
import transformers
print(json.dumps([vector, early, transformers.__version__]))
"""
    vector, early, version = run(PICTURES + code, checkpoint)
    assert len(vector) == 24
    assert not early
    assert version, "whoever needs it imports it as ever"


@pytest.mark.parametrize("plain_first", [True, False])
def test_a_text_tower_of_transformers_has_them(
    checkpoint: Path, bert: Path, plain_first: bool
) -> None:
    code = f"""
import json
first, second = sys.argv[1:]
found = [embed(first), embed(second), embed(first), embed(second)]
assert found[:2] == found[2:]
print(json.dumps(found[{int(plain_first)}]))
"""
    folders = (checkpoint, bert) if plain_first else (bert, checkpoint)
    assert run(PICTURES + code, *folders) == run(
        PICTURES + "import json\nprint(json.dumps(embed(sys.argv[1])))\n", bert
    )
