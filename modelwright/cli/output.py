"""What commands print: tables for people, JSON and YAML for programs."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any

from modelwright.cli.text import clean, escape_json, moment, number

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 200
Column = Callable[[Any], object]


class Format(StrEnum):
    """How a command writes its answer."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class Output:
    """Writes answers to standard output in one format, and remarks to standard error."""

    def __init__(self, format: Format) -> None:
        self.format = format
        self._console: Console | None = None

    @property
    def console(self) -> "Console":
        """The terminal, made when it is first needed."""
        if self._console is None:
            # A pipe has no width of its own; it is given as much as figures need.
            width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
            console = import_module("rich.console").Console
            self._console = console(highlight=False, markup=False, emoji=False, width=width)
        return self._console

    def rows(self, records: Iterable[Any], columns: Mapping[str, Column], *, empty: str = "nothing here yet") -> None:
        """Write records: a table with the given columns, or all their fields as a list."""
        if self.format is not Format.TABLE:
            self.value(list(records))
            return
        found = list(records)
        if not found:
            self.remark(empty)
            return
        self.console.print(table(columns, ([read(record) for read in columns.values()] for record in found)))

    def record(self, record: Any, fields: Mapping[str, Column]) -> None:  # noqa: ANN401 - any record
        """Write one record: a line a field for people, or everything."""
        if self.format is not Format.TABLE:
            self.value(record)
            return
        width = max(map(len, fields), default=0)
        for name, read in fields.items():
            text = cell(read(record)).replace("\n", "\n" + " " * (width + 2))
            if text:
                sys.stdout.write(f"{name:<{width}}  {text}\n")

    def value(self, value: Any) -> None:  # noqa: ANN401 - records or JSON values
        """Write a value as JSON, or as YAML if that was asked for."""
        plain = import_module("modelwright.client.records").to_plain(value)
        if self.format is Format.YAML:
            text = import_module("yaml").safe_dump(plain, allow_unicode=True, sort_keys=False)
            sys.stdout.write(clean(text))
        else:
            sys.stdout.write(escape_json(json.dumps(plain, ensure_ascii=False, indent=2)) + "\n")

    def line(self, value: Any, text: str) -> None:  # noqa: ANN401 - a record or JSON value
        """Write one piece of a stream: `text` for people, or `value` as one line of JSON."""
        if self.format is Format.TABLE:
            sys.stdout.write(clean(text) + "\n")
        else:
            plain = import_module("modelwright.client.records").to_plain(value)
            sys.stdout.write(escape_json(json.dumps(plain, ensure_ascii=False)) + "\n")
        sys.stdout.flush()

    def remark(self, text: str) -> None:
        """Write something for people only."""
        sys.stderr.write(clean(text) + "\n")


def table(columns: Iterable[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> "Table":
    """Return a table; what stands in it is never read as markup."""
    made: Table = import_module("rich.table").Table(box=None, pad_edge=False, header_style="bold", title=title)
    text = import_module("rich.text").Text
    for name in columns:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*(value if isinstance(value, text) else text(cell(value)) for value in row))
    return made


def cell(value: object) -> str:
    """Return a value as text that is safe to show."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, Mapping):
        return clean(", ".join(f"{key}={number(item)}" for key, item in value.items()))
    if isinstance(value, list | tuple):
        return clean(", ".join(map(number, value)))
    return clean(number(value))
