"""Which model a configured name means, told without loading it.

The answer carries the model version that vectors, parts and collections are keyed by. Checkpoints
in a folder and on the Hugging Face hub are resolved without torch, so that a run with nothing to
embed never imports it; only open_clip's built-in `NAME/TAG` models need open_clip for that.
Loading and running a model belong to `loading.py` and `encode.py`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from catalog_pipeline.embeddings.hub import hub_snapshot
from catalog_pipeline.embeddings.libraries import import_libraries
from catalog_pipeline.embeddings.problems import CheckpointError, TextTowerError
from catalog_pipeline.errors import ConfigurationError

LOCAL_PREFIX = "local-dir:"
HUB_PREFIX = "hf-hub:"
CONFIG_FILE = "open_clip_config.json"
# What open_clip itself prefers in a folder, in its order (`open_clip.factory`).
WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
_HASH_DIGITS = 8
_MAX_VERSION = 64
_MAX_DIMENSIONS = 65_536
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class ModelSpec:
    """A model that exists, with all that names its vectors.

    Attributes:
        name: as configured.
        model_version: short name, checkpoint hash and preprocessing hash; `[A-Za-z0-9_-]`, at most
            64 characters, fit for a folder and for a collection's name.
        checkpoint_hash: SHA-256 of the weights file, in hexadecimal.
        preprocessing_hash: SHA-256 of the checkpoint's preprocessing and architecture.
        dimensions: length of its vectors.
        architecture: what open_clip is asked to create.
        pretrained: open_clip's tag of the weights, for built-in models only.
        tokenizer: what open_clip is asked for a tokenizer by.
        checkpoint: the weights file.
        towers_of: the libraries beside open_clip that its towers are made by: `timm`,
            `transformers`, both or neither.
    """

    name: str
    model_version: str
    checkpoint_hash: str
    preprocessing_hash: str
    dimensions: int
    architecture: str
    pretrained: str | None
    tokenizer: str
    checkpoint: Path
    towers_of: frozenset[str] = frozenset()


def resolve_model(name: str, *, download: bool = True) -> ModelSpec:
    """Find the checkpoint that a configured name means.

    Args:
        name: `local-dir:PATH` (a folder in open_clip's layout), `hf-hub:ORG/NAME` (the cached
            snapshot if there is one, else a download), or `NAME/TAG` of a built-in open_clip model
            and its pretrained weights, such as `ViT-B-16-SigLIP/webli`.
        download: whether to ask for a checkpoint that is not on this machine.

    Raises:
        ConfigurationError: the name is none of these.
        CheckpointError: the checkpoint is absent, incomplete or unreadable.
        TransientError: the hub answers with an error of its own.
    """
    if name.startswith(LOCAL_PREFIX):
        return _local(name)
    if name.startswith(HUB_PREFIX):
        return _on_hub(name, download=download)
    return _built_in(name, download=download)


def _local(name: str) -> ModelSpec:
    path = name.removeprefix(LOCAL_PREFIX)
    if not path.strip():
        raise ConfigurationError("CATALOG_MODEL is local-dir: without a folder behind it")
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is not a folder, and CATALOG_MODEL names it; put {CONFIG_FILE} and a "
            "weights file there or correct the path"
        )
    return _spec(name, folder, _weights(folder), folder.name, f"{LOCAL_PREFIX}{folder}")


def _on_hub(name: str, *, download: bool) -> ModelSpec:
    repository = name.removeprefix(HUB_PREFIX)
    if not _HUB_ID.fullmatch(repository):
        raise ConfigurationError(
            f"CATALOG_MODEL is {name!r}; after hf-hub: write ORGANISATION/NAME, such as "
            "hf-hub:Marqo/marqo-fashionSigLIP"
        )
    folder = hub_snapshot(repository, CONFIG_FILE, WEIGHT_FILES[:3], download=download)
    return _spec(name, folder, _weights(folder), repository.rsplit("/", 1)[1], name)


def _built_in(name: str, *, download: bool) -> ModelSpec:
    architecture, separator, tag = name.rpartition("/")
    if not separator or not architecture or not tag:
        raise ConfigurationError(
            f"CATALOG_MODEL is {name!r}, an architecture without weights, whose vectors would be "
            "random; write NAME/PRETRAINED_TAG such as ViT-B-16-SigLIP/webli, hf-hub:ORG/NAME or "
            "local-dir:PATH"
        )
    _, open_clip = import_libraries(())
    factory, pretrained = open_clip.factory, open_clip.pretrained
    config = factory.get_model_config(architecture)
    if config is None:
        raise ConfigurationError(
            f"CATALOG_MODEL is {name!r}, and open_clip has no model {architecture!r}"
        )
    weights = pretrained.get_pretrained_cfg(architecture, tag)
    if not weights:
        tags = ", ".join(pretrained.list_pretrained_tags_by_model(architecture)) or "none"
        raise ConfigurationError(
            f"CATALOG_MODEL is {name!r}, and open_clip knows no weights {tag!r} of {architecture}; "
            f"it knows: {tags}"
        )
    checkpoint = None if download else _cached(weights)
    if checkpoint is None and not download:
        raise CheckpointError(
            f"the weights {tag!r} of {architecture} are not on this machine, and a question is not "
            "worth their download; the first sync fetches them"
        )
    try:
        checkpoint = checkpoint or Path(pretrained.download_pretrained(weights))
    except Exception as error:
        raise CheckpointError(
            f"the weights {tag!r} of {architecture} cannot be downloaded: {error}"
        ) from error
    # Without the places that the weights can be had from, which do not change a vector.
    preprocessing = {key: weights[key] for key in weights if key not in {"url", "hf_hub", "file"}}
    description = {"model_cfg": config, "preprocess_cfg": preprocessing}
    return _described(name, description, checkpoint, f"{architecture}-{tag}", architecture, tag)


def _cached(weights: Mapping[str, Any]) -> Path | None:
    """The file that open_clip's `download_pretrained` would take, found without asking anybody."""
    from huggingface_hub import try_to_load_from_cache

    # All of open_clip's are on the hub.
    repository, _, name = str(weights.get("hf_hub") or "").rpartition("/")
    if not repository:
        return None
    names = [name] if name else [WEIGHT_FILES[0], WEIGHT_FILES[2]]
    if name.endswith((".bin", ".pth")):
        names.insert(0, f"{name[:-4]}.safetensors")
    cached = (try_to_load_from_cache(repository, one) for one in names)
    return next((Path(path) for path in cached if isinstance(path, str)), None)


def _weights(folder: Path) -> Path:
    """The file open_clip will load from a folder.

    Raises:
        CheckpointError: there is none.
    """
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    for suffix in (".safetensors", ".bin", ".pth"):
        if found := sorted(folder.glob(f"*{suffix}")):
            return found[0]
    raise CheckpointError(
        f"{folder} holds no weights; put {WEIGHT_FILES[0]} there (any *.safetensors, *.bin or "
        "*.pth will do)"
    )


def _spec(name: str, folder: Path, weights: Path, label: str, tokenizer: str) -> ModelSpec:
    config = read_config(folder / CONFIG_FILE)
    architecture = f"{LOCAL_PREFIX}{folder}"
    return _described(name, config, weights, label, architecture, None, tokenizer)


def _described(
    name: str,
    config: Mapping[str, Any],
    checkpoint: Path,
    label: str,
    architecture: str,
    pretrained: str | None,
    tokenizer: str | None = None,
) -> ModelSpec:
    checkpoint_hash = _content_hash(checkpoint)
    relevant = {key: config.get(key) for key in ("model_cfg", "preprocess_cfg")}
    canonical = json.dumps(relevant, sort_keys=True, separators=(",", ":"), default=str)
    preprocessing_hash = hashlib.sha256(canonical.encode()).hexdigest()
    return ModelSpec(
        name=name,
        model_version=_version(label, checkpoint_hash, preprocessing_hash),
        checkpoint_hash=checkpoint_hash,
        preprocessing_hash=preprocessing_hash,
        dimensions=int(config["model_cfg"]["embed_dim"]),
        architecture=architecture,
        pretrained=pretrained,
        tokenizer=tokenizer or architecture,
        checkpoint=checkpoint,
        towers_of=_towers_of(config["model_cfg"]),
    )


def _towers_of(model: Mapping[str, Any]) -> frozenset[str]:
    named = {
        "timm": model["vision_cfg"].get("timm_model_name"),
        "transformers": model["text_cfg"].get("hf_model_name"),
    }
    return frozenset(library for library, name in named.items() if name)


def read_config(path: Path) -> dict[str, Any]:
    """A checkpoint's configuration, as far as it must hold for the checkpoint to be usable.

    Raises:
        CheckpointError: the file is absent, no JSON, or lacks what open_clip needs
            (`TextTowerError` where that is a text tower).
    """
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} is missing; a checkpoint in open_clip's layout needs it beside the weights"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    model = config.get("model_cfg") if isinstance(config, dict) else None
    if not isinstance(model, dict):
        raise CheckpointError(f"{path} has no object model_cfg; is it from another library?")
    dimensions = model.get("embed_dim")
    if (
        not isinstance(dimensions, int)
        or isinstance(dimensions, bool)
        or not 1 <= dimensions <= _MAX_DIMENSIONS
    ):
        raise CheckpointError(f"{path}: model_cfg.embed_dim is {dimensions!r}, not a vector size")
    if not isinstance(model.get("vision_cfg"), dict):
        raise CheckpointError(f"{path}: model_cfg has no object vision_cfg")
    if not isinstance(model.get("text_cfg"), dict):
        raise TextTowerError(
            f"{path}: model_cfg has no object text_cfg, so the model has no text tower; set "
            "CATALOG_MODEL to one that embeds pictures and texts"
        )
    if not isinstance(config.get("preprocess_cfg", {}), dict):
        raise CheckpointError(f"{path}: preprocess_cfg is not an object")
    return dict(config)


def _version(label: str, checkpoint_hash: str, preprocessing_hash: str) -> str:
    tail = f"-{checkpoint_hash[:_HASH_DIGITS]}-{preprocessing_hash[:_HASH_DIGITS]}"
    printable = re.sub(r"[^A-Za-z0-9_-]+", "-", label)[: _MAX_VERSION - len(tail)].strip("-_")
    return f"{printable or 'model'}{tail}"


def _content_hash(path: Path) -> str:
    """SHA-256 of a weights file; the hub's cache names such a file by it."""
    target = path.resolve()
    if path.is_symlink() and target.parent.name == "blobs" and _SHA256.fullmatch(target.name):
        return target.name
    try:
        status = target.stat()
        return _hash_of_state(target, status.st_size, status.st_mtime_ns, status.st_ino)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


@lru_cache(maxsize=16)
def _hash_of_state(path: Path, _size: int, _modified: int, _inode: int) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
