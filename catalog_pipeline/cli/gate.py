"""`catalog gate`: what other thresholds would do to the verdicts, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import click
from PIL import Image
from rich.console import Console

from catalog_pipeline.cli.deployment import (
    STORE,
    as_json,
    open_database,
    pick_store,
    stores_to_look_after,
)
from catalog_pipeline.cli.output import print_json, say, table, terminal
from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.exhibits.gate_sheet import gate_sheet
from catalog_pipeline.files import DataFolder
from catalog_pipeline.gate_preview import (
    StorePreview,
    ThresholdError,
    changed_thresholds,
    described,
    preview_gate,
)
from catalog_pipeline.settings import Settings, load_settings
from catalog_pipeline.stores import QualityThresholds, StoreConfig

Proposals = Sequence[tuple[StoreConfig, QualityThresholds]]

_SHEET = "gate-preview.webp"
_FORMATS = {".png": "PNG", ".webp": "WEBP"}
_QUALITY = 85


@click.group()
def gate() -> None:
    """Look at the gate that accepts and rejects pictures.

    \b
    Examples:
      catalog gate preview --store atelier --set min_side=400
    """


@gate.command()
@click.option("--store", "store_id", type=STORE, help="Only this store.")
@click.option(
    "--set",
    "changes",
    metavar="NAME=VALUE",
    multiple=True,
    help="A threshold with another value; may be given several times.",
)
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the pictures into this .webp or .png file. Without it, gate-preview.webp in a local "
    "data folder is made anew each time.",
)
@as_json
def preview(
    store_id: str | None, changes: tuple[str, ...], sheet: Path | None, as_json: bool
) -> None:
    """Show which verdicts other thresholds would change, by reason, with the pictures.

    Pictures are judged again from their stored measurements; nothing is fetched or written. Without
    --set, this tells what the thresholds in stores.yaml would change once the stores are synced.

    \b
    Examples:
      catalog gate preview --set min_side=300
      catalog gate preview --store atelier --set min_side=300 --set max_aspect=3
      catalog gate preview --set min_side=300 --sheet changes.webp --json
    """
    asked = _parsed(changes)
    if sheet is not None and sheet.suffix.lower() not in _FORMATS:
        raise click.BadParameter("the file must end in .webp or .png", param_hint="--sheet")
    settings = load_settings()
    with open_database(settings) as database:
        known = stores_to_look_after(settings, database)
        chosen = [pick_store(known, store_id)] if store_id else list(known.stores.values())
        try:
            proposed = [(one, changed_thresholds(one.quality, asked)) for one in chosen]
        except ThresholdError as error:
            raise click.BadParameter(
                f"{error}\n\n{_current(chosen)}", param_hint="--set"
            ) from error
        found = [preview_gate(database, one, thresholds) for one, thresholds in proposed]
    changed = [change for one in found for change in one.changes]
    # Scripts ask for the file that they want.
    if changed and (sheet is not None or not as_json):
        sheet = sheet or _usual_sheet(settings)
        _write(gate_sheet(DataFolder(settings.data_dir), changed), sheet)
    else:
        sheet = None
    if as_json:
        print_json({"stores": found, "sheet": sheet})
        return
    console = terminal()
    _show(console, found, sheet)
    for line in _closing(found, proposed):
        say(console, line)


def _parsed(changes: Sequence[str]) -> dict[str, str]:
    asked = {}
    for one in changes:
        name, separator, value = one.partition("=")
        if not separator or not name.strip() or not value.strip():
            raise click.BadParameter(
                f"{one!r} is not NAME=VALUE, such as min_side=300", param_hint="--set"
            )
        asked[name.strip()] = value.strip()
    return asked


def _current(chosen: Iterable[StoreConfig]) -> str:
    """Every threshold with its value now, the stores' where they differ."""
    values: dict[str, dict[str, list[str]]] = {}
    for one in chosen:
        for name, value in described(one.quality):
            values.setdefault(name, {}).setdefault(_number(value), []).append(one.id)
    width = max(map(len, values), default=0)
    lines = []
    for name, by_value in values.items():
        said = [
            value if len(by_value) == 1 else f"{value} ({_some(ids)})"
            for value, ids in by_value.items()
        ]
        lines.append(f"  {name:<{width}}  {', '.join(said)}")
    return "\n".join(["The thresholds, as they are now:", *lines])


def _number(value: float) -> str:
    """As stores.yaml has it, in full."""
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} stores"


def _usual_sheet(settings: Settings) -> Path:
    """Always the same file, so that looking again and again leaves one and not many."""
    return Path(_SHEET) if settings.data_is_remote else settings.local_data_dir / _SHEET


def _write(drawing: Image.Image, path: Path) -> None:
    try:
        drawing.save(path, _FORMATS[path.suffix.lower()], quality=_QUALITY)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror or error}; name another --sheet"
        ) from error


def _show(console: Console, found: Sequence[StorePreview], sheet: Path | None) -> None:
    numbers = ["pictures", "accepted", "then", "to rejected", "to accepted"]
    rows = [[one.store_id, *_counts(one)] for one in found if one.changes or len(found) == 1]
    if len(found) > 1:
        totals = (sum(column) for column in zip(*map(_counts, found), strict=True))
        rows.append([f"all {len(found):,} stores", *totals])
    console.print(table(["store", *numbers], rows, numbers=numbers))
    reasons = [
        [one.store_id, change, reason, count]
        for one in found
        for change, by_reason in (
            ("accepted → rejected", one.to_rejected),
            ("rejected → accepted", one.to_accepted),
        )
        for reason, count in by_reason.items()
    ]
    if reasons:
        console.print()
        columns = ["store", "verdict", "reason", "pictures"]
        console.print(table(columns, reasons, numbers=["pictures"]))
    console.print()
    for one in found:
        for line in _notes(one):
            say(console, f"{one.store_id}: {line}")
    if sheet is not None:
        say(console, f"The pictures: {sheet}")


def _counts(one: StorePreview) -> tuple[int, ...]:
    return (
        one.pictures,
        one.accepted_now,
        one.accepted_then,
        sum(one.to_rejected.values()),
        sum(one.to_accepted.values()),
    )


def _notes(one: StorePreview) -> list[str]:
    counted: Mapping[str, int] = {
        "would change but for a person's word, which stands": one.by_a_person,
        "not judged yet": one.unjudged,
        "would be decoded first, so their verdict is not known": one.unmeasured,
        "would be fetched again, as their size would be judged otherwise": one.to_fetch,
    }
    return [f"{count:,} pictures {what}" for what, count in counted.items() if count]


def _closing(found: Sequence[StorePreview], proposed: Proposals) -> list[str]:
    if not any(one.changes for one in found):
        return ["No verdict would change; nothing was written."]
    if not any(one.thresholds for one in found):
        return ["Nothing was written; the next sync of each store judges so."]
    return [
        "Nothing was written. The next sync of each store judges so with this in stores.yaml:",
        *_blocks(found, proposed),
    ]


def _blocks(found: Sequence[StorePreview], proposed: Proposals) -> Iterator[str]:
    """What stands in place of each store's `quality:`, with all that it says already."""
    stores: dict[tuple[str, ...], list[str]] = {}
    for preview, (store, thresholds) in zip(found, proposed, strict=True):
        if preview.thresholds:
            said = store.quality.model_fields_set | preview.thresholds.keys()
            keys = (
                f"{name}: {_number(value)}" for name, value in described(thresholds) if name in said
            )
            stores.setdefault(tuple(keys), []).append(store.id)
    for block, ids in stores.items():
        yield "    quality:" + (f"  # {_some(ids)}" if len(stores) > 1 else "")
        yield from (f"      {key}" for key in block)
