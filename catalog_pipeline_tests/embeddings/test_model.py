"""What a model version is made of, and what is said of a model that is not there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_pipeline.embeddings.model import ModelSpec, resolve_model
from catalog_pipeline.embeddings.problems import CheckpointError
from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline_tests.embeddings.conftest import SQUASHED, TINY, WEIGHTS

CONFIG = "open_clip_config.json"


def _folder(root: Path, config: Any = None, weights: bytes = b"weights") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    content = {"model_cfg": TINY, "preprocess_cfg": SQUASHED} if config is None else config
    (root / CONFIG).write_text(json.dumps(content), "utf-8")
    (root / WEIGHTS).write_bytes(weights)
    return root


def _resolve(folder: Path) -> ModelSpec:
    return resolve_model(f"local-dir:{folder}")


def test_a_folder_is_named_by_what_lies_in_it(tmp_path: Path) -> None:
    spec = _resolve(_folder(tmp_path / "tiny"))
    assert spec.dimensions == 24
    assert spec.checkpoint_hash == hashlib.sha256(b"weights").hexdigest()
    assert spec.model_version == (f"tiny-{spec.checkpoint_hash[:8]}-{spec.preprocessing_hash[:8]}")
    assert _resolve(tmp_path / "tiny") == spec


def test_other_weights_preprocessing_or_architecture_are_another_version(tmp_path: Path) -> None:
    architecture = TINY | {"quick_gelu": True}
    versions = {
        _resolve(folder).model_version
        for folder in (
            _folder(tmp_path / "a" / "tiny"),
            _folder(tmp_path / "b" / "tiny", weights=b"others!"),
            _folder(
                tmp_path / "c" / "tiny",
                {"model_cfg": TINY, "preprocess_cfg": SQUASHED | {"resize_mode": "longest"}},
            ),
            _folder(
                tmp_path / "d" / "tiny", {"model_cfg": architecture, "preprocess_cfg": SQUASHED}
            ),
        )
    }
    assert len(versions) == 4


def test_weights_replaced_in_place_are_noticed(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "tiny")
    before = _resolve(folder)
    (folder / WEIGHTS).write_bytes(b"others!")
    assert _resolve(folder).checkpoint_hash != before.checkpoint_hash


def test_the_order_of_keys_does_not_matter(tmp_path: Path) -> None:
    backwards = {
        "preprocess_cfg": dict(reversed(SQUASHED.items())),
        "model_cfg": dict(reversed(TINY.items())),
        "comment": "ours",
    }
    first = _resolve(_folder(tmp_path / "a" / "tiny"))
    assert _resolve(_folder(tmp_path / "b" / "tiny", backwards)).model_version == (
        first.model_version
    )


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=60).filter(lambda text: "/" not in text and "\0" not in text))
def test_any_name_gives_a_printable_version(name: str) -> None:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return
    if len(os.fsencode(name)) > 200 or name in {".", ".."} or not name.strip():
        return
    with tempfile.TemporaryDirectory() as root:
        spec = _resolve(_folder(Path(root) / name))
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", spec.model_version)
    assert spec.model_version.endswith(f"-{spec.checkpoint_hash[:8]}-{spec.preprocessing_hash[:8]}")


def test_safetensors_are_preferred_as_open_clip_prefers_them(tmp_path: Path) -> None:
    from open_clip.factory import _find_checkpoint_in_dir

    folder = _folder(tmp_path / "tiny")
    (folder / WEIGHTS).unlink()
    for name in ("weights.pth", "a.bin", "pytorch_model.bin", "b.safetensors", "model.safetensors"):
        (folder / name).write_bytes(name.encode())
        assert str(_resolve(folder).checkpoint) == _find_checkpoint_in_dir(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "JSON"),
        ("[" * 100_000, "JSON"),
        ("[]", "model_cfg"),
        ('{"model_cfg": 1}', "model_cfg"),
        ('{"model_cfg": {"vision_cfg": {}, "text_cfg": {}}}', "embed_dim"),
        ('{"model_cfg": {"embed_dim": "768", "vision_cfg": {}, "text_cfg": {}}}', "embed_dim"),
        ('{"model_cfg": {"embed_dim": true, "vision_cfg": {}, "text_cfg": {}}}', "embed_dim"),
        ('{"model_cfg": {"embed_dim": -1, "vision_cfg": {}, "text_cfg": {}}}', "embed_dim"),
        ('{"model_cfg": {"embed_dim": 8, "text_cfg": {}}}', "vision_cfg"),
        ('{"model_cfg": {"embed_dim": 8, "vision_cfg": {}}}', "text_cfg"),
        (
            '{"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}}, '
            '"preprocess_cfg": []}',
            "preprocess_cfg",
        ),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path: Path, content: str, said: str) -> None:
    folder = _folder(tmp_path / "tiny")
    (folder / CONFIG).write_text(content, "utf-8")
    with pytest.raises(CheckpointError, match=said) as caught:
        _resolve(folder)
    assert str(folder / CONFIG) in str(caught.value)


def test_missing_files_are_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is not a folder.*correct the path"):
        _resolve(tmp_path / "absent")
    folder = _folder(tmp_path / "tiny")
    (folder / CONFIG).unlink()
    with pytest.raises(CheckpointError, match=rf"{CONFIG} is missing"):
        _resolve(folder)
    folder = _folder(tmp_path / "tiny")
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=f"holds no weights; put {WEIGHTS}"):
        _resolve(folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ViT-B-16-SigLIP", "without weights, whose vectors would be random"),
        ("ViT-B-16-SigLIP/none-such", "knows no weights.*webli"),
        ("None-Such/webli", "has no model"),
        ("/", "without weights"),
        ("local-dir:", "without a folder"),
        ("hf-hub:", "write ORGANISATION/NAME"),
        ("hf-hub:only-a-name", "write ORGANISATION/NAME"),
        ("hf-hub:a/b/c", "write ORGANISATION/NAME"),
        ("hf-hub:a/b c", "write ORGANISATION/NAME"),
    ],
)
def test_names_that_mean_nothing_are_refused(name: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        resolve_model(name)


def _hub_cache(cache: Path, checkpoint: Path) -> None:
    """The files of a checkpoint as the hub's client would have cached them."""
    repository = cache / "models--atelier--tiny"
    commit = "c" * 40
    snapshot = repository / "snapshots" / commit
    for folder in (snapshot, repository / "blobs", repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    for name in (CONFIG, WEIGHTS):
        content = (checkpoint / name).read_bytes()
        # Small files are named by another hash than large ones.
        blob = "b" * 40 if name == CONFIG else hashlib.sha256(content).hexdigest()
        (repository / "blobs" / blob).write_bytes(content)
        (snapshot / name).symlink_to(Path("..") / ".." / "blobs" / blob)


def _offline(cache: Path, code: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_a_model_in_the_hubs_cache_needs_no_network(tmp_path: Path, checkpoint: Path) -> None:
    _hub_cache(tmp_path / "cache", checkpoint)
    done = _offline(
        tmp_path / "cache",
        "import json, sys\n"
        "from catalog_pipeline.embeddings.encode import Embedder\n"
        "from catalog_pipeline_tests.embeddings.conftest import picture\n"
        "embedder = Embedder('hf-hub:atelier/tiny', device='cpu')\n"
        "spec = embedder.spec\n"
        "early = sorted({'torch', 'open_clip', 'timm'} & set(sys.modules))\n"
        "vector = embedder.encode_image(picture(1)).tolist()\n"
        "print(json.dumps([spec.model_version, spec.checkpoint_hash, early, vector]))\n",
    )
    assert done.returncode == 0, done.stderr
    version, checkpoint_hash, early, vector = json.loads(done.stdout)
    local = _resolve(checkpoint)
    assert version == local.model_version
    assert checkpoint_hash == local.checkpoint_hash
    assert early == []
    assert len(vector) == 24


def test_an_empty_cache_without_network_says_what_to_do(tmp_path: Path) -> None:
    done = _offline(
        tmp_path / "cache",
        "from catalog_pipeline.embeddings.model import resolve_model\n"
        "from catalog_pipeline.embeddings.problems import CheckpointError\n"
        "try:\n"
        "    resolve_model('hf-hub:atelier/tiny')\n"
        "except CheckpointError as error:\n"
        "    print(error)\n",
    )
    assert done.returncode == 0, done.stderr
    assert "not in the local cache and the hub cannot be reached" in done.stdout
    assert "hf download atelier/tiny" in done.stdout
    assert "local-dir:PATH" in done.stdout


def _asked_only(name: str, cache: Path, filled: Path | None = None) -> list[str]:
    """What a process that may not download says of a model; makes sure that it connects to nothing.

    With a filled cache, also what it says once that stands in place of the first.
    """
    code = """
import shutil, sys
from catalog_pipeline.embeddings.model import resolve_model
from catalog_pipeline.embeddings.problems import CheckpointError
name, cache, *filled = sys.argv[1:]
for found in (None, *filled):
    if found:
        shutil.copytree(found, cache, dirs_exist_ok=True)
    try:
        print(resolve_model(name, download=False).checkpoint)
    except CheckpointError as error:
        print(error)
"""
    arguments = [name, str(cache), *([str(filled)] if filled else [])]
    with socket.create_server(("127.0.0.1", 0)) as hub:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=os.environ
            | {
                "HF_HUB_CACHE": str(cache),
                "HF_ENDPOINT": f"http://127.0.0.1:{hub.getsockname()[1]}",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        hub.settimeout(0)
        with pytest.raises(BlockingIOError):
            hub.accept()
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("cached", ["nothing", "the configuration"])
def test_who_only_asks_connects_to_nothing(tmp_path: Path, checkpoint: Path, cached: str) -> None:
    cache = tmp_path / "cache"
    if cached == "the configuration":
        _hub_cache(cache, checkpoint)
        next(cache.rglob(WEIGHTS)).unlink()
    (said,) = _asked_only("hf-hub:atelier/tiny", cache)
    assert "`hf download atelier/tiny`" in said


def test_who_only_asks_for_a_model_of_open_clips_connects_to_nothing(tmp_path: Path) -> None:
    cache, filled = tmp_path / "cache", tmp_path / "filled"
    snapshot = Path("models--timm--ViT-B-16-SigLIP", "snapshots", "c" * 40)
    for folder in (snapshot, snapshot.parents[1] / "refs"):
        (filled / folder).mkdir(parents=True)
    (filled / snapshot.parents[1] / "refs" / "main").write_text("c" * 40)
    (filled / snapshot / WEIGHTS).write_bytes(b"weights")
    absent, found = _asked_only("ViT-B-16-SigLIP/webli", cache, filled)
    assert "the weights 'webli'" in absent
    assert found == str(cache / snapshot / WEIGHTS)
