"""How the command line speaks: colour on a terminal, plain text in a pipe, JSON when asked.

Answers go to standard output, everything that is only of interest while waiting to standard error.
In a pipe a record is a line, however long, and its cells are two blanks or more apart, which no
cell has inside it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import string
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, TextIO
from urllib.parse import quote

import click
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.table import Table
from rich.text import Text

EXIT_FAILED = 1
EXIT_USAGE = 2

# Wrapped any narrower, words are no longer read.
_NARROWEST = 20
# In a pipe, a longer cell moves what follows it on its line, and not on every other line.
_WIDEST_COLUMN = 60


def terminal() -> Console:
    """Standard output; nothing is wrapped or cut where it is a pipe."""
    console = Console(highlight=False, file=_kept(sys.stdout))
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True)


def notices() -> Console:
    """Standard error, for what is only of interest while waiting."""
    return Console(highlight=False, file=_kept(sys.stderr))


def _kept(stream: TextIO) -> TextIO:
    """The terminal behind a stream, for good: during a step Dagster turns the stream to a file."""
    if not stream.isatty():
        return stream
    return os.fdopen(os.dup(stream.fileno()), "w", encoding=stream.encoding)


def say(console: Console, line: str, style: str = "", *, indent: int = 0) -> None:
    """One line, wrapped on a terminal; a pipe's reader breaks lines where it likes.

    Args:
        console: where to.
        line: may hold anything.
        style: of all of it.
        indent: cells that what is wrapped stands in from the left.
    """
    text = Text(printable(line), style=style)
    if not console.is_terminal:
        console.print(text, soft_wrap=True)
        return
    head, rest = text[:indent], text[indent:]
    for wrapped in rest.wrap(console, max(console.width - indent, _NARROWEST)) or [Text()]:
        wrapped.rstrip()
        console.print(head + wrapped)
        head = Text(" " * indent)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(jsonable(value), ensure_ascii=False, indent=2))


def jsonable(value: Any) -> Any:  # noqa: PLR0911
    """A value as JSON knows it: dates as ISO 8601, decimals as text, records as objects."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str | int | bool | None):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Iterable):
        return [jsonable(item) for item in value]
    return str(value)


@dataclasses.dataclass(frozen=True)
class Records:
    """Rows under their columns, as whoever reads them can use them: in a table, or line by line."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Text]]
    numbers: Sequence[str]
    unbroken: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A table on a terminal; else text that keeps its lines."""
        if console.is_terminal:
            yield self._table()
        else:
            yield Text("\n".join(self._lines()), no_wrap=True, overflow="ignore")

    def _table(self) -> Table:
        made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for column in self.columns:
            is_number = column in self.numbers
            made.add_column(
                column,
                justify="right" if is_number else "left",
                overflow="fold",
                no_wrap=is_number or column in self.unbroken,
            )
        for row in self.rows:
            made.add_row(*row)
        return made

    def _lines(self) -> Iterator[str]:
        lines = [
            list(self.columns),
            *([" ".join(cell.plain.split()) or "-" for cell in row] for row in self.rows),
        ]
        widths = [
            min(max(map(cell_len, column)), _WIDEST_COLUMN) for column in zip(*lines, strict=True)
        ]
        for line in lines:
            cells = []
            for column, cell, width in zip(self.columns, line, widths, strict=True):
                blanks = " " * (width - cell_len(cell))
                cells.append(blanks + cell if column in self.numbers else cell + blanks)
            yield "  ".join(cells).rstrip()


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    numbers: Sequence[str],
    unbroken: Sequence[str] = (),
) -> Records:
    """Rows without boxes; numbers are right-aligned, and what is unbroken is not wrapped either."""
    # Text, not markup: titles come from strangers.
    cells = [
        [value if isinstance(value, Text) else Text(_cell(value)) for value in row] for row in rows
    ]
    return Records(columns, cells, numbers, unbroken)


def linked(text: str, url: str | None) -> Text:
    """Text that a terminal which knows of links opens a web page by."""
    if url is None or not url.startswith(("http://", "https://")):
        return Text(printable(text))
    # Terminals expect a link in printable ASCII; what is not could steer them.
    link = quote(url, string.punctuation, errors="replace")
    return Text.assemble((printable(text), Style(link=link)))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return printable(str(value))


def printable(text: str) -> str:
    """Text without control characters: a title must not steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
