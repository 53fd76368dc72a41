"""`catalog files`: the data folder's pictures and vector parts, kept small."""

from __future__ import annotations

from datetime import timedelta

import click

from catalog_pipeline.cli.deployment import as_json, open_database
from catalog_pipeline.cli.output import notices, print_json
from catalog_pipeline.cli.progress import StageProgress
from catalog_pipeline.files import DataFolder
from catalog_pipeline.settings import load_settings


@click.group()
def files() -> None:
    """Look after pictures and vectors in the data folder.

    \b
    Examples:
      catalog files prune
    """


@files.command()
@click.option(
    "--days",
    type=click.IntRange(1),
    help="Remove what nothing has referred to for this many days; without it, a week.",
)
@as_json
def prune(days: int | None, as_json: bool) -> None:
    """Merge small parts, and remove files that nothing refers to any more.

    \b
    Examples:
      catalog files prune
      catalog files prune --days 1 --json
    """
    from catalog_pipeline.prune import KEEP, prune_files

    settings = load_settings()
    keep = KEEP if days is None else timedelta(days=days)
    with open_database(settings) as database, StageProgress(notices()) as progress:
        progress.begin("merging parts")

        def looked_at(done: int, total: int) -> None:
            if done == 1:
                progress.begin("pruning")
            progress.count(done, total, "groups of pictures")

        folder = DataFolder(settings.data_dir)
        report = prune_files(database, folder, keep=keep, progress=looked_at)
    if as_json:
        print_json(report)
        return
    click.echo(
        f"Removed {report.removed_blobs:,} pictures, {report.removed_parts:,} parts and "
        f"{report.removed_drafts:,} drafts; "
        f"{report.waiting:,} files without a reference wait for their time to pass. "
        f"Merged {report.compacted.merged:,} parts into {report.compacted.written:,}."
    )
