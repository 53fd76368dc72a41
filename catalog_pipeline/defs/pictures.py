"""Pictures on a materialisation: drawn when what they show has changed, else a link to the last.

Dagster keeps metadata in its event log for ever and twice, so a picture that shows nothing new is
not stored again. What is drawn is decided in `exhibits/`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from catalog_pipeline.defs.metadata import Metadata
from catalog_pipeline.drawing.encoding import data_uri, webp
from catalog_pipeline.exhibits.exhibit import Exhibit

_DIGEST = "{}_digest"

Draw = Callable[[], Exhibit | None]


def pictures(context: dg.AssetExecutionContext, draws: Mapping[str, Draw]) -> Metadata:
    """Metadata for each picture, by name; nothing for one that has nothing to show yet.

    A picture is never worth a stage: what cannot be drawn is logged and left out, and the next run
    tries again.
    """
    before = _last_metadata(context)
    found: Metadata = {}
    for name, draw in draws.items():
        try:
            found |= _picture(name, draw(), before)
        except Exception as error:  # noqa: BLE001 - the data are there; only their picture is not
            context.log.warning("%s could not be drawn: %s: %s", name, type(error).__name__, error)
    return found


def _picture(name: str, exhibit: Exhibit | None, before: Mapping[str, Any]) -> Metadata:
    if exhibit is None:
        return {}
    key = _DIGEST.format(name)
    digest = {key: dg.MetadataValue.text(exhibit.digest)}
    last = before.get(key)
    if isinstance(last, dg.TextMetadataValue) and last.text == exhibit.digest:
        drawn_in = before.get(name)
        if not isinstance(drawn_in, dg.DagsterRunMetadataValue):
            drawn_in = dg.MetadataValue.dagster_run(before[_RUN])
        return {name: drawn_in, **digest}
    drawing = webp(exhibit.draw(), exhibit.most_bytes)
    return {name: dg.MetadataValue.md(f"![{exhibit.title}]({data_uri(drawing)})"), **digest}


_RUN = "run"


def _last_metadata(context: dg.AssetExecutionContext) -> dict[str, Any]:
    """The metadata of the partition's last materialisation, and which run it was."""
    found = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(
            asset_key=context.asset_key, asset_partitions=[context.partition_key]
        ),
        limit=1,
    )
    for record in found.records:
        materialisation = record.asset_materialization
        if materialisation is not None:
            return {**materialisation.metadata, _RUN: record.run_id}
    return {}
