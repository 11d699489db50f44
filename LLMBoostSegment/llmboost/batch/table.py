"""The rows of a batch as a table for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..files import visible

if TYPE_CHECKING:
    from .summary import Row

FIRST_COLUMNS = ["id", "status"]


def table(rows: Sequence[Row]) -> str:
    """The rows as CSV."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    names = dict.fromkeys(name for row in rows for name in row.columns())
    writer.writerow([cell(name) for name in (*FIRST_COLUMNS, *names, "seconds", "warnings", "error")])
    for row in rows:
        columns = row.columns()
        values = [row.id, row.status, *(columns.get(name, "") for name in names), row.seconds]
        writer.writerow([cell(value) for value in (*values, "; ".join(row.warnings), row.error)])
    return lines.getvalue()


def cell(value: Any) -> Any:
    """What a table shows of a value: numbers as they are; text in one line, and such that no spreadsheet takes it for
    a formula (as OWASP advises on CSV injection: with a quote before it)."""
    if not isinstance(value, str):
        return value
    harmful = value.lstrip().lstrip("\ufeff\u200b\"'").lstrip()[:1] in set("=+-@\uff1d\uff0b\uff0d\uff20")
    return ("'" if harmful or value[:1] in set("\t\r\n") else "") + visible(value)
