"""The real webserver and daemon over the code location: runs from the UI, and what its pages show.

One module, so that parallel test processes start the servers once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from itertools import pairwise
from typing import NamedTuple

import dagster as dg
import pytest
from playwright.sync_api import Page, expect

from catalog_pipeline_tests.deployment import STAGES
from catalog_pipeline_tests.ui.browser import (
    GROUPS,
    browser_page,
    find_chromium,
    launch_partition,
    open_lineage,
)
from catalog_pipeline_tests.ui.servers import DagsterServers, Listener, Run, listeners_of

pytestmark = pytest.mark.timeout(300)

# Dagster's own: a new instance has no cursors, and the daemon's code server is replaced every
# minute, of which the old one complains.
EXPECTED_WARNINGS = re.compile(
    r"No cursor for event type DagsterEventType\.RUN_(FAILURE|SUCCESS), ignoring older events$"
    r"|No heartbeat received in 20 seconds, shutting down$"
)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class FirstRuns(NamedTuple):
    """Three runs launched at once, when all of them are over."""

    from_launchpad: str
    same_store: str
    from_graph: str
    runs: dict[str, Run]
    listeners: frozenset[Listener]


@pytest.fixture(scope="module")
def first_runs(servers: DagsterServers) -> FirstRuns:
    from_launchpad = servers.launch("sync_store", "atelier")
    same_store = servers.launch("__ASSET_JOB", "atelier", STAGES[:1])
    from_graph = servers.launch("__ASSET_JOB", "nordhavn", STAGES)
    listeners: set[Listener] = set()
    runs = servers.wait_for(
        [from_launchpad, same_store, from_graph],
        meanwhile=lambda: listeners.update(listeners_of(servers.family())),
    )
    return FirstRuns(from_launchpad, same_store, from_graph, runs, frozenset(listeners))


@pytest.fixture
def page(servers: DagsterServers) -> Iterator[Page]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no chromium or google-chrome on the PATH")
    with browser_page(chromium, servers.url) as opened:
        yield opened


def test_runs_from_the_launchpad_and_from_the_asset_graph_succeed(
    servers: DagsterServers, first_runs: FirstRuns
) -> None:
    assert {run_id: run.status for run_id, run in first_runs.runs.items()} == dict.fromkeys(
        first_runs.runs, "SUCCESS"
    )
    for stage in STAGES:
        status = servers.partition_status(stage)
        assert status["materialized"] == {"atelier", "nordhavn"}, stage
        assert status["failed"] == status["unmaterialized"] == set(), stage


def test_every_run_is_one_process(servers: DagsterServers, first_runs: FirstRuns) -> None:
    home = servers.deployment.dagster_home
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for run_id in first_runs.runs:
            records = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START)
            steps = [entry.dagster_event for entry in records if entry.dagster_event]
            asked = STAGES[:1] if run_id == first_runs.same_store else STAGES
            # What starts from the asset graph runs the assets' checks as well.
            assert [step.step_key for step in steps if step.step_key in STAGES] == asked
            assert len({step.pid for step in steps}) == 1


def test_runs_of_one_store_wait_for_each_other(
    servers: DagsterServers, first_runs: FirstRuns
) -> None:
    assert first_runs.runs
    with dg.DagsterInstance.from_config(str(servers.deployment.dagster_home)) as instance:
        # Those that the sensors asked for meanwhile are among them.
        records = instance.get_run_records()
    spans: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        if record.start_time is not None and record.end_time is not None:
            store_id = record.dagster_run.tags.get("dagster/partition", "")
            spans.setdefault(store_id, []).append((record.start_time, record.end_time))
    assert len(spans["atelier"]) >= 2
    for times in spans.values():
        times.sort()
        for (_, ended), (started, _) in pairwise(times):
            assert ended <= started


def test_servers_and_runs_listen_on_loopback_alone(
    servers: DagsterServers, first_runs: FirstRuns
) -> None:
    webserver = servers.processes[0].pid

    assert (webserver, servers.port) in {(one.pid, one.port) for one in first_runs.listeners}
    elsewhere = [one for one in first_runs.listeners if not ip_address(one.address).is_loopback]
    assert elsewhere == []


def test_neither_server_has_anything_to_warn_of(
    servers: DagsterServers, first_runs: FirstRuns
) -> None:
    lines = [COLOUR.sub("", line) for line in servers.output.splitlines()]
    complaints = [
        line
        for line in lines
        if re.search(r"warning|error|critical|traceback|deprecated", line, re.IGNORECASE)
        and not EXPECTED_WARNINGS.search(line)
    ]

    assert lines
    assert complaints == []


def test_the_lineage_shows_the_five_assets_in_their_groups(
    page: Page, first_runs: FirstRuns
) -> None:
    open_lineage(page)

    graph = page.locator("svg").filter(has_text="qdrant_points")
    for name in (*GROUPS, *STAGES):
        expect(graph.get_by_text(name, exact=True).first).to_be_visible()


def test_an_assets_page_says_what_it_is_and_how_its_partitions_stand(
    page: Page, first_runs: FirstRuns
) -> None:
    page.goto("/assets/product_images?view=overview")
    for text in (
        "The pictures of the store's products, with the quality gate's verdict on each.",
        "When it fails",
        "catalogue",
        "Python",
        "File",
        "$CATALOG_DATA_DIR/images/",
        "SHA-256 of the picture's bytes: its identity everywhere.",
        "sync_store",
    ):
        expect(page.get_by_text(text, exact=len(text) < 12).first).to_be_visible()

    page.goto("/assets/product_images?view=partitions&partition=nordhavn")
    expect(page.get_by_text("Materialized (2)")).to_be_visible()
    expect(page.get_by_text("Failed (0)")).to_be_visible()
    for store_id in ("atelier", "nordhavn"):
        expect(page.get_by_text(store_id, exact=True).first).to_be_visible()


def test_a_partition_is_run_from_the_graph_and_its_counts_are_read_in_the_ui(
    page: Page, servers: DagsterServers, first_runs: FirstRuns
) -> None:
    known = servers.runs().keys()
    open_lineage(page)
    launch_partition(page, "nordhavn")
    expect(page.get_by_text("Launched run").first).to_be_visible()
    (run_id,) = servers.runs().keys() - known
    run = servers.wait_for([run_id])[run_id]
    assert (run.status, run.partition) == ("SUCCESS", "nordhavn")

    page.goto(f"/runs/{run_id}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    expect(page.get_by_text("partition: nordhavn")).to_be_visible()
    expect(page.get_by_text("5 assets")).to_be_visible()

    page.goto("/assets/qdrant_points?view=partitions&partition=nordhavn")
    expect(page.get_by_text(run_id[:8], exact=True)).to_be_visible()
    with dg.DagsterInstance.from_config(str(servers.deployment.dagster_home)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("qdrant_points"))
    assert event is not None
    assert event.run_id == run_id
    assert event.asset_materialization is not None
    found = event.asset_materialization.metadata
    assert found["upserted"].value == 0
    for name in ("points", "unchanged", "collection", "status"):
        row = page.get_by_role("row").filter(has=page.get_by_text(name, exact=True))
        expect(row.get_by_text(str(found[name].value), exact=True).first).to_be_visible()
