"""What an asset does when its stage fails: which failures are tried again, and what is said."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import dagster as dg
import pytest
from sqlalchemy import select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.catalog.schema import leases
from catalog_pipeline.defs.partitions import stores_partitions
from catalog_pipeline.defs.resources import DatabaseResource
from catalog_pipeline.defs.stage import LOG_EVERY_SECONDS, RECONNECT, log_progress, stage
from catalog_pipeline.errors import CatalogError, PermanentError, ServiceUnavailableError

STORE = "atelier"


Work = Callable[[dg.AssetExecutionContext], None]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        opened.add_dynamic_partitions("stores", [STORE])
        yield opened


@pytest.fixture
def run(
    database: Database,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Work], dg.ExecuteInProcessResult]:
    """Materialise an asset whose stage does the given work; waits nowhere between tries."""
    # Where the fixture has put its database.
    monkeypatch.setenv("CATALOG_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("CATALOG_DATABASE_URL", raising=False)
    assert (tmp_path / "catalog.sqlite").exists()

    def execute(work: Work) -> dg.ExecuteInProcessResult:
        @dg.asset(
            partitions_def=stores_partitions,
            retry_policy=dg.RetryPolicy(max_retries=RECONNECT.max_retries),
        )
        def worked(context: dg.AssetExecutionContext, database: DatabaseResource) -> None:
            with stage(context, database):
                work(context)

        return dg.materialize(
            [worked],
            instance=instance,
            partition_key=STORE,
            resources={"database": DatabaseResource()},
            raise_on_error=False,
        )

    return execute


def failing(error: Exception, tries: list[int]) -> Work:
    def work(context: dg.AssetExecutionContext) -> None:
        tries.append(context.retry_number)
        raise error

    return work


def failure(result: dg.ExecuteInProcessResult) -> dg.DagsterEvent:
    (event,) = result.filter_events(lambda one: one.is_step_failure)
    return event


def said(result: dg.ExecuteInProcessResult) -> str | None:
    user = failure(result).step_failure_data.user_failure_data
    return user.description if user else None


def test_a_lost_connection_is_tried_again_twice(
    run: Callable[[Work], dg.ExecuteInProcessResult],
) -> None:
    tries: list[int] = []

    result = run(failing(ServiceUnavailableError("database db: is away"), tries))

    assert not result.success
    assert tries == [0, 1, 2]
    error = failure(result).step_failure_data.error
    assert error is not None
    assert "database db: is away" in error.to_string()


def test_a_connection_that_comes_back_costs_one_try(
    run: Callable[[Work], dg.ExecuteInProcessResult],
) -> None:
    tries: list[int] = []

    def work(context: dg.AssetExecutionContext) -> None:
        tries.append(context.retry_number)
        if context.retry_number == 0:
            raise ServiceUnavailableError("gone for a moment")

    assert run(work).success
    assert tries == [0, 1]


@pytest.mark.parametrize("kind", [PermanentError, CatalogError])
def test_a_foreseen_failure_is_its_message_and_is_not_tried_again(
    run: Callable[[Work], dg.ExecuteInProcessResult], kind: type[CatalogError]
) -> None:
    tries: list[int] = []

    result = run(failing(kind("store atelier: the key is wrong; make another"), tries))

    assert tries == [0]
    assert said(result) == "store atelier: the key is wrong; make another"
    error = failure(result).step_failure_data.error
    assert error is not None
    assert error.cause is None
    assert error.context is None


def test_what_is_to_be_forwarded_comes_with_the_failure(
    run: Callable[[Work], dg.ExecuteInProcessResult],
) -> None:
    error = PermanentError("store atelier: a firewall blocked the request")
    error.report = "Time (UTC):  2026-11-20T06:00:00+00:00\nStatus:      403"

    result = run(failing(error, []))

    told = failure(result).step_failure_data.user_failure_data
    assert told is not None
    report = told.metadata["report"]
    assert isinstance(report, dg.MarkdownMetadataValue)
    assert report.md_str == f"```\n{error.report}\n```"


def test_a_bug_is_not_tried_again_and_keeps_its_traceback(
    run: Callable[[Work], dg.ExecuteInProcessResult],
) -> None:
    tries: list[int] = []

    result = run(failing(ZeroDivisionError("division by zero"), tries))

    assert tries == [0]
    assert said(result) == "ZeroDivisionError: division by zero"
    error = failure(result).step_failure_data.error
    assert error is not None
    assert error.cause is not None
    assert "test_stage.py" in error.cause.to_string()


def test_the_store_is_held_while_the_stage_works_and_given_back_after(
    run: Callable[[Work], dg.ExecuteInProcessResult], database: Database
) -> None:
    def owner() -> str | None:
        with database.read() as connection:
            found: str | None = connection.scalar(
                select(leases.c.owner).where(leases.c.store_id == STORE)
            )
            return found

    owners: list[str | None] = []
    result = run(lambda _context: owners.append(owner()))

    assert result.success
    assert owners[0] is not None
    assert owners[0].endswith(result.run_id)
    assert owner() is None

    run(failing(PermanentError("no"), []))
    assert owner() is None


def test_another_writer_is_named_and_nothing_is_done(
    run: Callable[[Work], dg.ExecuteInProcessResult], database: Database
) -> None:
    tries: list[int] = []

    with hold_store(database, STORE, "the-other-run"):
        result = run(failing(AssertionError("two writers"), tries))

    assert tries == []
    message = said(result) or ""
    assert message.startswith("store atelier is being written by run the-other-run (process ")
    assert message.endswith("wait for that run to end, or end it")


@pytest.mark.parametrize("fails", [False, True])
def test_a_stage_says_when_it_began_and_ended_beside_dagsters_own_events(
    run: Callable[[Work], dg.ExecuteInProcessResult],
    instance: dg.DagsterInstance,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fails: bool,
) -> None:
    monkeypatch.setenv("CATALOG_LOG_FORMAT", "json")

    def work(_context: dg.AssetExecutionContext) -> None:
        logging.getLogger("catalog_pipeline.products.walk").warning("in between")
        if fails:
            raise PermanentError("store atelier: the key\nis wrong")

    result = run(work)

    lines = [json.loads(one) for one in capfd.readouterr().err.splitlines() if one[:1] == "{"]
    end = "the stage failed after 0.0 s: store atelier: the key\nis wrong"
    assert [re.sub(r"[0-9.]+ s", "0.0 s", line["message"]) for line in lines] == [
        "the stage began",
        "in between",
        end if fails else "the stage ended after 0.0 s",
    ]
    assert {(line["run_id"], line["store_id"], line["stage"]) for line in lines} == {
        (result.run_id, STORE, "worked")
    }
    assert [entry.user_message for entry in instance.all_logs(result.run_id)].count(
        "the stage began"
    ) == 0


def logged(context: Mock) -> list[str]:
    return [call.args[0] for call in context.log.info.call_args_list]


class Clock:
    """Stands in for the module `time`."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("catalog_pipeline.defs.stage.time", made)
    return made


def test_progress_is_logged_now_and_then_with_rate_and_time_left(clock: Clock) -> None:
    context = Mock()

    report = log_progress(context, "images")
    for done in range(0, 1001, 100):
        report(done, 1000)
        clock.now += 2

    assert logged(context) == [
        "300 of 1,000 images, 50.0 a second, about 14 s left",
        "600 of 1,000 images, 50.0 a second, about 8 s left",
        "900 of 1,000 images, 50.0 a second, about 2 s left",
    ]
    assert LOG_EVERY_SECONDS <= 6


def test_progress_without_a_total_tells_its_rate(clock: Clock) -> None:
    context = Mock()

    report = log_progress(context, "records")
    for done in range(0, 501, 100):
        report(done, 0)
        clock.now += 2

    assert logged(context) == ["300 records, 50.0 a second"]


def test_progress_beyond_its_total_goes_on_without_an_end(clock: Clock) -> None:
    context = Mock()

    report = log_progress(context, "products")
    for done in range(0, 1001, 100):
        report(done, 500)
        clock.now += 2

    assert logged(context) == [
        "300 of 500 products, 50.0 a second, about 4 s left",
        "600 products, 50.0 a second",
        "900 products, 50.0 a second",
    ]


def test_progress_claims_no_rate_before_it_knows_one(clock: Clock) -> None:
    context = Mock()

    report = log_progress(context, "images")
    clock.now += 9
    report(16, 27)

    assert logged(context) == ["16 of 27 images"]
