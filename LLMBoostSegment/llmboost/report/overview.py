"""A batch at a glance: one HTML page in its folder, the cases that most need a look first."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..card import Card
from ..errors import LLMBoostError
from ..files import visible, write_whole
from .cohort import ENOUGH, UNUSUAL, robust_z
from .page import STYLE
from .templating import render, source

OVERVIEW = "overview.html"
PICTURES = "overview"  # the folder beside the page: in the page, 20,000 pictures would take 270 MB
MARK = '<meta name="generator" content="LLMBoost overview">'
NAMED = 3  # unusual values of a case in words
Value = float | str


@dataclass(frozen=True)
class Entry:
    """A case on the page.

    Attributes:
        status: in a word; ``fine`` if there is a result.
        picture: file in the folder, or none.
        files: further ones that were written for it.
        values: what was found, by the names of columns.
        compared: the names of those that are compared with other cases'.
        flags: why it needs a look, in words.
        doubt: how doubtful the result is, which puts a case before others; None: nobody knows.
        told: what else there is to know: errors, warnings.
    """

    id: str
    status: str
    fine: bool
    picture: str = ""
    files: Sequence[str] = ()
    values: dict[str, Value] = field(default_factory=dict)
    compared: frozenset[str] = frozenset()
    flags: Sequence[str] = ()
    doubt: float | None = None
    told: Sequence[str] = ()


def check_overview(folder: Path, way_out: str) -> None:
    """Raises LLMBoostError if another page than a batch's lies where the overview goes; ``way_out``: what to do."""
    path = folder / OVERVIEW
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            ours = MARK in file.read(2000)
    except (FileNotFoundError, IsADirectoryError):
        return
    except OSError:
        ours = False
    if not ours:
        raise LLMBoostError(f"{path}: exists and is no batch's overview; {way_out}")


def write_overview(folder: Path, card: Card, entries: Sequence[Entry], notice: str) -> None:
    """Write the page, whole or not at all.

    Args:
        card: of the model.
        notice: what the results are not for.

    Raises:
        LLMBoostError: it cannot be written.
    """
    script = source("overview.js")
    columns = list(dict.fromkeys(name for entry in entries for name in entry.values))
    unusual = _unusual(entries)
    rows = [_row(entry, columns, z) for entry, z in sorted(zip(entries, unusual, strict=True), key=_urgency)]
    words = f"marked where the robust z (median, MAD) of at least {ENOUGH} cases is beyond ±{UNUSUAL}"
    page = render(
        "overview.html",
        mark=MARK,
        style=STYLE,
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        card=card,
        notice=notice,
        counts=[
            ("cases", len(entries)),
            ("without a result", sum(not entry.fine for entry in entries)),
            ("to look at closely", sum(entry.fine and bool(entry.flags) for entry in entries)),
            ("unusual in the cohort", sum(map(bool, unusual))),
        ],
        outliers=words,
        data=_json({"columns": [visible(name) for name in columns], "rows": rows}),
    )
    write_whole(folder / OVERVIEW, page.encode(errors="backslashreplace"))


def _unusual(entries: Sequence[Entry]) -> list[dict[str, float]]:
    """Of each case, the robust z of the values that are unlike other cases', the most unusual first."""
    found: list[dict[str, float]] = [{} for _ in entries]
    for name in dict.fromkeys(name for entry in entries for name in sorted(entry.compared)):
        values = [entry.values[name] if name in entry.compared else None for entry in entries]
        numbers = [float(value) if isinstance(value, (int, float)) else None for value in values]
        for case, z in zip(found, robust_z(numbers), strict=True):
            if z is not None and abs(z) > UNUSUAL:
                case[name] = round(z, 1)
    return [dict(sorted(case.items(), key=lambda one: -abs(one[1]))) for case in found]


def _urgency(case: tuple[Entry, dict[str, float]]) -> tuple[Any, ...]:
    """What puts a case before others: no result, flags, unusual values, doubt."""
    entry, unusual = case
    furthest = max(map(abs, unusual.values()), default=0.0)
    return entry.fine, not entry.flags, not unusual, -(entry.doubt or 0.0), -furthest, entry.id


def _row(entry: Entry, columns: Sequence[str], unusual: dict[str, float]) -> dict[str, Any]:
    strange = [f"{name}: z {z:+.1f}" for name, z in unusual.items()]
    more = [f"and {len(strange) - NAMED} more unusual values"] if len(strange) > NAMED else []
    row = {
        "id": visible(entry.id),
        "status": entry.status,
        "fine": entry.fine,
        "picture": quote(entry.picture),
        "files": [[visible(name), quote(name)] for name in entry.files],
        "values": [_value(entry.values.get(name)) for name in columns],
        "flags": [*map(visible, entry.flags)],
        "unusual": [visible(word) for word in (*strange[:NAMED], *more)],
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
