"""The gate: each issue by its threshold, and how it does on real photographs."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from catalog_pipeline.images.measure import measure
from catalog_pipeline.images.quality import (
    Issue,
    Verdict,
    gate_version,
    judge,
    names_placeholder,
)
from catalog_pipeline.stores import QualityThresholds
from catalog_pipeline_tests.images.drawing import encoded, garment, garment_bytes

DEFAULTS = QualityThresholds()
GOOD = measure(garment_bytes(), DEFAULTS.max_pixels)


def verdict_on(content: bytes, thresholds: QualityThresholds = DEFAULTS) -> Verdict:
    measured = measure(content, thresholds.max_pixels)
    return judge(measured, thresholds, is_placeholder=False)


def first_issue(content: bytes) -> str | None:
    verdict = verdict_on(content)
    return None if verdict.accepted else verdict.issues[0]["issue"]


def test_a_good_picture_has_no_issue() -> None:
    assert judge(GOOD, DEFAULTS, is_placeholder=False) == Verdict(accepted=True, issues=())


@pytest.mark.parametrize(
    ("changes", "issue", "measured", "threshold"),
    [
        ({"width": 199, "height": 300}, Issue.TOO_SMALL, 199, 200),
        ({"width": 810, "height": 200}, Issue.EXTREME_ASPECT, 4.05, 4.0),
        ({"detail": 0.009}, Issue.BLANK, 0.009, 0.01),
        ({"highlights": 54.0}, Issue.TOO_DARK, 54.0, 55.0),
        ({"shadows": 236.0}, Issue.TOO_BRIGHT, 236.0, 235.0),
        ({"contrast": 5.9}, Issue.LOW_CONTRAST, 5.9, 6.0),
        ({"sharpness": 0.1}, Issue.BLURRY, 0.1, 0.12),
        ({"bytes": 20_000_001}, Issue.TOO_MANY_BYTES, 20_000_001, 20_000_000),
        (
            {"problem": "too many pixels", "width": 10_000, "height": 10_000},
            Issue.TOO_MANY_PIXELS,
            100_000_000,
            50_000_000,
        ),
        ({"problem": "unsupported", "reason": "r"}, Issue.UNSUPPORTED_FORMAT, "r", None),
        ({"problem": "corrupt", "reason": "cut"}, Issue.CORRUPT, "cut", None),
    ],
)
def test_each_issue_names_what_was_measured_and_the_threshold(
    changes: dict[str, object], issue: Issue, measured: object, threshold: object
) -> None:
    worse = dataclasses.replace(GOOD, **changes)  # type: ignore[arg-type]
    verdict = judge(worse, DEFAULTS, is_placeholder=False)
    assert verdict == Verdict(
        accepted=False,
        issues=(
            {"issue": issue.value, "measured": measured, "threshold": threshold},  # type: ignore[typeddict-item]
        ),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 200, "height": 800},
        {"detail": 0.01},
        {"highlights": 55.0},
        {"shadows": 235.0},
        {"contrast": 6.0},
        {"sharpness": 0.12},
        {"bytes": 20_000_000},
    ],
)
def test_the_threshold_itself_is_good_enough(changes: dict[str, object]) -> None:
    on_the_line = dataclasses.replace(GOOD, **changes)  # type: ignore[arg-type]
    assert judge(on_the_line, DEFAULTS, is_placeholder=False).accepted


def test_several_issues_come_most_telling_first() -> None:
    bad = dataclasses.replace(GOOD, width=50, height=60, highlights=3.0, sharpness=0.0)
    issues = [found["issue"] for found in judge(bad, DEFAULTS, is_placeholder=True).issues]
    assert issues == [Issue.PLACEHOLDER, Issue.TOO_SMALL, Issue.TOO_DARK, Issue.BLURRY]


def test_a_raised_limit_lets_the_measured_pixels_pass() -> None:
    large = dataclasses.replace(GOOD, width=10_000, height=10_000)
    assert not judge(large, DEFAULTS, is_placeholder=False).accepted
    assert judge(large, QualityThresholds(max_pixels=100_000_000), is_placeholder=False).accepted


def test_every_threshold_changes_the_gate_version() -> None:
    versions = {gate_version(DEFAULTS)}
    for name, value in DEFAULTS.model_dump().items():
        changed = QualityThresholds.model_validate({name: value / 2})
        versions.add(gate_version(changed))
    assert len(versions) == 1 + len(QualityThresholds.model_fields)
    assert gate_version(QualityThresholds(min_side=200)) == gate_version(DEFAULTS)


@pytest.mark.parametrize(
    ("url", "image_id", "expected"),
    [
        ("https://a.example/wp-content/uploads/woocommerce-placeholder.png", "12", True),
        ("https://a.example/u/woocommerce-placeholder-600x600.png?x=1#y", "12", True),
        ("https://a.example/u/WooCommerce-Placeholder.webp", "12", True),
        ("https://a.example/u/our-placeholder.png", "0", True),
        ("https://a.example/u/our-placeholder.png", "12", False),
        ("https://cdn.example/dress.jpg", "0", False),
        ("https://a.example/woocommerce-placeholder/dress.jpg", "12", False),
        ("https://[broken", "0", False),
    ],
)
def test_the_placeholder_is_known_by_its_name(url: str, image_id: str, *, expected: bool) -> None:
    assert names_placeholder(url, image_id) is expected


def white_studio(share: float) -> bytes:
    """A small dark garment with a sharp outline alone on pure white."""
    image = Image.new("RGB", (800, 800), "white")
    half = int(800 * share**0.5 / 2)
    ImageDraw.Draw(image).rectangle(
        (400 - half, 400 - half, 400 + half, 400 + half), fill=(70, 60, 90)
    )
    return encoded(image, quality=85)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_a_white_background_is_no_fault(share: float) -> None:
    assert first_issue(white_studio(share)) is None


def test_a_pale_garment_on_white_is_no_fault() -> None:
    image = Image.new("RGB", (600, 800), "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle((150, 150, 450, 650), fill=(236, 236, 232))
    for x in range(170, 440, 30):
        pen.line((x, 170, x + 20, 640), fill=(205, 205, 202), width=3)
    assert first_issue(encoded(image)) is None


def test_washed_out_and_faint_pictures_are_told_apart() -> None:
    assert first_issue(encoded(garment().point(lambda v: 240 + v * 0.05))) == Issue.TOO_BRIGHT
    assert first_issue(encoded(garment().point(lambda v: 110 + v * 0.06))) == Issue.LOW_CONTRAST


Degrade = Callable[[bytes, Image.Image], bytes]


def flat(_: bytes, image: Image.Image) -> bytes:
    red, green, blue = np.asarray(image).reshape(-1, 3).mean(axis=0)
    return encoded(Image.new("RGB", image.size, (int(red), int(green), int(blue))))


def dark(_: bytes, image: Image.Image) -> bytes:
    return encoded(image.point(lambda value: value * 0.1))


def blurred(_: bytes, image: Image.Image) -> bytes:
    return encoded(image.filter(ImageFilter.GaussianBlur(6)))


def cut(content: bytes, _: Image.Image) -> bytes:
    return content[: len(content) // 2]


def small(_: bytes, image: Image.Image) -> bytes:
    reduced = image.copy()
    reduced.thumbnail((64, 64))
    return encoded(reduced)


def stretched(_: bytes, image: Image.Image) -> bytes:
    return encoded(image.resize((100, 1200)))


DEGRADED: dict[Issue, Degrade] = {
    Issue.BLANK: flat,
    Issue.TOO_DARK: dark,
    Issue.BLURRY: blurred,
    Issue.CORRUPT: cut,
    Issue.TOO_SMALL: small,
    Issue.EXTREME_ASPECT: stretched,
}


def test_real_photographs_pass_and_their_degraded_copies_do_not(shared_data: Path) -> None:
    """The defaults were fixed on the other half of the photographs, those of even index."""
    photographs = sorted((shared_data / "photos").glob("*/*.jpg"))[1::2]
    assert len(photographs) == 250
    refused = 0
    caught = dict.fromkeys(DEGRADED, 0)
    for path in photographs:
        content = path.read_bytes()
        refused += first_issue(content) is not None
        with Image.open(io.BytesIO(content)) as opened:
            image = opened.convert("RGB")
        for issue, degrade in DEGRADED.items():
            caught[issue] += first_issue(degrade(content, image)) == issue
    print(f"refused {refused} of {len(photographs)}; caught {caught}")
    assert refused / len(photographs) <= 0.01
    for issue, number in caught.items():
        assert number / len(photographs) >= 0.99, issue


def test_large_studio_photographs_pass(shared_data: Path) -> None:
    photographs = sorted((shared_data / "photos_large").glob("*.jpg"))
    assert photographs
    for path in photographs:
        assert first_issue(path.read_bytes()) is None, path.name
