"""What is written on a sheet, without a look at its pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from PIL import Image

from catalog_pipeline.drawing.sheet import Section
from catalog_pipeline.exhibits.exhibit import Exhibit

Sections = Callable[[Exhibit | None], Sequence[Section]]


@pytest.fixture
def sections_of(monkeypatch: pytest.MonkeyPatch) -> Sections:
    """The sections that an exhibit hands over to be drawn."""
    drawn: list[Section] = []

    def keep(sections: Sequence[Section], **_: Any) -> Image.Image:
        drawn[:] = sections
        return Image.new("RGB", (1, 1))

    for module in ("contact_sheet", "gate_sheet", "neighbours"):
        monkeypatch.setattr(f"catalog_pipeline.exhibits.{module}.draw_sheet", keep)

    def sections(exhibit: Exhibit | None) -> Sequence[Section]:
        assert exhibit is not None
        exhibit.draw()
        return list(drawn)

    return sections
