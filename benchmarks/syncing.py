"""`end_to_end`: the first sync of a store, against embedding its pictures and nothing else.

The limit is what no pipeline can avoid: a new process loads the same model by open_clip's own means
and embeds the same pictures, decoding included, from memory. Both contenders pay for starting an
interpreter and importing torch.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import FreshRun, in_fresh_process
from benchmarks.job import stage_seconds
from benchmarks.shop import STORE, draw, serving, set_up

PRODUCTS: Final = 500
PRODUCTS_QUICK: Final = 60
SIDE: Final = 800
LEAST_RATIO: Final = 0.85
ARCHITECTURE: Final = "ViT-B-16-SigLIP"
_SEED: Final = 7
# What the published weights of this architecture ask for; without weights, open_clip cannot know.
_PREPROCESSING: Final = {
    "size": 224,
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}
_BATCH: Final = 16


def save_model(folder: str) -> None:
    """In a fresh process: a checkpoint with seeded weights in open_clip's `local-dir:` layout."""
    import json

    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(_SEED)
    model = open_clip.create_model(ARCHITECTURE)
    target = Path(folder)
    target.mkdir(parents=True)
    save_file(model.state_dict(), target / "open_clip_model.safetensors")
    config = {
        "model_cfg": open_clip.get_model_config(ARCHITECTURE),
        "preprocess_cfg": _PREPROCESSING,
    }
    (target / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    print(json.dumps({}))


def embed_alone(model: str, pictures: str) -> None:
    """In a fresh process: open_clip's own load, preprocess and encode_image over all pictures."""
    import io
    import json
    import os
    import time
    from concurrent.futures import ThreadPoolExecutor

    contents = [path.read_bytes() for path in sorted(Path(pictures).glob("*.jpg"))]

    import open_clip
    import torch
    from PIL import Image

    started = time.perf_counter()
    towers, preprocess = open_clip.create_model_from_pretrained(model)
    towers.eval()
    loaded = time.perf_counter()

    def ready(content: bytes) -> torch.Tensor:
        tensor: torch.Tensor = preprocess(Image.open(io.BytesIO(content)).convert("RGB"))
        return tensor

    vectors = []
    with ThreadPoolExecutor(os.cpu_count()) as threads, torch.inference_mode():
        for start in range(0, len(contents), _BATCH):
            batch = torch.stack(list(threads.map(ready, contents[start : start + _BATCH])))
            vectors.append(towers.encode_image(batch, normalize=True).numpy())
    seconds = {
        "load": round(loaded - started, 2),
        "embed": round(time.perf_counter() - loaded, 2),
    }
    print(json.dumps({"stage_seconds": seconds, "embedded": sum(map(len, vectors))}))


def run(repeats: int, *, quick: bool) -> dict[str, Any]:
    """Products a second of both contenders, which take turns."""
    products = PRODUCTS_QUICK if quick else PRODUCTS
    ours: list[FreshRun] = []
    limit: list[FreshRun] = []
    with tempfile.TemporaryDirectory(prefix="catalog-bench-") as name:
        work = Path(name)
        model = f"local-dir:{work / 'model'}"
        draw(work / "pictures", products, SIDE)
        in_fresh_process("benchmarks.syncing:save_model", str(work / "model"))
        for repeat in range(repeats):
            limit.append(
                in_fresh_process("benchmarks.syncing:embed_alone", model, str(work / "pictures"))
            )
            with serving(work / "pictures", products) as address:
                environment = set_up(work / f"ours-{repeat}", address, model)
                ours.append(in_fresh_process("benchmarks.job:sync", STORE, environment=environment))
            _same_work(ours[-1], limit[-1], products)
    seconds = statistics.median(one.seconds for one in ours)
    limit_seconds = statistics.median(one.seconds for one in limit)
    ratio = limit_seconds / seconds
    return {
        "products": products,
        "seconds": round(seconds, 1),
        "limit_seconds": round(limit_seconds, 1),
        "cpu_seconds": round(statistics.median(one.cpu_seconds for one in ours), 1),
        "limit_cpu_seconds": round(statistics.median(one.cpu_seconds for one in limit), 1),
        "products_per_second": round(products / seconds, 2),
        "limit_pictures_per_second": round(products / limit_seconds, 2),
        "stage_seconds": stage_seconds(ours[-1].found["spans"]),
        "model_load_seconds": ours[-1].found["told"]["image_embeddings"]["load_seconds"],
        "limit_stage_seconds": limit[-1].found["stage_seconds"],
        "ratio": round(ratio, 3),
        "least_ratio": LEAST_RATIO,
        "passed": ratio >= LEAST_RATIO,
    }


def _same_work(ours: FreshRun, limit: FreshRun, products: int) -> None:
    """A picture that the gate refuses would be work that only the limit does."""
    loaded = ours.found["told"]["qdrant_points"]["points"]
    embedded = limit.found["embedded"]
    if not loaded == embedded == products:
        raise RuntimeError(f"{loaded} points and {embedded} vectors instead of {products}")
