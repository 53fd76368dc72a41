"""Pictures on a materialisation: drawn when what they show has changed, else a link to the last.

Dagster keeps metadata in its event log for ever, so a picture that shows nothing new is not stored
again. What is drawn is decided in `exhibits/`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from catalog_pipeline.defs.metadata import Metadata, last_materialisation
from catalog_pipeline.drawing.encoding import data_uri, webp
from catalog_pipeline.exhibits.exhibit import Exhibit

_DIGEST = "{}_digest"
_RUN = "run"

Draw = Callable[[], Exhibit | None]


def pictures(
    context: dg.AssetExecutionContext, draws: Mapping[str, Draw], *, anew: bool = True
) -> Metadata:
    """Metadata for each picture, by name; nothing for one that has nothing to show yet.

    A picture is never worth a stage: what cannot be drawn is logged and left out, and the next run
    tries again.

    Args:
        context: of the asset.
        draws: what is to be seen, by name.
        anew: whether to look at all for what has changed; if not, only pictures that the last
            materialisation lacks are drawn.
    """
    before = _last_metadata(context)
    found: Metadata = {}
    for name, draw in draws.items():
        try:
            found |= _picture(name, draw, before, anew=anew)
        except Exception as error:  # noqa: BLE001 - the data are there; only their picture is not
            context.log.warning("%s could not be drawn: %s: %s", name, type(error).__name__, error)
    return found


def _picture(name: str, draw: Draw, before: Mapping[str, Any], *, anew: bool) -> Metadata:
    key = _DIGEST.format(name)
    last = before.get(key)
    if last is not None and not anew:
        return {name: _drawn_in(name, before), key: last}
    exhibit = draw()
    if exhibit is None:
        return {}
    digest = dg.MetadataValue.text(exhibit.digest)
    if last == digest:
        return {name: _drawn_in(name, before), key: digest}
    drawing = webp(exhibit.draw(), exhibit.most_bytes)
    return {name: dg.MetadataValue.md(f"![{exhibit.title}]({data_uri(drawing)})"), key: digest}


def _drawn_in(name: str, before: Mapping[str, Any]) -> dg.DagsterRunMetadataValue:
    shown = before.get(name)
    if isinstance(shown, dg.DagsterRunMetadataValue):
        return shown
    return dg.MetadataValue.dagster_run(before[_RUN])


def _last_metadata(context: dg.AssetExecutionContext) -> dict[str, Any]:
    """The metadata of the partition's last materialisation, and which run it was."""
    record = last_materialisation(context)
    if record is None or record.asset_materialization is None:
        return {}
    return {**record.asset_materialization.metadata, _RUN: record.run_id}
