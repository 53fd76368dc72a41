"""The real webserver and daemon over the code location: runs from the UI, and what its pages show.

One module, so that parallel test processes start the servers once.
"""

from __future__ import annotations

import base64
import io
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address
from itertools import pairwise
from typing import NamedTuple

import dagster as dg
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from catalog_pipeline_tests.deployment import STAGES
from catalog_pipeline_tests.ui.browser import (
    GROUPS,
    automation_switch,
    browser_page,
    find_chromium,
    launch_partition,
    launched_run,
    metadata_row,
    open_event,
    open_lineage,
    select_upstream,
    show_picture,
    switched_off,
)
from catalog_pipeline_tests.ui.servers import DagsterServers, Listener, Run, listeners_of

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(300)]

# Dagster's own: a new instance has no cursors, and the daemon's code server is replaced every
# minute, of which the old one complains.
EXPECTED_WARNINGS = re.compile(
    r"No cursor for event type DagsterEventType\.RUN_(FAILURE|SUCCESS), ignoring older events$"
    r"|No heartbeat received in 20 seconds, shutting down$"
    # What a check finds at a store, in a run's own log.
    r"|- standing_checks - store \w+: "
)
# Of twenty products: more than a check lets pass.
BROKEN = 6
REPORT = "report_stores"
VERDICTS = ("Succeeded", "Failed", "Not Evaluated")
AUTOMATION = """{
  repositoryOrError(repositorySelector: {
    repositoryName: "__repository__", repositoryLocationName: "catalog_pipeline"
  }) { ... on Repository { sensors { name } schedules { name } } }
}"""
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


@pytest.fixture(scope="module")
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


def test_the_lineage_leads_from_the_stores_to_the_alias(page: Page, first_runs: FirstRuns) -> None:
    open_lineage(page)

    graph = page.locator("svg").filter(has_text="qdrant_points")
    for name in (*GROUPS, "woocommerce_stores", *STAGES, "search_alias", "store_report"):
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


def test_a_partition_is_run_from_the_graph_and_the_check_that_fails_names_the_store(
    page: Page, servers: DagsterServers, first_runs: FirstRuns
) -> None:
    store = servers.deployment.stores.stores["nordhavn"]
    # A sync that comes after a check hides its result.
    with switched_off(page, "poll_stores"):
        for product in store.product_ids()[:BROKEN]:
            store.edit(product, name=None)
        open_lineage(page)
        select_upstream(page, "qdrant_points")
        run_id = _over(servers, launch_partition(page, "nordhavn"))
        run = servers.runs()[run_id]
        assert (run.status, run.partition) == ("SUCCESS", "nordhavn")

        page.goto("/assets/products?view=checks&checkDetail=few_are_quarantined")
        expect(page.get_by_text("When it fails")).to_be_visible()
        told = page.get_by_text(re.compile(r"^nordhavn: \d+ records in quarantine \(name: "))
        expect(told.first).to_be_visible()
        _expect_verdict(page, "few_are_quarantined", "Failed")
        for name in ("currency_is_the_stores", "no_removals_wait", "prices_are_plausible"):
            _expect_verdict(page, name, "Succeeded")

    page.goto(f"/runs/{run_id}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    expect(page.get_by_text("partition: nordhavn")).to_be_visible()

    event = next(
        event
        for event in servers.materialisations("qdrant_points", "nordhavn")
        if event.run_id == run_id
    )
    open_event(page, "qdrant_points", event.timestamp)
    expect(page.get_by_text(run_id[:8], exact=True)).to_be_visible()
    assert event.asset_materialization is not None
    found = event.asset_materialization.metadata
    assert found["upserted"].value == 0
    for name in ("points", "unchanged", "collection", "status"):
        row = metadata_row(page, name)
        expect(row.get_by_text(str(found[name].value), exact=True).first).to_be_visible()


@pytest.mark.parametrize(
    ("asset", "picture"),
    [
        ("product_images", "contact_sheet"),
        ("product_images", "histograms"),
        ("image_embeddings", "map"),
        ("qdrant_points", "neighbours"),
    ],
)
def test_a_materialisations_picture_is_seen(
    page: Page, servers: DagsterServers, first_runs: FirstRuns, asset: str, picture: str
) -> None:
    drawn = servers.drawn(asset, picture, "atelier")
    encoded = re.search(r"base64,([^)]+)\)", drawn.markdown)
    assert encoded is not None
    width, height = Image.open(io.BytesIO(base64.b64decode(encoded[1]))).size

    open_event(page, asset, drawn.timestamp)
    seen = show_picture(page, picture)

    # 0 until the browser has decoded it, and for ever where it cannot.
    expect(seen).to_have_js_property("naturalWidth", width)
    expect(seen).to_have_js_property("naturalHeight", height)
    assert width > height / 3 > 50


def test_sensors_and_schedules_are_listed_and_on(page: Page, servers: DagsterServers) -> None:
    found = servers.graphql(AUTOMATION)["repositoryOrError"]
    names = {one["name"] for kind in ("sensors", "schedules") for one in found[kind]}
    assert {"keep_stores", "poll_stores", "refresh_report", "nightly_walks"} <= names

    page.goto("/automation")

    for name in names:
        expect(automation_switch(page, name)).to_be_checked()


def test_the_report_is_made_in_the_ui_and_its_table_agrees_with_the_database(
    page: Page, servers: DagsterServers, first_runs: FirstRuns
) -> None:
    # Another report, of the sensor's, would begin to make the same check again.
    with switched_off(page, "refresh_report"):
        servers.wait_for([run_id for run_id, run in servers.runs().items() if run.job == REPORT])
        page.goto("/assets/store_report?view=overview")
        page.get_by_role("button", name="Materialize").first.click()
        run_id = _over(servers, launched_run(page))
        _shows_the_report(page, servers, run_id)


def _shows_the_report(page: Page, servers: DagsterServers, run_id: str) -> None:
    assert servers.runs()[run_id].status == "SUCCESS"

    event = next(
        event for event in servers.materialisations("store_report") if event.run_id == run_id
    )
    open_event(page, "store_report", event.timestamp)
    with closing(sqlite3.connect(servers.deployment.folder / "catalog.sqlite")) as database:
        points = dict(database.execute("select store_id, count(*) from points group by store_id"))
    assert points.keys() == servers.deployment.stores.stores.keys()
    for store_id, count in points.items():
        row = page.get_by_role("row").filter(
            has=page.get_by_role("cell").get_by_text(store_id, exact=True)
        )
        expect(row.last.get_by_text(str(count), exact=True).first).to_be_visible()

    page.goto("/assets/store_report?view=checks&checkDetail=every_store_passes")
    verdict = "Succeeded" if _verdict(servers, run_id) else "Failed"
    _expect_verdict(page, "every_store_passes", verdict)


def _verdict(servers: DagsterServers, run_id: str) -> bool:
    """What the report's check said in a run."""
    home = str(servers.deployment.dagster_home)
    with dg.DagsterInstance.from_config(home) as instance:
        events = [entry.dagster_event for entry in instance.all_logs(run_id)]
    (passed,) = (
        event.asset_check_evaluation_data.passed
        for event in events
        if event is not None and event.event_type_value == "ASSET_CHECK_EVALUATION"
    )
    return passed


def _expect_verdict(page: Page, check: str, verdict: str) -> None:
    """What the list of an asset's checks says of one of them."""
    words = " or ".join(f"contains(., '{word}')" for word in VERDICTS)
    item = page.get_by_text(check, exact=True).first.locator(f"xpath=ancestor::*[{words}][1]")
    # The name stands there once to be read and once to be measured.
    expect(item).to_have_text(re.compile(f"^({check})+{verdict}$"))


def _over(servers: DagsterServers, begin: str) -> str:
    """The whole id of a run that is known by how its id begins, once it is over."""
    (run_id,) = [run_id for run_id in servers.runs() if run_id.startswith(begin)]
    servers.wait_for([run_id])
    return run_id
