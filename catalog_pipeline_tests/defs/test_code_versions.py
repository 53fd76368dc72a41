"""What makes which assets stale: the configured model, and the thresholds in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog_pipeline.defs.automation import STAGES
from catalog_pipeline.defs.code_versions import CODE, code_versions, with_code_versions

STORE = """\
  - id: {id}
    url: https://{id}.example.com
    consumer_key: {{env: KEY}}
    consumer_secret: {{env: SECRET}}
    quality: {{min_side: {min_side}}}
"""


def settings(
    folder: Path, *stores: tuple[str, int], usual: int = 200, **others: str
) -> dict[str, str]:
    file = folder / "stores.yaml"
    listed = "".join(STORE.format(id=name, min_side=side) for name, side in stores)
    file.write_text(f"defaults:\n  quality: {{min_side: {usual}}}\nstores:\n{listed}")
    return {"CATALOG_STORES_FILE": str(file), **others}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before[name] != after[name]}


def test_another_model_makes_vectors_and_points_stale(tmp_path: Path) -> None:
    one = code_versions(settings(tmp_path, ("a", 200), CATALOG_MODEL="ViT-B-32/openai"))
    other = code_versions(settings(tmp_path, ("a", 200), CATALOG_MODEL="ViT-L-14/openai"))

    assert changed(one, other) == {"image_embeddings", "qdrant_points"}
    assert one["image_embeddings"].endswith("model ViT-B-32/openai")


def test_other_thresholds_make_verdicts_stale_and_all_that_follows_from_them(
    tmp_path: Path,
) -> None:
    one = code_versions(settings(tmp_path, ("a", 200), ("b", 200)))
    other = code_versions(settings(tmp_path, ("a", 200), ("b", 300)))

    assert changed(one, other) == {"product_images", "image_embeddings", "qdrant_points"}


@pytest.mark.parametrize(
    "after",
    [
        pytest.param([("a", 300), ("b", 300), ("c", 200)], id="one takes what another has"),
        pytest.param([("a", 200), ("b", 300), ("c", 200)], id="two change places"),
        pytest.param([("a", 200), ("b", 200), ("c", 200)], id="one takes the usual ones"),
    ],
)
def test_thresholds_that_are_in_use_elsewhere_are_other_ones_for_a_store(
    tmp_path: Path, after: list[tuple[str, int]]
) -> None:
    one = code_versions(settings(tmp_path, ("a", 300), ("b", 200), ("c", 200)))
    other = code_versions(settings(tmp_path, *after))

    assert changed(one, other) == {"product_images", "image_embeddings", "qdrant_points"}


def test_other_thresholds_for_all_stores_make_verdicts_stale(tmp_path: Path) -> None:
    one = code_versions(settings(tmp_path, ("a", 200), usual=200))
    other = code_versions(settings(tmp_path, ("a", 300), usual=300))

    assert changed(one, other) == {"product_images", "image_embeddings", "qdrant_points"}


def test_another_store_with_the_usual_thresholds_makes_nothing_stale(tmp_path: Path) -> None:
    one = code_versions(settings(tmp_path, ("a", 250), ("b", 300), usual=250))
    other = code_versions(settings(tmp_path, ("c", 250), ("b", 300), ("a", 250), usual=250))

    assert changed(one, other) == set()


@pytest.mark.parametrize("content", [None, "stores: [", "stores: []", "\0"])
def test_a_wrong_stores_file_or_a_wrong_setting_keeps_nothing_from_loading(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "stores.yaml"
    if content is not None:
        file.write_text(content)
    wrong = {"CATALOG_STORES_FILE": str(file), "CATALOG_NIGHTLY_CRON": "whenever"}

    assert code_versions(wrong) == code_versions({"CATALOG_STORES_FILE": str(tmp_path / "none")})
    model = code_versions({**wrong, "CATALOG_MODEL": "ViT-B-32/openai"})["image_embeddings"]
    assert model.endswith("model ViT-B-32/openai")


def test_every_stage_is_given_its_own_and_keeps_all_else(tmp_path: Path) -> None:
    environ = settings(tmp_path, ("a", 250))
    made = with_code_versions(STAGES, environ)

    assert [asset.key for asset in made] == [asset.key for asset in STAGES]
    assert {
        spec.key.to_user_string(): spec.code_version for asset in made for spec in asset.specs
    } == code_versions(environ)
    assert CODE.keys() == code_versions(environ).keys()
    for asset, plain in zip(made, STAGES, strict=True):
        assert asset.op is plain.op
        assert asset.get_asset_spec().metadata == plain.get_asset_spec().metadata
