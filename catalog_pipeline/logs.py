"""Log lines: JSON documents for machines, readable on a terminal, each with what it is about.

Only form, place and level are decided here. Modules log through the standard library, by loggers of
their own names; whoever knows the run, the store and the stage binds them with `log_context`, and a
thread that works for them takes them along with `contextvars.copy_context`. No line may hold a
secret: what a store said is redacted where it comes in, not here.
"""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager

import structlog
from structlog.contextvars import bound_contextvars, get_contextvars, merge_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

from catalog_pipeline.settings import Settings

_PACKAGE = "catalog_pipeline"
# Dagster has events of its own for the beginning and end of a stage, so its log is not given these.
STAGES = f"{_PACKAGE}.defs.stage"
# Where the standard library logs what the warnings module would print.
_WARNINGS = "py.warnings"


def configure_logging(settings: Settings) -> None:
    """Send the package's log lines to standard error; another call replaces what the last one set.

    Where lines are JSON, so are the warnings of libraries, which would be lines of their own form.
    Dagster captures the same lines for its event log, whatever is set here but the levels.
    """
    handler = _Console(settings)
    logging.captureWarnings(is_json(settings))
    for name in (_PACKAGE, STAGES, _WARNINGS):
        logger = logging.getLogger(name)
        for old in logger.handlers[:]:
            if isinstance(old, _Console):
                old.forget_levels()
                logger.removeHandler(old)
        # Dagster's handler changes the record, so ours comes before it.
        logger.handlers.insert(0, handler)
    logging.getLogger(STAGES).propagate = False
    logging.getLogger(_PACKAGE).setLevel(logging.INFO)
    handler.set_levels()


def log_context(**facts: str) -> AbstractContextManager[None]:
    """Add facts, such as store_id, to every line that the block logs."""
    return bound_contextvars(**facts)


def is_json(settings: Settings) -> bool:
    """Whether lines are JSON: as it is set, or else wherever standard error is no terminal."""
    if settings.log_format == "auto":
        return not sys.stderr.isatty()
    return settings.log_format == "json"


class _Console(logging.Handler):
    """Writes to what is standard error at the time."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._levels = {
            f"{_PACKAGE}.{module}": level.upper() for module, level in settings.log_levels.items()
        }
        self._is_json = is_json(settings)
        self.setFormatter(_json_lines() if self._is_json else _readable_lines())

    def set_levels(self) -> None:
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)

    def forget_levels(self) -> None:
        for name in self._levels:
            logging.getLogger(name).setLevel(logging.NOTSET)

    def filter(self, record: logging.LogRecord) -> bool:
        # On a terminal a stage's lines are shown from Dagster's log.
        if not self._is_json and "stage" in get_contextvars():
            return False
        return super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # In one piece: other threads and processes write to the same place.
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - a line that cannot be written must not stop the work
            self.handleError(record)


def _json_lines() -> logging.Formatter:
    # Escapes every control character, so that a line is always one line.
    return _formatter(
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(),
    )


def _readable_lines() -> logging.Formatter:
    return _formatter(
        _on_one_line,
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # The usual one shows local variables, and with them keys.
            exception_formatter=structlog.dev.plain_traceback,
        ),
    )


def _formatter(*rendering: Processor) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
    )


def _on_one_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """What a stranger says must neither steer the terminal nor pass for a line of ours."""
    text = str(event["event"])
    event["event"] = "".join(one if one.isprintable() else " " for one in text)
    return event
