"""Questions on a machine without the model's checkpoint: answered as far as can be, and no more.

As where syncs run on one machine, and a person asks on another.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from catalog_pipeline.cli.main import main
from catalog_pipeline_tests.deployment import Deployment, sample_deployment

MODEL = "hf-hub:atelier/absent"
REMEDY = "`hf download atelier/absent`"
OF_VECTORS = ("embed", "embed_at_most", "load", "refresh", "remove", "removals_wait", "seconds")
SCRIPT = """
import json, sys
from click.testing import CliRunner
from catalog_pipeline.cli.main import main
asked = json.loads(sys.argv[1])
answers = [CliRunner().invoke(main, words, catch_exceptions=False) for words in asked]
print(json.dumps([[one.exit_code, one.stdout, one.stderr] for one in answers]))
"""
SAMPLED = "atelier"
QUESTIONS = {
    "plan": ["plan"],
    "plan, in JSON": ["plan", "--json"],
    "explain": ["explain", "{product}"],
    "explain, in JSON": ["explain", "{product}", "--json"],
    "removals": ["removals", SAMPLED],
    "removals, in JSON": ["removals", SAMPLED, "--json"],
    "approval": ["removals", SAMPLED, "--approve", "1", "--reason", "unseen"],
    "reconcile": ["reconcile", SAMPLED],
    "status": ["status"],
    "status, in JSON": ["status", "--json"],
}


class Answer(NamedTuple):
    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One store of two is known by a sample."""
    with sample_deployment(tmp_path_factory.mktemp("asked"), products_per_store=20) as opened:
        words = ["sync", SAMPLED, "--sample", "10", "--json"]
        done = CliRunner().invoke(main, words, env=opened.environ)
        assert done.exit_code == 0, done.output
        yield opened


@pytest.fixture(scope="module")
def product(deployment: Deployment) -> str:
    """A product of the sample that has a point."""
    for external_id in deployment.stores.stores[SAMPLED].product_ids("publish"):
        named = f"{SAMPLED}:{external_id}"
        words = ["explain", named, "--json"]
        found = CliRunner().invoke(main, words, env=deployment.environ)
        if found.exit_code == 0 and json.loads(found.stdout)["products"][0]["points"]:
            return named
    pytest.fail("no product of the sample has a point")


@pytest.fixture(scope="module")
def answers(
    deployment: Deployment, product: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Answer]:
    """What each question is answered with; makes sure that none of them asks the hub."""
    asked = [[word.format(product=product) for word in words] for words in QUESTIONS.values()]
    with socket.create_server(("127.0.0.1", 0)) as hub:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, json.dumps(asked)],
            env=os.environ
            | deployment.environ
            | {
                "CATALOG_MODEL": MODEL,
                "HF_HUB_CACHE": str(tmp_path_factory.mktemp("cache")),
                "HF_ENDPOINT": f"http://127.0.0.1:{hub.getsockname()[1]}",
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        hub.settimeout(0)
        with pytest.raises(BlockingIOError):
            hub.accept()
    assert done.returncode == 0, done.stderr
    found = [Answer(*one) for one in json.loads(done.stdout)]
    return dict(zip(QUESTIONS, found, strict=True))


def in_json(answer: Answer) -> Any:
    assert answer.code == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_missing_is_said_in_a_line(answers: dict[str, Answer], question: str) -> None:
    said = [line for line in answers[question].stderr.splitlines() if REMEDY in line]
    assert len(said) == 1, answers[question].stderr
    assert "Traceback" not in answers[question].stderr


def test_a_plan_tells_what_no_model_decides(answers: dict[str, Answer]) -> None:
    sampled, unread = in_json(answers["plan, in JSON"])["stores"]
    for one in (sampled, unread):
        assert {name: one[name] for name in OF_VECTORS} == dict.fromkeys(OF_VECTORS)
        assert one["fetch"] == one["walks"] == 0
    assert unread["full_sync"] is None
    assert sampled["full_sync"]["vectors"] > 0
    assert sampled["full_sync"]["bytes"] is None
    assert answers["plan"].code == 0
    head, row, *_ = (line.split() for line in answers["plan"].stdout.splitlines())
    untold = {name for name, cell in zip(head, row, strict=False) if cell == "-"}
    assert untold == {"embed", "load", "refresh", "remove"}
    assert "an unknown size on disk" in answers["plan"].stdout


def test_an_explanation_stops_before_the_vectors(answers: dict[str, Answer]) -> None:
    (found,) = in_json(answers["explain, in JSON"])["products"]
    assert found["points"] is None
    assert found["owed"] == []
    assert found["images"][0]["accepted"] is True
    shown = answers["explain"].stdout
    assert "accepted" in shown
    assert "owed       nothing before its vectors" in shown


def test_removals_of_products_are_listed(answers: dict[str, Answer]) -> None:
    assert in_json(answers["removals, in JSON"]) == {
        "store": SAMPLED,
        "waiting": [],
        "points": None,
        "approved": None,
    }
    assert answers["removals"].stdout == f"{SAMPLED}: no removal of products waits.\n"


def test_points_that_cannot_be_seen_are_not_approved(answers: dict[str, Answer]) -> None:
    assert answers["approval"].code == 1
    assert "no removal of points can be approved" in answers["approval"].stderr


def test_collections_that_cannot_be_named_are_not_compared(answers: dict[str, Answer]) -> None:
    assert answers["reconcile"].code == 1
    assert answers["reconcile"].stdout == ""


def test_status_counts_the_rows_and_no_vectors(answers: dict[str, Answer]) -> None:
    sampled, unread = in_json(answers["status, in JSON"])["stores"]
    assert sampled["live"] > 0
    for one in (sampled, unread):
        assert one["embedded"] is one["points"] is one["owed_pictures"] is None
        assert one["removals"] == {"points": None}
    assert answers["status"].code == 0
    head, row, *_ = (line.split() for line in answers["status"].stdout.splitlines())
    untold = {name for name, cell in zip(head, row, strict=False) if cell == "-"}
    assert untold == {"vectors", "points", "owed"}
