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


def test_a_text_tower_of_transformers_has_them_also_behind_a_model_without(
    checkpoint: Path, bert: Path
) -> None:
    code = """
import json
plain, bert = sys.argv[1:]
alone = embed(bert)
print(json.dumps([alone, embed(plain), embed(bert), embed(plain)]))
"""
    alone, plain, again, plain_again = run(PICTURES + code, checkpoint, bert)
    assert (alone, plain) == (again, plain_again)
    code = "import json\nprint(json.dumps([embed(one) for one in sys.argv[1:]]))\n"
    assert run(PICTURES + code, checkpoint, bert) == [plain, alone]


def test_what_is_expected_is_there_before_anybody_loads_a_model(checkpoint: Path) -> None:
    code = """
import json, threading
embedder = Embedder(f"local-dir:{sys.argv[1]}", device="cpu")
early = "torch" in sys.modules
for _ in range(3):
    embedder.expect()
imports = [one for one in threading.enumerate() if one.name == "import-torch"]
for one in imports:
    one.join()
print(json.dumps([early, len(imports), "torch" in sys.modules, embed(sys.argv[1])]))
"""
    early, threads, ready, vector = run(PICTURES + code, checkpoint)
    assert (early, threads, ready) == (False, 1, True)
    assert len(vector) == 24


def test_loading_waits_for_an_import_that_goes_on(checkpoint: Path) -> None:
    code = """
import json
Embedder(f"local-dir:{sys.argv[1]}").expect()
print(json.dumps(embed(sys.argv[1])))
"""
    assert len(run(PICTURES + code, checkpoint)) == 24


def test_a_model_that_cannot_be_found_is_expected_in_silence(tmp_path: Path) -> None:
    code = """
import json
Embedder(f"local-dir:{sys.argv[1]}/nowhere").expect()
print(json.dumps("torch" in sys.modules))
"""
    assert run(PICTURES + code, tmp_path) is False
