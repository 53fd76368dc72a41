"""Lines as machines and people get them: one each, with what it is about, and harmless."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import warnings
from collections.abc import Iterator
from contextvars import copy_context
from datetime import UTC, datetime, timedelta

import pytest

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.images.decode import Decoder
from catalog_pipeline.logs import STAGES, configure_logging, log_context
from catalog_pipeline.products.circuit import FAILURES_TO_OPEN, record_failure, record_success
from catalog_pipeline.settings import load_settings
from catalog_pipeline_tests.images.sabotage import poison, sabotage

logger = logging.getLogger("catalog_pipeline.products.walk")
PACKAGE = logging.getLogger("catalog_pipeline")
FORGED = 'title\r\n\x1b[2J{"level": "info"} \u2028 \x00 \u202e end'


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    level = PACKAGE.level
    yield
    configure_logging(load_settings({}))
    logging.captureWarnings(False)
    for found in (PACKAGE, logging.getLogger(STAGES), logging.getLogger("py.warnings")):
        found.handlers.clear()
        found.propagate = True
    PACKAGE.setLevel(level)


def configure(log_format: str, levels: str = "") -> None:
    environ = {"CATALOG_LOG_FORMAT": log_format, "CATALOG_LOG_LEVELS": levels}
    configure_logging(load_settings(environ))


def test_a_json_line_says_when_what_and_about_what(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")

    with log_context(run_id="r1", store_id="atelier", stage="raw_products"):
        logger.warning("walk %s stopped", "w1")

    line = json.loads(capsys.readouterr().err)
    moment = datetime.fromisoformat(line.pop("timestamp"))
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)
    assert line == {
        "level": "warning",
        "logger": "catalog_pipeline.products.walk",
        "message": "walk w1 stopped",
        "run_id": "r1",
        "store_id": "atelier",
        "stage": "raw_products",
    }


@pytest.mark.filterwarnings("always")
def test_a_librarys_warning_is_a_json_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        configure("json")
        with log_context(store_id="atelier"):
            warnings.warn("other operators may be overridden", UserWarning, stacklevel=1)

    line = json.loads(capsys.readouterr().err)
    assert line["level"] == "warning"
    assert line["store_id"] == "atelier"
    assert "UserWarning: other operators may be overridden" in line["message"]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_stranger_cannot_write_lines_of_their_own(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    configure(log_format)

    logger.warning("refused: %s", FORGED)

    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert written.rstrip("\n").isprintable()
    if log_format == "json":
        assert json.loads(written)["message"] == f"refused: {FORGED}"


def test_a_traceback_is_part_of_its_line_and_shows_no_variable(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for log_format in ("json", "text"):
        configure(log_format)
        consumer_key = "ck_" + "canary"
        try:
            int("nobody foresaw this")
        except ValueError:
            logger.exception("a stage failed")
        written = capsys.readouterr().err
        assert "ValueError: invalid literal" in written
        assert consumer_key not in written
        if log_format == "json":
            assert "Traceback" in json.loads(written)["exception"]


def test_on_a_terminal_a_line_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    configure("text")

    with log_context(command="plan"):
        logger.warning("walk w1 stopped")

    written = capsys.readouterr().err
    assert "walk w1 stopped" in written
    assert "command=plan" in written
    assert not written.startswith("{")


def test_as_text_a_stages_lines_are_left_to_dagsters_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("text")

    with log_context(stage="products"):
        logger.warning("shown from the event log")

    assert capsys.readouterr().err == ""


def test_where_no_terminal_is_lines_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure("auto")
    logger.warning("no terminal")

    assert json.loads(capsys.readouterr().err)["message"] == "no terminal"


def test_levels_are_set_by_module_and_taken_back(capsys: pytest.CaptureFixture[str]) -> None:
    download = logging.getLogger("catalog_pipeline.images.download")

    def shown() -> list[str]:
        for found in (logger, download, logging.getLogger("catalog_pipeline.images.decode")):
            found.debug("debug of %s", found.name)
            found.info("info of %s", found.name)
        lines = capsys.readouterr().err.splitlines()
        return [json.loads(line)["message"].replace("catalog_pipeline.", "") for line in lines]

    configure("json", "products=debug,images.download=warning")
    assert shown() == [
        "debug of products.walk",
        "info of products.walk",
        "info of images.decode",
    ]

    configure("json")
    assert shown() == [
        "info of products.walk",
        "info of images.download",
        "info of images.decode",
    ]


def test_lines_come_once_however_often_it_is_configured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("json")
    configure("json")

    logging.getLogger(STAGES).info("the stage began")
    logger.info("a line")

    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_thread_takes_the_context_along(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")

    with log_context(store_id="atelier"):
        thread = threading.Thread(target=copy_context().run, args=(logger.info, "from a thread"))
        thread.start()
        thread.join()
    logger.info("after it")

    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first["store_id"] == "atelier"
    assert "store_id" not in second


def test_a_circuit_that_opens_and_one_that_closes_are_said_once_each(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "catalog_pipeline")

    for _ in range(FAILURES_TO_OPEN):
        record_failure(database, "atelier", "walk", "store atelier: nothing answers there")
    record_success(database, "atelier", "walk")
    record_success(database, "atelier", "walk")

    opened, closed = caplog.records
    assert opened.levelname == "WARNING"
    assert opened.getMessage().startswith("store atelier failed 3 times in a row and is left alone")
    assert closed.getMessage() == "store atelier answers again after 3 failures"


def test_a_poison_picture_is_named_by_its_bytes(caplog: pytest.LogCaptureFixture) -> None:
    content = poison("SIGKILL")

    with Decoder(workers=1, function=sabotage) as decoder:
        assert decoder.measure(content).problem == "corrupt"

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    digest = hashlib.sha256(content).hexdigest()
    assert record.getMessage().startswith(f"picture {digest} is poison: decoding killed its proc")
