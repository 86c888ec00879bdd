"""Output on a terminal: tables, JSON and progress."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipedrive_pipeline.ingest.outcome import EntityRead

terminal = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

PLAIN_INTERVAL_SECONDS = 2.0  # between lines where no terminal is


def print_json(facts: Any) -> None:
    """Prints one JSON document on standard output."""
    sys.stdout.write(json.dumps(facts, default=str, ensure_ascii=False, indent=2) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table; numbers are right-aligned."""
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=None,
        padding=(0, 2, 0, 0),
    )
    rows = [list(row) for row in rows]
    for position, column in enumerate(columns):
        is_number = all(isinstance(row[position], int | float) for row in rows)
        table.add_column(column, justify="right" if rows and is_number else "left")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    terminal.print(table)
    terminal.print()


def print_lines(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table of many rows, one line each however long: to search, or to page through."""
    cells = [[*columns], *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)
        )
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def print_facts(facts: Mapping[str, Any]) -> None:
    """Prints one fact per line; a long one continues below its beginning."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in facts.items():
        table.add_row(name, Text(_cell(value)))  # a company's name is no markup
    terminal.print(table)


class ReadProgress:
    """The progress of a read: one live line on a terminal, else a plain line now and then."""

    def __init__(self) -> None:
        self._is_live = errors.is_terminal
        self._status = errors.status("connecting") if self._is_live else None
        self._began: dict[str, float] = {}
        self._printed = 0.0

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Takes the live line away, before a result is printed; the next page shows it again."""
        if self._status:
            self._status.stop()

    def on_page(self, read: EntityRead) -> None:
        """Shows how far one walk is."""
        now = time.monotonic()
        began = self._began.setdefault(read.entity.name, now)
        rate = f", {read.fetched / (now - began):,.0f} rows/s" if now > began else ""
        line = f"{read.entity.name}: {read.fetched:,} rows, {read.pages} pages{rate}"
        if self._status:
            self._status.update(line)
            self._status.start()
        elif now - self._printed >= PLAIN_INTERVAL_SECONDS:
            self._printed = now
            errors.print(line)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
