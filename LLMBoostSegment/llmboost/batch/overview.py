"""A batch's rows as the entries of its overview, see :mod:`..report.overview`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..card import Card
from ..provenance import NOTICE
from ..report.entry import Entry
from ..report.overview import PICTURES, write_overview
from .summary import OK, Row


def picture_of(id: str) -> str:
    """The file of a case's small picture, in the output folder."""
    return f"{PICTURES}/{id}.jpg"


def write(folder: Path, card: Card, rows: Iterable[Row]) -> None:
    """Write the overview of all rows of a folder; raises LLMBoostError if it cannot be written."""
    write_overview(folder, card, [_entry(row) for row in rows], f"{NOTICE}: research use only")


def _entry(row: Row) -> Entry:
    picture, columns, compared = picture_of(row.id), row.columns(), row.compared()
    found = {name: value for name, value in columns.items() if name not in compared}
    return Entry(
        row.id,
        row.status,
        fine=row.status == OK,
        picture=picture if picture in row.results else "",
        files=[name for name in row.results if name != picture],
        values=found | compared,
        compared=frozenset(compared),
        flags=row.flags(),
        doubt=row.doubt(),
        told=[*([row.error] if row.error else []), *row.warnings],
    )
