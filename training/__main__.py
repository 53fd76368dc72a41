"""`python -m training train FOLDER`, and `evaluate`: the demo's checkpoint, made and measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import click
import open_clip
import torch

from catalog_pipeline.demo.model import DEMO_MODEL
from catalog_pipeline.embeddings.encode import Embedder
from training.captions import EVERY_LOOK
from training.evaluate import copies_to_photographs, words_to_garments
from training.pictures import drawn
from training.train import (
    DEFAULT_STEPS,
    MODEL,
    STORED_SIDE,
    WORD_STEPS,
    PictureTrainer,
    WordTrainer,
    save_checkpoint,
)

_TOLD_EVERY = 50


@click.group()
def main() -> None:
    """Train and measure the small model that the demo embeds with."""


@main.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--pictures", default=6_000, show_default=True)
@click.option("--steps", default=DEFAULT_STEPS, show_default=True)
@click.option("--seed", default=1, show_default=True)
def train(folder: Path, pictures: int, steps: int, seed: int) -> None:
    """Draw pictures, train both towers, and write a checkpoint to FOLDER."""
    # The trainer has threads of its own, one a core.
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = open_clip.CLIP(**MODEL)
    started = time.monotonic()
    _run("words", WordTrainer(model, WORD_STEPS, seed).step, WORD_STEPS)
    examples = drawn(pictures, STORED_SIDE, seed)
    click.echo(f"{pictures:,} pictures drawn after {time.monotonic() - started:.0f} s")
    _run("pictures", PictureTrainer(model, examples, steps, seed).step, steps)
    save_checkpoint(model, folder, {"pictures": pictures, "steps": steps, "seed": seed})
    click.echo(f"Wrote {folder} after {time.monotonic() - started:.0f} s")


def _run(what: str, step: Callable[[], float], steps: int) -> None:
    for number in range(1, steps + 1):
        loss = step()
        if number % _TOLD_EVERY == 0 or number == steps:
            click.echo(f"{what}: step {number} of {steps}, loss {loss:.3f}")


@main.command()
@click.argument(
    "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False
)
@click.option("--photographs", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seed", default=7_000_000, show_default=True)
def evaluate(folder: Path | None, photographs: Path | None, seed: int) -> None:
    """Measure the checkpoint in FOLDER, or the demo's own."""
    model = DEMO_MODEL if folder is None else f"local-dir:{folder.absolute()}"
    embedder = Embedder(model, device="cpu")
    click.echo(embedder.model_version)
    others = Random(seed).choices(EVERY_LOOK, k=len(EVERY_LOOK))  # noqa: S311
    found = words_to_garments(embedder, EVERY_LOOK, others, seed)
    click.echo(f"of {found.queries} queries among {len(EVERY_LOOK) + len(others)} unseen garments:")
    for what in ("right", "kind", "colour", "pattern"):
        click.echo(f"  {what:<8} {getattr(found, what) / found.queries:6.1%}")
    if photographs is not None:
        paths = sorted(photographs.rglob("*.jpg"))
        share = copies_to_photographs(embedder, paths) / len(paths)
        click.echo(f"of {len(paths)} photographs, found by a worse copy: {share:.1%}")


if __name__ == "__main__":
    main()
