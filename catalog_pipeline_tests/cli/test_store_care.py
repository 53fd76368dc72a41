"""A store looked after from a terminal: planned, explained, decided over, thinned out, emptied."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from PIL import Image
from rich.text import Text

from catalog_pipeline.catalog.audit import entries
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import StoreLease, hold_store
from catalog_pipeline.cli.main import main
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.blobs import blob_name
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.prune import PruneReport, prune_archive
from catalog_pipeline.prune import prune_files
from catalog_pipeline.settings import load_settings
from catalog_pipeline.stores_file import load_stores
from catalog_pipeline_tests.deployment import Deployment, sample_deployment

pytestmark = pytest.mark.end_to_end

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("care")
    with sample_deployment(folder, products_per_store=40) as opened:
        yield opened


@pytest.fixture(scope="module")
def ask(deployment: Deployment) -> Ask:
    """Calls `catalog … --json`; the answer, or the message of a call that exits with `code`."""

    def run(*arguments: str, code: int = 0) -> Any:
        result = CliRunner().invoke(main, [*arguments, "--json"], env=deployment.environ)
        assert result.exit_code == code, (result.output, result.exception)
        if code:
            return result.stdout + result.stderr
        return json.loads(result.stdout)

    return run


@pytest.fixture(scope="module")
def synced(ask: Ask) -> dict[str, Any]:
    """What the first sync of `atelier` did."""
    before = ask("plan", "atelier")
    assert before
    stages: dict[str, Any] = ask("sync", "atelier")["stages"]
    return stages


@pytest.fixture(scope="module")
def some_product(deployment: Deployment, synced: dict[str, Any], ask: Ask) -> str:
    """The id in the store of a product that has a point."""
    assert synced["qdrant_points"]["points"] > 10
    for external_id in deployment.stores.stores["atelier"].product_ids("publish"):
        found = CliRunner().invoke(
            main,
            ["search", "--product", f"atelier:{external_id}", "--json"],
            env=deployment.environ,
        )
        if found.exit_code == 0:
            return str(external_id)
    pytest.fail("no product of the store has a point")


def points_of(ask: Ask, store_id: str) -> int:
    (store,) = (one for one in ask("status")["stores"] if one["store_id"] == store_id)
    return int(store["points"])


def test_a_product_is_explained_by_its_id(ask: Ask, some_product: str) -> None:
    text = json.dumps(ask("explain", some_product, "--store", "atelier"))
    assert some_product in text
    assert "measured" in text or "width" in text or "accepted" in text


def test_hiding_a_product_takes_its_point_and_withdrawing_brings_it_back(
    ask: Ask, some_product: str, deployment: Deployment
) -> None:
    before = points_of(ask, "atelier")
    target = f"atelier:{some_product}"
    said = ask("override", target, "--hide", "--reason", "recalled")
    assert (said["target"], said["action"], said["image"]) == (target, "hide", None)
    assert said["decision"]["reason"] == "recalled"
    (override,) = ask("override")["overrides"]
    assert override["action"] == "hide"
    assert override["reason"] == "recalled"
    ask("sync", "atelier")
    assert points_of(ask, "atelier") == before - 1
    said = ask("override", target, "--withdraw", "--reason", "fixed")
    assert (said["target"], said["action"]) == (target, "withdraw")
    assert len(said["ended"]) == 1
    ask("sync", "atelier")
    assert points_of(ask, "atelier") == before


def test_a_decision_over_a_picture_is_told_whole(ask: Ask, some_product: str) -> None:
    target = f"atelier:{some_product}"
    (product,) = ask("explain", target)["products"]
    image = product["images"][0]
    told = ("--reason", "seen")
    used = ask("override", target, "--use", image["image_id"], *told)
    assert (used["action"], used["image"]) == ("use", image["image_id"])
    for action in ("accept", "reject"):
        said = ask("override", image["image_sha256"], f"--{action}", *told)
        assert (said["target"], said["action"]) == (image["image_sha256"], action)
        assert said["image"] is None
    for one in (target, image["image_sha256"]):
        ask("override", one, "--withdraw", *told)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["override", "atelier:1", "--hide"], "--reason"),
        (["override", "atelier:1", "--reason", "x"], "one of --hide"),
        (["override", "atelier:1", "--accept", "--reason", "x"], "SHA-256"),
        (["override", "a" * 64, "--hide", "--reason", "x"], "for a product"),
        (["override", "nothing", "--hide", "--reason", "x"], "STORE:EXTERNAL_ID"),
        (["removals", "nowhere"], "nowhere"),
        (["removals", "atelier", "--of", "points"], "--approve"),
        (["removals", "atelier", "--approve", "3"], "--reason"),
        (["removals", "atelier", "--approve", "3", "--reason", " "], "--reason"),
        (["plan", "nowhere"], "nowhere"),
        (["reconcile", "nowhere"], "nowhere"),
        (["archive", "replay", "--store", "nowhere"], "nowhere"),
        (["sync", "atelier", "--refetch"], "--product"),
        (["sync", "atelier", "--product", "1", "--full"], "exclude each other"),
        (["stores", "empty", "atelier"], "still in"),
    ],
)
def test_a_wrong_call_is_refused(ask: Ask, arguments: list[str], said: str) -> None:
    assert said in ask(*arguments, code=2)


def test_other_thresholds_are_seen_before_they_are_set(
    ask: Ask, deployment: Deployment, synced: dict[str, Any], tmp_path: Path
) -> None:
    sheet = tmp_path / "changes.png"
    arguments = ("gate", "preview", "--store", "atelier", "--set", "min_side=10000")
    found = ask(*arguments, "--sheet", str(sheet))
    (atelier,) = found["stores"]
    assert atelier["thresholds"] == {"min_side": [200, 10_000]}
    assert atelier["accepted_now"] > 10
    assert atelier["accepted_then"] == 0
    assert sum(atelier["to_rejected"].values()) == len(atelier["changes"])
    with Image.open(found["sheet"]) as drawn:
        assert drawn.format == "PNG"
        # A tile for each, whatever stands around it.
        assert drawn.width * drawn.height > len(atelier["changes"]) * 100 * 100
    assert ask("gate", "preview", "--set", "min_side=200")["sheet"] is None
    assert points_of(ask, "atelier") == synced["qdrant_points"]["points"]


def test_a_terminal_is_told_where_the_pictures_are(
    deployment: Deployment, synced: dict[str, Any]
) -> None:
    assert synced
    arguments = ["gate", "preview", "--store", "atelier", "--set", "min_side=10000"]
    environ = {**deployment.environ, "FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "xterm"}
    sheet = deployment.folder / "gate-preview.webp"
    for _ in range(2):
        before = set(deployment.folder.iterdir())
        result = CliRunner().invoke(main, arguments, env=environ)
        assert result.exit_code == 0, result.output
        plain = Text.from_ansi(result.stdout).plain
        assert max(map(len, plain.splitlines())) <= 80
        assert "accepted → rejected" in plain
        assert f"The pictures: {sheet}" in " ".join(plain.split())
        assert sheet.stat().st_size > 1_000
    assert before == set(deployment.folder.iterdir())


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["archive", "replay", "--store", "atelier"], "records"),
        (["reconcile", "atelier"], "0 of 1 stores"),
        (["files", "prune"], "16 of 16 groups of pictures"),
    ],
)
def test_a_terminal_sees_long_work_go_on_and_a_pipe_does_not(
    deployment: Deployment, synced: dict[str, Any], arguments: list[str], shown: str
) -> None:
    assert synced
    terminal = {"FORCE_COLOR": "1", "COLUMNS": "100", "TERM": "xterm"}
    watched = CliRunner().invoke(main, arguments, env={**deployment.environ, **terminal})
    assert watched.exit_code == 0, watched.output
    assert shown in Text.from_ansi(watched.stderr).plain
    piped = CliRunner().invoke(main, arguments, env=deployment.environ)
    assert piped.stderr.strip() == ""


def test_the_block_that_other_thresholds_need_keeps_what_it_says_already(
    ask: Ask, deployment: Deployment, synced: dict[str, Any]
) -> None:
    assert synced
    path = deployment.folder / "stores.yaml"
    before = path.read_text()
    document = yaml.safe_load(before)
    # Another test may have taken the second store out for good.
    for one in document["stores"]:
        one["quality"] = {"max_aspect": 4.5} if one["id"] == "atelier" else {}
    path.write_text(yaml.safe_dump(document))
    arguments = ["gate", "preview", "--set", "min_side=10000", "--set", "min_detail=0.0123456789"]
    result = CliRunner().invoke(main, arguments, env=deployment.environ)
    path.write_text(before)
    _, _, pasted = result.stdout.partition("in stores.yaml:\n")
    blocks = pasted.split("    quality:")[1:]
    changed = {"min_side": 10_000, "min_detail": 0.0123456789}
    found = [(block.splitlines()[0], yaml.safe_load(f"quality:{block}")) for block in blocks]
    names = [one["id"] for one in document["stores"]]
    expected = {"atelier": {**changed, "max_aspect": 4.5}, "nordhavn": changed}
    # Where there is one alone, nobody has to be told which.
    assert found == [
        (f"  # {name}" if len(names) > 1 else "", {"quality": expected[name]}) for name in names
    ]


def test_one_product_is_redone_through_all_stages(
    ask: Ask, some_product: str, deployment: Deployment
) -> None:
    shop = deployment.stores.stores["atelier"]
    shop.edit(int(some_product), regular_price="77.50", price="77.50")
    before = ask("sync", "atelier")["stages"]
    assert not any("only_product" in stage for stage in before.values())
    stages = ask("sync", "atelier", "--product", some_product, "--refetch", "--reembed")["stages"]
    assert stages["raw_products"]["products"] == 1
    assert stages["product_images"]["fetched"] + stages["product_images"]["unchanged"] == 1
    assert stages["image_embeddings"]["embedded"] == 1
    assert stages["qdrant_points"]["upserted"] == 1
    # How the store stands is told of all of it, or its plots would fall to one.
    for name in ("wanted", "accepted", "rejected", "products_without_image"):
        assert stages["product_images"][name] == before["product_images"][name]
    assert stages["image_embeddings"]["reused"] == before["image_embeddings"]["reused"] - 1
    assert stages["qdrant_points"]["points"] == before["qdrant_points"]["points"]
    for stage in ("raw_products", "product_images", "image_embeddings", "qdrant_points"):
        assert stages[stage]["only_product"] == some_product


@pytest.mark.timeout(180)
def test_many_points_wait_for_their_number_too(
    ask: Ask, deployment: Deployment, synced: dict[str, Any]
) -> None:
    held = points_of(ask, "atelier")
    path = deployment.folder / "stores.yaml"
    before = path.read_text()
    document = yaml.safe_load(before)
    (found,) = (one for one in document["stores"] if one["id"] == "atelier")
    found["quality"] = {"min_side": 4000}
    path.write_text(yaml.safe_dump(document))
    shown = ask("sync", "atelier")["stages"]["qdrant_points"]
    assert points_of(ask, "atelier") == held
    waiting = ask("removals", "atelier")
    assert waiting["waiting"] == []
    count = waiting["points"]["count"]
    assert count == held == len(waiting["points"]["points"])
    assert {one["reason"] for one in waiting["points"]["points"]} == {"image_rejected"}
    assert all(one["title"] for one in waiting["points"]["points"])
    assert f"`catalog removals atelier --approve {count} --reason " in shown["approve"]
    told = ("--reason", "stricter")
    said = ask("removals", "atelier", "--approve", str(count + 1), *told, code=1)
    assert f"{count} removals of points wait" in said
    said = ask("removals", "atelier", "--approve", str(count), *told)
    assert said["approved"] == {"of": "points", "count": count, "reason": "stricter"}
    ask("sync", "atelier")
    assert points_of(ask, "atelier") == 0
    after = ask("removals", "atelier")
    assert (after["points"]["count"], after["approved"]) == (0, None)
    path.write_text(before)
    ask("sync", "atelier")
    assert points_of(ask, "atelier") == held


def test_a_wrong_file_leaves_the_accepted_one_in_force(
    ask: Ask, deployment: Deployment, synced: dict[str, Any]
) -> None:
    ask("archive", "prune")
    path = deployment.folder / "stores.yaml"
    before = path.read_text()
    path.write_text("stores:\n  - id: Atelier!\n")
    for command in (
        ["archive", "prune"],
        ["archive", "replay"],
        ["plan"],
        ["reconcile"],
        ["files", "prune"],
    ):
        ask(*command)
    said = CliRunner().invoke(main, ["plan", "atelier"], env=deployment.environ)
    assert "stays in force" in said.stderr
    assert "atelier" in said.stdout
    path.write_text(before)


def test_a_store_in_use_is_passed_over_unless_it_is_the_one_that_was_named(
    ask: Ask, deployment: Deployment, synced: dict[str, Any]
) -> None:
    settings = load_settings(deployment.environ)
    others = [store for store in load_stores(settings.stores_file).stores if store != "atelier"]
    database = Database(settings.database)
    with hold_store(database, "atelier", "somebody else"):
        for command in (["archive", "prune"], ["archive", "replay"]):
            called = CliRunner().invoke(main, [*command, "--json"], env=deployment.environ)
            assert called.exit_code == 0, called.output
            found = json.loads(called.stdout)
            assert [one["store"] for one in found["stores"]] == others
            (left_out,) = found["left_out"]
            assert left_out["store"] == "atelier"
            assert "atelier" in left_out["reason"]
            assert "left out: store atelier" in called.stderr
        assert "atelier" in ask("archive", "replay", "--store", "atelier", code=1)
    assert ask("archive", "prune")["left_out"] == []
    database.dispose()


def test_a_second_call_of_a_command_gives_way_to_the_first(
    ask: Ask, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    second: list[list[str]] = []

    def while_held(lease: StoreLease, archive: Archive, *, days: int) -> PruneReport:
        monkeypatch.setattr("catalog_pipeline.cli.archive.prune_archive", prune_archive)
        if not second:
            second.append([one["store"] for one in ask("archive", "prune")["stores"]])
        return prune_archive(lease, archive, days=days)

    monkeypatch.setattr("catalog_pipeline.cli.archive.prune_archive", while_held)
    first = [one["store"] for one in ask("archive", "prune")["stores"]]
    assert second == [first[1:]]


@pytest.mark.timeout(180)
def test_a_product_that_comes_back_is_fetched_once_and_embedded_not_at_all(
    ask: Ask, deployment: Deployment, synced: dict[str, Any], some_product: str
) -> None:
    assert synced
    shop = deployment.stores.stores["atelier"]
    settings = load_settings(deployment.environ)
    data, database = DataFolder(settings.data_dir), Database(settings.database)

    def explained() -> dict[str, Any]:
        (found,) = ask("explain", some_product, "--store", "atelier")["products"]
        return dict(found)

    def kept(picture: str) -> bool:
        return data.exists(blob_name(picture))

    before = explained()
    picture = before["images"][0]["image_sha256"]
    shop.trash(int(some_product))
    ask("sync", "atelier", "--nightly")
    assert explained()["points"] == []
    assert kept(picture)
    now = datetime.now(UTC)
    for days in (0, 7):
        prune_files(database, data, now=now + timedelta(days=days))
    database.dispose()
    assert not kept(picture)
    gone = explained()
    assert gone["state"].startswith("removed")
    assert (gone["images"][0]["outcome"], gone["owed"]) == (None, [])
    shop.restore(int(some_product))
    stages = ask("sync", "atelier")["stages"]
    images = stages["product_images"]
    assert (images["fetched"], images["unchanged"], images["requests"]) == (1, 0, 1)
    assert images["judged"] == images["remeasured"] == 0
    assert stages["image_embeddings"]["embedded"] == 0
    assert stages["qdrant_points"]["upserted"] == 1
    after = explained()
    assert after["points"] == before["points"]
    assert after["images"][0]["vector"] == before["images"][0]["vector"]
    assert kept(picture)


@pytest.mark.timeout(180)
def test_a_store_thins_out_and_ends(ask: Ask, deployment: Deployment) -> None:
    ask("sync", "nordhavn")
    many_removals_wait_for_their_number(ask, deployment)
    the_archive_explains_every_row_and_nothing_differs(ask)
    a_store_taken_out_of_the_file_is_emptied_by_its_number(ask, deployment)


def many_removals_wait_for_their_number(ask: Ask, deployment: Deployment) -> None:
    shop = deployment.stores.stores["nordhavn"]
    before = points_of(ask, "nordhavn")
    doomed = shop.product_ids("publish")[:15]
    for external_id in doomed:
        shop.delete(external_id)
    held = ask("sync", "nordhavn", "--nightly")["stages"]
    assert points_of(ask, "nordhavn") == before
    waiting = ask("removals", "nordhavn")["waiting"]
    # One or another of them may never have been a valid row.
    assert len(waiting) > 10
    assert {one["external_id"] for one in waiting} <= {str(one) for one in doomed}
    assert held["products"]["removed"] == 0
    assert f"`approve_removals: {len(waiting)}`" in held["products"]["approve"]
    told = ("--reason", "season is over")
    assert "approved" in ask("removals", "nordhavn", "--approve", "3", *told, code=1)
    said = CliRunner().invoke(
        main,
        ["removals", "nordhavn", "--approve", str(len(waiting)), *told],
        env=deployment.environ,
        catch_exceptions=False,
    )
    assert f"{len(waiting)} removals of products approved; run: catalog sync nordhavn\n" in (
        said.stdout
    )
    ask("sync", "nordhavn")
    assert ask("removals", "nordhavn")["waiting"] == []
    assert points_of(ask, "nordhavn") < before


def the_archive_explains_every_row_and_nothing_differs(ask: Ask) -> None:
    (replayed,) = ask("archive", "replay", "--store", "nordhavn")["stores"]
    assert replayed["report"]["written"] == replayed["report"]["dropped"] == 0
    assert replayed["report"]["rows"] > 0
    pruned = ask("archive", "prune")["stores"]
    assert all(one["report"]["removed"] == 0 for one in pruned)
    (compared,) = ask("reconcile", "nordhavn")["stores"]
    assert compared["repaired"] is None
    ask("files", "prune")


def a_store_taken_out_of_the_file_is_emptied_by_its_number(
    ask: Ask, deployment: Deployment
) -> None:
    held = points_of(ask, "nordhavn")
    path = deployment.folder / "stores.yaml"
    document = yaml.safe_load(path.read_text())
    document["stores"] = [one for one in document["stores"] if one["id"] != "nordhavn"]
    path.write_text(yaml.safe_dump(document))
    assert str(held) in ask("stores", "empty", "nordhavn", "--points", str(held + 1), code=1)
    report = ask("stores", "empty", "nordhavn", "--points", str(held), "--reason", "closed")
    assert report["points"] == held
    assert report["rows"]["products"] > 0
    assert not (deployment.folder / "archive" / "nordhavn").exists()
    database = Database(load_settings(deployment.environ).database)
    with database.read() as connection:
        emptied, approved = entries(connection, subject="nordhavn")
    database.dispose()
    assert (emptied.action, emptied.reason) == ("store.empty", "closed")
    assert (approved.action, approved.reason) == ("removals.approve", "season is over")
    assert approved.details["of"] == "products"
    again = ask("stores", "empty", "nordhavn", "--points", "0")
    assert again["points"] == 0
