"""Training: captions find their pictures, and a worse copy of a picture finds it.

Every kind, colour and pattern has a direction of its own, and what a caption says is the sum of
what it names. Both towers learn towards these fixed meanings, each by itself, which takes a
fraction of the steps that two towers need to agree on meanings of their own. Pictures learn by
contrast with everything that can be said; a second contrast, between a picture and its worse copy,
keeps pictures of the same garment apart in the directions that no word has.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, Final

import open_clip
import torch
from safetensors.torch import save_file
from torch.nn import functional

from catalog_pipeline.demo.garments import COLOURS, KINDS, PATTERNS
from training.captions import GROUPS, every_caption
from training.pictures import DrawnPictures
from training.views import Views

SIDE: Final = 96
# A little more than the model sees, so that a crop still has a pixel for each of its own.
STORED_SIDE: Final = 112
CONTEXT: Final = 20
MODEL: Final[dict[str, Any]] = {
    "embed_dim": 768,
    "vision_cfg": {"image_size": SIDE, "layers": [1, 2, 2, 1], "width": 16, "head_width": 64},
    "text_cfg": {
        "context_length": CONTEXT,
        "vocab_size": 49_408,
        "width": 32,
        "heads": 2,
        "layers": 1,
    },
}
_MEAN: Final = 0.5
_DEVIATION: Final = 0.25
PREPROCESS: Final[dict[str, Any]] = {
    "size": SIDE,
    "mode": "RGB",
    "mean": [_MEAN] * 3,
    "std": [_DEVIATION] * 3,
    "interpolation": "bicubic",
    "resize_mode": "squash",
}

DEFAULT_STEPS: Final = 758
WORD_STEPS: Final = 600

# Two threads with a batch each keep two cores busier than one batch that both work on.
_THREADS: Final = 2
_BATCH: Final = 48
_COPIED: Final = 16
_COLLAGES: Final = 8
_DIRECTIONS_SEED: Final = 768
_RATE: Final = 3e-3
_WORD_RATE: Final = 5e-3
_DECAY: Final = 0.05
_CAPTION_SCALE: Final = 20.0
_COPY_WEIGHT: Final = 0.5
_COPY_SCALE: Final = 20.0
# One for each group of captions: whole descriptions count most.
_GROUP_WEIGHTS: Final = (1.0, 0.3, 0.3, 0.3, 0.3, 0.3)


def meanings() -> torch.Tensor:
    """What each caption of `GROUPS` means, (captions, 768), in their order, each of length 1."""
    names = [*KINDS, *COLOURS, *PATTERNS]
    chance = torch.Generator().manual_seed(_DIRECTIONS_SEED)
    random = torch.randn(MODEL["embed_dim"], len(names), generator=chance)
    directions = dict(zip(names, torch.linalg.qr(random).Q.T, strict=True))
    sums = [
        torch.stack([directions[name] for name in (said.kind, said.colour, said.pattern) if name])
        for group in GROUPS
        for said in group
    ]
    return functional.normalize(torch.stack([parts.sum(0) for parts in sums]), dim=1)


class PictureTrainer:
    """The image tower with everything that a step needs; the same seed takes the same steps."""

    def __init__(
        self, model: open_clip.CLIP, pictures: DrawnPictures, steps: int, seed: int
    ) -> None:
        # A third faster on a CPU.
        self._tower: torch.nn.Module = model.visual.to(memory_format=torch.channels_last)
        self._meanings = meanings()
        self._pixels = torch.from_numpy(pictures.pixels)
        self._truths = torch.tensor(
            [
                [
                    next(i for i, said in enumerate(group) if said.holds_for(look))
                    for group in GROUPS
                ]
                for look in pictures.looks
            ]
        )
        # A source of chance for each thread, so that who is faster changes nothing.
        self._views = [Views(SIDE, seed + thread) for thread in range(_THREADS)]
        self._pool = ThreadPoolExecutor(_THREADS)
        self._order = torch.Generator().manual_seed(seed)
        self._waiting: list[int] = []
        self._optimiser = torch.optim.AdamW(_parameters(self._tower), lr=_RATE)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, _RATE, steps, pct_start=0.1
        )

    def step(self) -> float:
        """A batch in each thread; their mean loss before it."""
        self._tower.train()
        self._optimiser.zero_grad()
        batches = [self._next_rows() for _ in range(_THREADS)]
        losses = list(self._pool.map(self._learn, batches, self._views))
        torch.nn.utils.clip_grad_norm_(self._tower.parameters(), 1.0)
        self._optimiser.step()
        self._schedule.step()
        return sum(losses) / _THREADS

    def _learn(self, rows: torch.Tensor, views: Views) -> float:
        """Add one batch's gradients; its loss."""
        pictures = self._pixels[rows].permute(0, 3, 1, 2).float() / 255
        collages = views.collages(pictures[:_COLLAGES])
        # Those that have a copy come last.
        whole = views.whole(torch.cat([pictures, collages]))
        copied = views.copied(torch.cat([pictures[-_COPIED:], collages]))
        # Half the time of float32 where the processor knows bfloat16.
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            features = self._embedded(torch.cat([whole, copied]))
        twins = _COPIED + _COLLAGES
        originals, copies = features[len(whole) - twins : len(whole)], features[-twins:]
        copy_loss = _pair_loss(_COPY_SCALE * originals @ copies.T)
        shown = torch.cat([features[:_BATCH], copies[:_COPIED]])
        truths = self._truths[torch.cat([rows, rows[-_COPIED:]])]
        caption_loss = _caption_loss(_CAPTION_SCALE * shown @ self._meanings.T, truths)
        loss = caption_loss + _COPY_WEIGHT * copy_loss
        (loss / _THREADS).backward()  # type: ignore[no-untyped-call]
        return float(loss.item())

    def _next_rows(self) -> torch.Tensor:
        if len(self._waiting) < _BATCH:
            self._waiting = torch.randperm(len(self._pixels), generator=self._order).tolist()
        rows, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        return torch.tensor(rows)

    def _embedded(self, views: torch.Tensor) -> torch.Tensor:
        batch = (views - _MEAN) / _DEVIATION
        features: torch.Tensor = self._tower(batch.contiguous(memory_format=torch.channels_last))
        return functional.normalize(features.float(), dim=1)


class WordTrainer:
    """The text tower with everything that a step needs."""

    def __init__(self, model: open_clip.CLIP, steps: int, seed: int) -> None:
        self._model = model
        self._meanings = meanings()
        self._words = Random(seed)  # noqa: S311 - captions, not cryptography
        self._tokenizer = open_clip.SimpleTokenizer(context_length=CONTEXT)
        parameters = [
            parameter
            for name, parameter in model.named_parameters()
            if not name.startswith("visual.") and name != "logit_scale"
        ]
        self._optimiser = torch.optim.AdamW(parameters, lr=_WORD_RATE, weight_decay=0.0)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self._optimiser, _WORD_RATE, steps)

    def step(self) -> float:
        """A caption for everything that can be said; how far they are from what they mean."""
        self._model.train()
        self._optimiser.zero_grad()
        said = self._model.encode_text(self._tokenizer(every_caption(self._words)), normalize=True)
        loss = (1 - (said * self._meanings).sum(1)).mean()
        loss.backward()
        self._optimiser.step()
        self._schedule.step()
        return float(loss.item())


def _caption_loss(logits: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
    pieces = torch.split(logits, [len(group) for group in GROUPS], dim=1)
    losses = [_group_loss(piece, truths[:, number]) for number, piece in enumerate(pieces)]
    return (torch.stack(losses) * torch.tensor(_GROUP_WEIGHTS)).sum()


def _group_loss(logits: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
    """Each picture finds its caption, and each caption that is true of some finds all of them."""
    pictures = functional.cross_entropy(logits, truths)
    positives = functional.one_hot(truths, logits.shape[1]).float().T
    said = positives.sum(1) > 0
    shares = logits.T[said].log_softmax(1)
    texts = -((shares * positives[said]).sum(1) / positives[said].sum(1)).mean()
    return (pictures + texts) / 2


def _pair_loss(logits: torch.Tensor) -> torch.Tensor:
    truths = torch.arange(len(logits))
    return (
        functional.cross_entropy(logits, truths) + functional.cross_entropy(logits.T, truths)
    ) / 2


def _parameters(model: torch.nn.Module) -> list[dict[str, Any]]:
    """Decay is for matrices: norms, biases and embeddings mean something by their size."""
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim > 1 and "embedding" not in name
        (matrices if matrix else others).append(parameter)
    return [
        {"params": matrices, "weight_decay": _DECAY},
        {"params": others, "weight_decay": 0.0},
    ]


def save_checkpoint(model: torch.nn.Module, folder: Path, told: dict[str, Any]) -> None:
    """Write the model in open_clip's `local-dir:` layout, in half precision.

    Words that no caption has get no vector, rather than a random one that would say something.

    Args:
        model: as trained.
        folder: made where it is absent; its name becomes part of the model version.
        told: what else the configuration says, for whoever finds the folder.
    """
    weights = {
        name: value.half() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
        if name != "attn_mask"
    }
    weights["token_embedding.weight"] = _spoken(weights["token_embedding.weight"])
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "open_clip_model.safetensors"
    save_file({name: value.contiguous() for name, value in weights.items()}, checkpoint)
    checkpoint.chmod(0o644)
    config = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESS, "training": told}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _spoken(embedding: torch.Tensor) -> torch.Tensor:
    tokenizer = open_clip.SimpleTokenizer(context_length=CONTEXT)
    chance = Random(0)  # noqa: S311
    used = torch.unique(tokenizer([text for _ in range(40) for text in every_caption(chance)]))
    kept = torch.zeros_like(embedding)
    kept[used] = embedding[used]
    return kept
