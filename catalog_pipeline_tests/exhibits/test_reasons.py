"""Why a picture was rejected, in words that a newcomer reads without a key."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from catalog_pipeline.drawing.sheet import LABEL_SIZE, MOST_LINES
from catalog_pipeline.drawing.text import wrapped
from catalog_pipeline.exhibits.reasons import missed
from catalog_pipeline.exhibits.thumbnails import SIDE
from catalog_pipeline.images.measure import Measurements
from catalog_pipeline.images.quality import Issue, judge
from catalog_pipeline.stores import QualityThresholds

GOOD: dict[str, Any] = {
    "bytes": 50_000,
    "format": "jpeg",
    "width": 400,
    "height": 400,
    "brightness": 128.0,
    "contrast": 40.0,
    "shadows": 10.0,
    "highlights": 240.0,
    "detail": 0.5,
    "sharpness": 0.5,
}
SAID = [
    ({"bytes": 25_120_000}, "25.1 MB, at most 20"),
    ({"width": 9_000, "height": 7_000}, "63 megapixels, at most 50"),
    ({"width": 4_800}, "sides 12 to 1, at most 4"),
    ({"width": 64, "height": 64}, "shorter side 64 px, needs 200"),
    ({"detail": 0.0}, "detail 0, needs 0.01"),
    ({"highlights": 19.0}, "brightest 19 of 255, needs 55"),
    ({"shadows": 245.0}, "darkest 245 of 255, at most 235"),
    ({"contrast": 4.213}, "contrast 4.2, needs 6"),
    ({"sharpness": 0.03788}, "sharpness 0.04, needs 0.12"),
    ({"sharpness": 0.11996}, "sharpness 0.11996, needs 0.12"),
    ({"problem": "unsupported", "reason": "not JPEG, PNG, WebP or GIF"},
     "not JPEG, PNG, WebP or GIF"),
    ({"problem": "corrupt", "reason": "OSError: image file is truncated (23 bytes not processed)"},
     "the file ends too early"),
    ({"problem": "corrupt", "reason": "SyntaxError: broken PNG file (chunk b'IDAT')"},
     "the file is damaged"),
    ({"problem": "corrupt", "reason": "decoding needs too much memory"},
     "decoding needs too much memory"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "said"), SAID)
def test_what_the_gate_found_is_said_with_name_unit_and_need(
    values: dict[str, Any], said: str
) -> None:
    measured = Measurements(**(GOOD | values))
    found = judge(measured, QualityThresholds(), is_placeholder=False).issues[0]

    assert missed(found["issue"], found["measured"], found["threshold"]) == said


def test_a_placeholder_needs_no_more_words() -> None:
    found = judge(Measurements(**GOOD), QualityThresholds(), is_placeholder=True).issues[0]

    assert missed(found["issue"], found["measured"], found["threshold"]) == ""


def test_every_issue_and_what_is_said_of_it_can_be_read_whole_below_a_picture() -> None:
    for words in [*Issue, *(said for _, said in SAID)]:
        assert not wrapped(words, LABEL_SIZE, SIDE, MOST_LINES)[-1].endswith("…"), words


def test_a_threshold_of_the_past_is_told_as_such() -> None:
    assert missed(Issue.BLURRY, 0.1, 0.3, is_past=True) == "sharpness 0.1, needed 0.3"
    assert missed(Issue.EXTREME_ASPECT, 5, 4, is_past=True) == "sides 5 to 1, was at most 4"


@given(
    st.sampled_from([*Issue, "an issue of another release"]),
    st.floats(0, 1e9) | st.integers(0, 10**9),
    st.floats(0, 1e9).map(lambda value: round(value, 4)),
)
@example(Issue.BLURRY, 0.12 - 1e-12, 0.12)
@example(Issue.TOO_MANY_BYTES, 5e-324, 0.0)
@example(Issue.EXTREME_ASPECT, 4.0004, 4.0)
@example(Issue.TOO_MANY_BYTES, 20_000_001, 20_000_000)
def test_a_measurement_never_looks_like_the_threshold_that_it_missed(
    issue: str, measured: float, threshold: float
) -> None:
    assume(measured != threshold)

    said, _, needed = missed(issue, measured, threshold).rpartition(", ")

    shown = next(_number(word) for word in said.split() if word[0].isdigit())
    limit = _number(needed.split()[-1])
    assert (shown < limit) is (measured < threshold)
    assert shown != limit


def _number(text: str) -> Decimal:
    return Decimal(text.replace(",", ""))
