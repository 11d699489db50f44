"""A batch at a glance: one HTML page in its folder, the cases that most need a look first."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..card import Card
from ..errors import LLMBoostError
from ..files import visible, write_whole
from .cohort import ENOUGH, UNUSUAL
from .contactsheets import write_contact_sheets
from .entry import Entry, Value, unusual_in_words, worst_first
from .page import STYLE
from .templating import render, source

OVERVIEW = "overview.html"
PICTURES = "overview"  # the folder beside the page: in the page, 20,000 pictures would take 270 MB
SHEETS = f"{PICTURES}/contact_sheets.pdf"
MARK = '<meta name="generator" content="LLMBoost overview">'


def check_overview(folder: Path, way_out: str) -> None:
    """Raises LLMBoostError if another page than a batch's lies where the overview goes; ``way_out``: what to do."""
    path = folder / OVERVIEW
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            ours = MARK in file.read(2000)
    except (FileNotFoundError, IsADirectoryError):
        path = folder / SHEETS
        ours = not path.exists()  # these alone are somebody else's
    except OSError:
        ours = False
    if not ours:
        raise LLMBoostError(f"{path}: exists and is no batch's overview; {way_out}")


def write_overview(folder: Path, card: Card, entries: Sequence[Entry], notice: str) -> None:
    """Write the page and the contact sheets, each whole or not at all.

    Args:
        card: of the model.
        notice: what the results are not for.

    Raises:
        LLMBoostError: it cannot be written.
    """
    script = source("overview.js")
    columns = list(dict.fromkeys(name for entry in entries for name in entry.values))
    cases = worst_first(entries)
    words = f"marked where the robust z (median, MAD) of at least {ENOUGH} cases is beyond ±{UNUSUAL}"
    page = render(
        "overview.html",
        mark=MARK,
        style=STYLE,
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        card=card,
        notice=notice,
        sheets=SHEETS,
        counts=[
            ("cases", len(entries)),
            ("without a result", sum(not entry.fine for entry in entries)),
            ("to look at closely", sum(entry.fine and bool(entry.flags) for entry in entries)),
            ("unusual in the cohort", sum(bool(unusual) for _, unusual in cases)),
        ],
        outliers=words,
        data=_json(
            {"columns": [visible(name) for name in columns], "rows": [_row(entry, columns, z) for entry, z in cases]}
        ),
    )
    write_whole(folder / OVERVIEW, page.encode(errors="backslashreplace"))  # first: it tells whose the folder is
    write_contact_sheets(folder / SHEETS, folder, f"{card.title}. {notice}", cases)


def _row(entry: Entry, columns: Sequence[str], unusual: dict[str, float]) -> dict[str, Any]:
    row = {
        "id": visible(entry.id),
        "status": entry.status,
        "fine": entry.fine,
        "picture": quote(entry.picture),
        "files": [[visible(name), quote(name)] for name in entry.files],
        "values": [_value(entry.values.get(name)) for name in columns],
        "flags": [*map(visible, entry.flags)],
        "unusual": [visible(word) for word in unusual_in_words(unusual)],
        "z": {str(columns.index(name)): z for name, z in unusual.items()},
        "told": [*map(visible, entry.told)],
    }
    return {name: value for name, value in row.items() if value not in ("", [], {}, None)}


def _value(value: Value | None) -> Value | None:
    if isinstance(value, str):
        return visible(value)
    return value if value is not None and isfinite(value) else None


def _json(data: Any) -> str:
    """As JSON that may stand in a script element: nothing in it can end the element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
