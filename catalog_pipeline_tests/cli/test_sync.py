"""A store synced, looked at and searched from a terminal, with and without a daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dagster import DagsterInstance
from rich.text import Text

from catalog_pipeline.cli.main import main
from catalog_pipeline.defs.runs import EXECUTED_BY
from catalog_pipeline.demo.stores_file import SECRET_VARIABLE
from catalog_pipeline_tests.deployment import Deployment, sample_deployment
from catalog_pipeline_tests.ui.servers import dagster_servers

pytestmark = pytest.mark.end_to_end

CATALOG = Path(sys.executable).with_name("catalog")
CANARY = "cs_canary_that_must_stay_secret"


def call(deployment: Deployment, *arguments: str, **variables: str) -> Result:
    """In this process, which imports Dagster and torch once."""
    with chdir(deployment.folder):
        return CliRunner().invoke(main, arguments, env=deployment.environ | variables)


def call_process(
    deployment: Deployment, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """As a shell does."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CATALOG_")}
    return subprocess.run(
        [str(CATALOG), *arguments],
        env=environ | deployment.environ | variables,
        cwd=deployment.folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def answer(done: Result | subprocess.CompletedProcess[str]) -> Any:
    code = done.exit_code if isinstance(done, Result) else done.returncode
    assert code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with sample_deployment(tmp_path_factory.mktemp("deployment")) as opened:
        yield opened


@pytest.fixture(scope="module")
def synced(deployment: Deployment) -> Mapping[str, Any]:
    """What the first sync of a store answered."""
    found: dict[str, Any] = answer(call_process(deployment, "sync", "atelier", "--json"))
    return found


def test_a_sync_answers_with_every_stage(synced: Mapping[str, Any]) -> None:
    assert synced["succeeded"] is True
    assert synced["status"] == "success"
    assert list(synced["stages"]) == [
        "raw_products",
        "products",
        "product_images",
        "image_embeddings",
        "qdrant_points",
    ]
    points = synced["stages"]["qdrant_points"]
    assert points["upserted"] == points["points"] == synced["stages"]["product_images"]["accepted"]


def test_the_run_is_on_the_instance_that_the_ui_shows(
    deployment: Deployment, synced: Mapping[str, Any]
) -> None:
    with DagsterInstance.from_config(str(deployment.dagster_home)) as instance:
        run = instance.get_run_by_id(synced["run_id"])
        assert run is not None
        assert run.job_name == "sync_store"
        assert run.tags["dagster/partition"] == "atelier"
        assert set(instance.get_dynamic_partitions("stores")) == {"atelier", "nordhavn"}


def test_status_tells_what_was_synced(deployment: Deployment, synced: Mapping[str, Any]) -> None:
    atelier, nordhavn = answer(call(deployment, "status", "--json"))["stores"]
    stages = synced["stages"]
    assert atelier["live"] == stages["products"]["live"]
    assert atelier["accepted"] == stages["product_images"]["accepted"]
    assert atelier["points"] == stages["qdrant_points"]["points"]
    assert nordhavn["last_walk"] is None
    text = call(deployment, "status").stdout
    assert "nordhavn: never synced; run: catalog sync nordhavn" in text
    assert nordhavn["concerns"][0]["command"] == "catalog sync nordhavn"
    shown = call_process(deployment, "status", FORCE_COLOR="1", COLUMNS="80", TERM="xterm").stdout
    plain = Text.from_ansi(shown).plain
    assert max(map(len, plain.splitlines())) <= 80
    assert "→ catalog sync nordhavn" in plain


def test_search_by_a_product_and_by_its_picture(
    deployment: Deployment, synced: Mapping[str, Any]
) -> None:
    assert synced["succeeded"]
    blob = next(path for path in (deployment.folder / "images").rglob("*") if path.is_file())
    by_picture = answer(call(deployment, "search", "--image", str(blob), "--limit", "3", "--json"))
    hits = by_picture["hits"]
    assert len(hits) == 3
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    best = hits[0]
    named = f"atelier:{best['payload']['external_id']}"
    others = answer(call(deployment, "search", "--product", named, "--json"))["hits"]
    assert best["product_id"] not in [hit["product_id"] for hit in others]
    cheap = answer(
        call(
            deployment,
            *("search", "--product", named, "--max-price", "60", "--currency", "eur", "--json"),
        )
    )["hits"]
    assert cheap
    assert all(hit["payload"]["price"] <= 60 for hit in cheap)
    table = call(deployment, "search", "--product", named)
    assert table.stdout.startswith("score")


def test_search_by_words_fills_a_table_and_a_page(
    deployment: Deployment, synced: Mapping[str, Any]
) -> None:
    assert synced["succeeded"]
    asked = ("search", "--text", "a dress", "--category", "Dresses", "--in-stock")
    done = call(deployment, *asked, "--json", "--html", "found.html")
    hits = answer(done)["hits"]
    assert "Wrote found.html" in done.stderr
    assert hits
    assert all(hit["payload"]["in_stock"] for hit in hits)
    assert all("Dresses" in hit["payload"]["categories"] for hit in hits)
    page = (deployment.folder / "found.html").read_text("utf-8")
    assert "<bdi>a dress</bdi>" in page
    assert page.count("<article") == page.count('<img src="data:image/webp') == len(hits)
    table = call(deployment, *asked).stdout
    assert [line.split()[0] for line in table.splitlines()[1:]] == [
        f"{hit['score']:.3f}" for hit in hits
    ]


def test_the_stores_answer_their_check(deployment: Deployment) -> None:
    done = call(deployment, "stores", "check")
    assert done.exit_code == 0, done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok", "ok"]


def test_a_wrong_secret_fails_the_sync_with_what_the_store_said(deployment: Deployment) -> None:
    done = call_process(deployment, "sync", "nordhavn", **{SECRET_VARIABLE: CANARY})
    assert done.returncode == 1
    assert "Consumer secret is invalid." in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    checked = call(deployment, "stores", "check", "nordhavn", **{SECRET_VARIABLE: CANARY})
    assert checked.exit_code == 1
    assert "secret" in checked.stdout
    for path in deployment.folder.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path
    assert CANARY not in done.stdout + done.stderr + checked.stdout


def test_a_sample_reads_no_more_than_it_was_asked_to(tmp_path: Path) -> None:
    with sample_deployment(tmp_path, products_per_store=60, picture_size=256) as opened:
        unread = call(opened, "plan", "nordhavn").stdout
        assert "unknown" in unread
        assert "`catalog sync nordhavn --sample 50` tells" in unread
        found = answer(call(opened, "sync", "nordhavn", "--sample", "10", "--json"))
        walk = found["stages"]["raw_products"]
        assert walk["products"] == 10
        assert walk["complete"] is False
        assert found["stages"]["products"]["seen"] == 10
        assert_tells_of_the_sample(found)
        assert_plan_tells_the_same(opened, found["sample"]["full_sync"])
        # Nothing is missing afterwards: the next sync reads the whole store.
        whole = answer(call(opened, "sync", "nordhavn", "--full", "--json"))
        assert whole["stages"]["raw_products"]["complete"] is True
        assert whole["stages"]["products"]["new"] > 10
        assert (
            found["sample"]["full_sync"]["products"] == whole["stages"]["raw_products"]["products"]
        )
        # Of a store that is there already, a sample takes nothing away.
        again = call(opened, "sync", "nordhavn", "--sample", "10")
        assert again.exit_code == 0, again.stderr
        told = dict(
            line.split(maxsplit=1) for line in again.stdout.splitlines() if line[:1].strip()
        )
        assert told["sample"].startswith("10 of ")
        assert told["removed"].startswith("nothing")
        assert told["next"] == "catalog sync nordhavn"
        points = answer(call(opened, "status", "--json"))["stores"][1]["points"]
        assert points == whole["stages"]["qdrant_points"]["points"]


def assert_plan_tells_the_same(opened: Deployment, expected: Mapping[str, Any]) -> None:
    (planned,) = answer(call(opened, "plan", "nordhavn", "--json"))["stores"]
    told = planned["full_sync"]
    assert {name: told[name] for name in ("products", "pictures", "vectors", "bytes")} == {
        name: expected[name] for name in ("products", "pictures", "vectors", "bytes")
    }
    said = call(opened, "plan", "nordhavn").stdout
    assert f"{expected['products']:,} products, about {expected['pictures']:,} pictures" in said
    assert "unknown" not in said


def assert_tells_of_the_sample(found: Mapping[str, Any]) -> None:
    sample, stages = found["sample"], found["stages"]
    assert sample["products"] == 10
    assert sample["announced"] == stages["raw_products"]["announced"]
    assert sample["currency"] == stages["raw_products"]["currency"]
    assert sample["accepted"] == stages["product_images"]["accepted"] > 0
    assert sum(sample["rejected"].values()) == sum(
        row["count"] for row in stages["product_images"].get("rejected", [])
    )
    assert sample["removed_products"] == sample["removed_points"] == {}
    for one in sample["neighbours"]:
        assert 0 < len(one["nearest"]) <= 3
        scores = [score for _, score in one["nearest"]]
        assert scores == sorted(scores, reverse=True)
    assert sample["neighbours"]
    full = sample["full_sync"]
    # Of ten products each has a picture at most; nearly all of them pass.
    assert sample["accepted"] < full["vectors"] <= full["pictures"] <= full["products"]
    assert full["seconds"] > 0
    assert full["bytes"] > full["pictures"] * 1_000


@pytest.mark.timeout(180)
def test_with_a_live_daemon_the_run_is_queued_and_followed(tmp_path: Path) -> None:
    with (
        sample_deployment(tmp_path, products_per_store=20, paused=True) as opened,
        dagster_servers(opened),
    ):
        found = answer(call_process(opened, "sync", "atelier", "--json"))
        assert found["succeeded"] is True
        assert found["stages"]["qdrant_points"]["points"] > 0
        with DagsterInstance.from_config(str(opened.dagster_home)) as instance:
            run = instance.get_run_by_id(found["run_id"])
            assert run is not None
            # Its process was started by a code server, and named itself.
            assert ".dagster/grpc_info" in run.tags
            assert EXECUTED_BY in run.tags
