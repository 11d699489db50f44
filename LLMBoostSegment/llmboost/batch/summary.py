"""summary.json and summary.csv of an output folder, which several runs may write into, one after the other or at once,
and whose results are never mixed up with what is somebody else's."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from .. import __version__
from ..card import Card
from ..errors import LLMBoostError
from ..files import atomic_path, digest_of, locked, printable, visible, write_whole
from ..io.image import VOLUMES, read_volumes
from ..provenance import NOTICE

OK, FAILED, REFUSED = "ok", "failed", "refused"
_FIRST_COLUMNS = ["id", "status"]
WAY_OUT = "move it, choose another --output, or give --overwrite"


@dataclass
class Row:
    """A case in the summary.

    Attributes:
        made_from: the digest of the input and all that decides, next to the model, what comes out.
        results: the digest of each file that was written for the case, by name.
    """

    id: str
    input: list[str]
    status: str
    output: str = ""
    error: str = ""
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    made_from: dict[str, Any] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)

    def columns(self) -> dict[str, Any]:
        """What summary.csv shows of the result, by column."""
        return {}

    def compared(self) -> dict[str, float]:
        """Those of the columns that tell how unusual a case is among many."""
        return {}

    def flags(self) -> list[str]:
        """Why somebody should look at the result, in words."""
        return []

    def doubt(self) -> float | None:
        """How doubtful the result is, from 0 to 1; None where nobody knows."""
        return None

    def formulas(self) -> dict[str, str]:
        """How fields of the row were computed, by their names."""
        return {}


def nothing_found(volumes_ml: Mapping[str, float]) -> list[str]:
    """The flag of a result without any segment."""
    return ["nothing was found"] if volumes_ml and not any(volumes_ml.values()) else []


R = TypeVar("R", bound=Row)


class Summary(Generic[R]):
    """The rows of an output folder, by id: those of all runs of one model into it.

    A file in the folder is this batch's own as long as it has the digest that its case's row tells. Others are not
    touched: what lay there before, results that were corrected since, and those of summaries without digests.
    """

    def __init__(self, folder: Path, card: Card, row: Callable[..., R], *, overwrite: bool = False) -> None:
        """Take over the summary in ``folder``, or begin one.

        Args:
            overwrite: replace whatever is in the way.

        Raises:
            LLMBoostError: there are results of another model, or a summary.json or summary.csv of something else, and
                no ``overwrite``; or nothing can be written.
        """
        self.folder, self.card, self._row, self.overwrite = folder, card, row, overwrite
        self.rows: dict[str, R] = {}
        # of cases whose files are just being put in place: known as this batch's own, whenever it is killed
        self._pending: dict[str, dict[str, str]] = {}
        self._seen: tuple[int, ...] = ()
        with locked(folder):
            try:
                self.refresh()
                self._check_table()
            except LLMBoostError:
                if not overwrite:
                    raise
            self._write()

    def refresh(self) -> None:
        """Read what other runs have written; raises LLMBoostError if it is no summary of this model."""
        path = self.folder / "summary.json"
        try:
            status = path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen == self._seen:
                return
            summary = json.loads(path.read_text(encoding="utf-8"))
            mine, other = summary["digest"] == self.card.digest, printable(str(summary["model"]))
            if mine:
                self.rows = {row["id"]: self._row(**row) for row in summary["cases"]}
                self._pending = dict(summary.get("pending", {}))
            if mine or all(row["status"] != OK and not row.get("results") for row in summary["cases"]):
                self._seen = seen
                return
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = printable(str(error))
            raise LLMBoostError(f"{path}: cannot be read as a batch's summary ({reason}); {WAY_OUT}") from error
        raise LLMBoostError(
            f"{self.folder}: holds results of another model ('{other}'); choose another --output, or give --overwrite"
        )

    def add(self, row: R, gone: str = "") -> None:
        """Add a row or replace it, keeping in mind the files of the earlier one.

        Args:
            gone: the id of a row to remove, if nothing came of it.
        """
        with locked(self.folder):
            self.refresh()
            self._add(row, gone)

    def put(self, row: R, stage: Path, names: Sequence[str], gone: str = "") -> None:
        """Move a case's files from ``stage`` into the folder, the first of ``names`` last, and add the row.

        Raises:
            LLMBoostError: a file is in the way, see :meth:`check`, or cannot be written.
        """
        made = {name: digest_of(stage / name) for name in names}
        with locked(self.folder):
            self.refresh()
            self._check(row.id, names, made)
            if made:
                self._pending[row.id] = made
                self._write_json()
            for name in reversed(names):
                with atomic_path(self.folder / name) as temporary:
                    os.replace(stage / name, temporary)
            row.results = made
            self._pending.pop(row.id, None)
            self._add(row, gone)

    def check(self, id: str, names: Sequence[str]) -> None:
        """Refuse to overwrite what is not this batch's; what another run of it has just put there is.

        Raises:
            LLMBoostError: naming the first such file.
        """
        with locked(self.folder):
            self.refresh()
            self._check(id, names, {})

    def _check(self, id: str, names: Sequence[str], made: dict[str, str]) -> None:
        """As :meth:`check`; ``made`` has the digests of what is to be written: the same bytes are in nobody's way."""
        if self.overwrite:
            return
        for name in names:
            path = self.folder / name
            if not os.path.lexists(path) or path.is_dir():  # of a folder, writing will tell
                continue
            known = self.rows[id].results.get(name) if id in self.rows else None
            fine = (known, self._pending.get(id, {}).get(name), made.get(name))
            if _digest(path) in fine or (known is not None and _is_damaged(path)):
                continue
            raise LLMBoostError(
                f"{path}: exists and is not this batch's result of '{printable(id)}', or was changed since; {WAY_OUT}"
            )

    def is_intact(self, id: str, names: Sequence[str]) -> bool:
        """Whether the files of a case are there as they were written."""
        results = self.rows[id].results
        return all(name in results and _digest(self.folder / name) == results[name] for name in names)

    def _add(self, row: R, gone: str) -> None:
        if row.id in self.rows:
            row.results = {**self.rows[row.id].results, **row.results}
        self.rows[row.id] = row
        if gone in self.rows and self.rows[gone].status != OK and not self.rows[gone].results:
            del self.rows[gone]
        self._write()

    def _check_table(self) -> None:
        path = self.folder / "summary.csv"
        if not os.path.lexists(path) or path.is_dir():
            return
        try:
            with path.open(encoding="utf-8", errors="replace", newline="") as file:
                ours = self._seen and next(csv.reader(file), [])[: len(_FIRST_COLUMNS)] == _FIRST_COLUMNS
        except (OSError, csv.Error):
            ours = False
        if not ours:
            raise LLMBoostError(f"{path}: exists and is no batch's table; {WAY_OUT}")

    def _write(self) -> None:
        self._write_json()
        rows = list(self.rows.values())
        write_whole(self.folder / "summary.csv", table(rows).encode(errors="backslashreplace"))

    def _write_json(self) -> None:
        summary: dict[str, Any] = {
            "model": self.card.name,
            "digest": self.card.digest,
            "version": __version__,
            "notice": NOTICE,
            "cases": [vars(row) for row in self.rows.values()],
        }
        if formulas := {field: how for row in self.rows.values() for field, how in row.formulas().items()}:
            summary["formulas"] = formulas
        if self._pending:
            summary["pending"] = self._pending
        path = self.folder / "summary.json"
        write_whole(path, (json.dumps(summary, indent=1) + "\n").encode())
        status = path.stat()
        self._seen = (status.st_mtime_ns, status.st_size, status.st_ino)


def table(rows: Sequence[Row]) -> str:
    """The rows as CSV."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    names = dict.fromkeys(name for row in rows for name in row.columns())
    writer.writerow([cell(name) for name in (*_FIRST_COLUMNS, *names, "seconds", "warnings", "error")])
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


def _digest(path: Path) -> str:
    """The digest of a file; "" of none, or one that cannot be read."""
    try:
        return digest_of(path) if path.is_file() else ""
    except OSError:
        return ""


def _is_damaged(path: Path) -> bool:
    """Whether an image is of use to nobody: cut off, say."""
    if not path.name.lower().endswith(tuple(VOLUMES)):
        return False
    try:
        read_volumes(path)
    except LLMBoostError:
        return True
    return False
