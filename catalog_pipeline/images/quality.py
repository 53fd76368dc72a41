"""The gate: which measured pictures are good enough, by a store's thresholds, and why not.

Pure and quick, so that a change of thresholds judges a whole store again from its measurements.
How the values are measured is in `measure.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypedDict
from urllib.parse import unquote, urlsplit

from catalog_pipeline.catalog.identity import digest
from catalog_pipeline.images.measure import DECODER, Measurements
from catalog_pipeline.stores import QualityThresholds

# Another value judges every picture again; for a change of `judge` that thresholds do not show.
_JUDGING: Final = "1"
_PLACEHOLDER_NAME: Final = "woocommerce-placeholder"


class Issue(StrEnum):
    """What can be wrong with a picture, most telling first: the first one found is counted."""

    UNSUPPORTED_FORMAT = "unsupported format"
    CORRUPT = "corrupt or truncated"
    TOO_MANY_BYTES = "too many bytes"
    TOO_MANY_PIXELS = "too many pixels"
    PLACEHOLDER = "the store's placeholder"
    EXTREME_ASPECT = "extreme aspect ratio"
    TOO_SMALL = "too small"
    BLANK = "blank or flat"
    TOO_DARK = "too dark"
    TOO_BRIGHT = "too bright"
    LOW_CONTRAST = "low contrast"
    BLURRY = "blurry"


class Finding(TypedDict):
    """One issue with the value that was measured and the threshold that it missed."""

    issue: str
    measured: float | str | None
    threshold: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's word on one picture; `issues` is empty exactly when it is accepted."""

    accepted: bool
    issues: tuple[Finding, ...]


def judge(
    measured: Measurements, thresholds: QualityThresholds, *, is_placeholder: bool
) -> Verdict:
    """Hold a picture's measurements against a store's thresholds."""
    issues = tuple(
        Finding(issue=issue.value, measured=value, threshold=threshold)
        for issue, value, threshold in _findings(measured, thresholds, is_placeholder)
    )
    return Verdict(accepted=not issues, issues=issues)


def gate_version(thresholds: QualityThresholds) -> str:
    """Changes whenever the same bytes could be judged otherwise: 32 hexadecimal digits."""
    return digest(
        {"judging": _JUDGING, "decoder": DECODER, "thresholds": thresholds.model_dump(mode="json")}
    )


def names_placeholder(url: str, image_id: str | None) -> bool:
    """Whether a store offers what lies under this URL as its picture for products without one.

    WooCommerce's own file is called `woocommerce-placeholder` with a size; one of the store's own
    has the image id 0, which by itself proves nothing: plug-ins give it to pictures held elsewhere.
    """
    try:
        name = unquote(urlsplit(url).path).rsplit("/", 1)[-1].lower()
    except ValueError:
        return False
    return name.startswith(_PLACEHOLDER_NAME) or (image_id == "0" and "placeholder" in name)


def _findings(
    found: Measurements, limits: QualityThresholds, is_placeholder: bool
) -> Iterator[tuple[Issue, float | str | None, float | None]]:
    """Issue, measured value and threshold, in the order of `Issue`."""
    if found.problem == "unsupported":
        yield Issue.UNSUPPORTED_FORMAT, found.reason, None
    if found.problem == "corrupt":
        yield Issue.CORRUPT, found.reason, None
    if found.bytes > limits.max_bytes:
        yield Issue.TOO_MANY_BYTES, found.bytes, limits.max_bytes
    pixels = (found.width or 0) * (found.height or 0)
    if pixels > limits.max_pixels or found.problem == "too many pixels":
        yield Issue.TOO_MANY_PIXELS, pixels, limits.max_pixels
    if is_placeholder:
        yield Issue.PLACEHOLDER, None, None
    if found.problem is None:
        yield from _shape(found, limits)
        yield from _levels(found, limits)


def _shape(found: Measurements, limits: QualityThresholds) -> Iterator[tuple[Issue, float, float]]:
    assert found.width is not None
    assert found.height is not None
    short, long = sorted((found.width, found.height))
    aspect = round(long / short, 3)
    if aspect > limits.max_aspect:
        yield Issue.EXTREME_ASPECT, aspect, limits.max_aspect
    if short < limits.min_side:
        yield Issue.TOO_SMALL, short, limits.min_side


def _levels(found: Measurements, limits: QualityThresholds) -> Iterator[tuple[Issue, float, float]]:
    for issue, value, least in (
        (Issue.BLANK, found.detail, limits.min_detail),
        (Issue.TOO_DARK, found.highlights, limits.min_brightness),
    ):
        if value is not None and value < least:
            yield issue, value, least
    if found.shadows is not None and found.shadows > limits.max_brightness:
        yield Issue.TOO_BRIGHT, found.shadows, limits.max_brightness
    for issue, value, least in (
        (Issue.LOW_CONTRAST, found.contrast, limits.min_contrast),
        (Issue.BLURRY, found.sharpness, limits.min_sharpness),
    ):
        if value is not None and value < least:
            yield issue, value, least
