"""summary.json and summary.csv of an output folder, which several runs may write into, one after the other or at once,
and whose results are never mixed up with what is somebody else's.

What is known of a folder is its summary.json and, on top of it, the lines of summary.jsonl (:mod:`.journal`): a row is
added to that one, and from time to time all is written into the other.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from .. import __version__
from ..card import Card
from ..errors import LLMBoostError
from ..files import atomic_path, digest_of, locked, printable, write_whole
from ..io.image import VOLUMES, read_volumes
from ..provenance import NOTICE
from .journal import Journal
from .table import FIRST_COLUMNS, table

OK, FAILED, REFUSED = "ok", "failed", "refused"
WAY_OUT = "move it, choose another --output, or give --overwrite"
SECONDS_BETWEEN, TIMES_ITS_OWN = 30, 100  # the summary is written no sooner, and takes a hundredth of the time


@dataclass
class Row:
    """A case in the summary.

    Attributes:
        series: of a study, which series was taken, and which were left for what reason.
        made_from: the digest of the input and all that decides, next to the model, what comes out.
        results: the digest of each file that was written for the case, by name.
        run: the call of a batch that it comes from.
    """

    id: str
    input: list[str]
    status: str
    output: str = ""
    error: str = ""
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    series: dict[str, Any] = field(default_factory=dict)
    made_from: dict[str, Any] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    run: str = ""

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
            LLMBoostError: there are results of another model, or a summary of something else, and no ``overwrite``; or
                nothing can be written.
        """
        self.folder, self.card, self._row, self.overwrite = folder, card, row, overwrite
        self.rows: dict[str, R] = {}
        self._journal = Journal(folder / "summary.jsonl")
        self._headed = False  # whether the journal says of which model it is
        # of cases whose files are just being put in place: known as this batch's own, whenever it is killed
        self._pending: dict[str, dict[str, str]] = {}
        self._seen: tuple[int, ...] = ()
        self._mine = False  # whether summary.json is of this model
        self._next_write = 0.0
        with locked(folder) as alone:
            try:
                self._refresh()
            except LLMBoostError:
                if not overwrite:
                    raise
                self._forget()
                self._journal.remove()
            if not self._has_table():
                self._write(alone=alone)

    def refresh(self) -> None:
        """Read what other runs have written; raises LLMBoostError if it is no summary of this model."""
        with locked(self.folder):
            self._refresh()

    def _refresh(self) -> None:
        if self._stamp() != self._seen or self._journal.is_new():
            self._forget()
            self._load()
        try:
            for record in self._journal.news():
                self._take(record)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._unreadable(self._journal.path, error) from error

    def _forget(self) -> None:
        self.rows, self._pending, self._seen = {}, {}, ()
        self._headed = self._mine = False
        self._journal.rewind()

    def _load(self) -> None:
        """Read summary.json."""
        path, stamp = self.folder / "summary.json", self._stamp()
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            cases, self._mine = summary["cases"], summary["digest"] == self.card.digest
            if self._mine:
                self.rows = {row["id"]: self._row(**row) for row in cases}
                self._pending = dict(summary.get("pending", {}))
            elif any(row["status"] == OK or row.get("results") for row in cases):
                raise self._of_another_model(summary)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._unreadable(path, error) from error
        self._seen = stamp

    def _take(self, record: Mapping[str, Any]) -> None:
        """Take over a line of the journal."""
        if "digest" in record:
            if record["digest"] != self.card.digest:
                raise self._of_another_model(record)
            self._headed = True
        elif not self._headed:
            raise ValueError("begins otherwise")
        elif "pending" in record:
            self._pending[record["pending"]] = dict(record["results"])
        else:
            row = self._row(**record["row"])
            self._pending.pop(row.id, None)
            self.rows[row.id] = row
            gone = self.rows.get(record["gone"])
            if gone is not None and gone.status != OK and not gone.results:
                del self.rows[gone.id]

    def _of_another_model(self, of: Mapping[str, Any]) -> LLMBoostError:
        return LLMBoostError(
            f"{self.folder}: holds results of another model ('{printable(str(of['model']))}'); choose another --output,"
            " or give --overwrite"
        )

    def _unreadable(self, path: Path, error: Exception) -> LLMBoostError:
        reason = printable(str(error))
        return LLMBoostError(f"{path}: cannot be read as a batch's summary ({reason}); {WAY_OUT}")

    def add(self, row: R, gone: str = "") -> None:
        """Add a row or replace it, keeping in mind the files of the earlier one.

        Args:
            gone: the id of a row to remove, if nothing came of it.
        """
        with locked(self.folder):
            self._refresh()
            self._add(row, gone)

    def put(self, row: R, stage: Path, names: Sequence[str], gone: str = "") -> None:
        """Move a case's files from ``stage`` into the folder, the first of ``names`` last, and add the row.

        Raises:
            LLMBoostError: a file is in the way, see :meth:`check`, or cannot be written.
        """
        made = {name: digest_of(stage / name) for name in names}
        with locked(self.folder):
            self._refresh()
            self._check(row.id, names, made)
            if made:
                self._tell({"pending": row.id, "results": made})
            for name in reversed(names):
                with atomic_path(self.folder / name) as temporary:
                    os.replace(stage / name, temporary)
            row.results = made
            self._add(row, gone)

    def check(self, id: str, names: Sequence[str]) -> None:
        """Refuse to overwrite what is not this batch's; what another run of it has just put there is.

        Raises:
            LLMBoostError: naming the first such file.
        """
        with locked(self.folder):
            self._refresh()
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
        """Whether the files of a case are there as they were written; of some, but the first, there may be none."""
        results = self.rows[id].results
        written = [name for name in names if name in results]
        return written[:1] == names[:1] and all(_digest(self.folder / name) == results[name] for name in written)

    def write(self) -> None:
        """Write summary.json and summary.csv."""
        with locked(self.folder) as alone:
            self._refresh()
            self._write(alone=alone)

    def write_now_and_then(self) -> None:
        """Write them if that was long ago: the time it takes grows with the number of cases, not with its square."""
        if time.monotonic() >= self._next_write:
            self.write()

    def _add(self, row: R, gone: str) -> None:
        if row.id in self.rows:
            row.results = {**self.rows[row.id].results, **row.results}
        self._tell({"row": vars(row), "gone": gone})

    def _tell(self, record: Mapping[str, Any]) -> None:
        head = {"model": self.card.name, "digest": self.card.digest, "version": __version__}
        try:
            self._journal.add(*([] if self._headed else [head]), record)
        except OSError as error:
            raise LLMBoostError(
                f"{self._journal.path}: cannot be written ({error.strerror}); check the folder's permissions and free"
                " space"
            ) from error
        self._refresh()

    def _has_table(self) -> bool:
        """Whether there is a summary.csv of this model's batch; raises LLMBoostError if it is something else's."""
        path = self.folder / "summary.csv"
        if not os.path.lexists(path) or path.is_dir():  # of a folder, writing will tell
            return False
        try:
            with path.open(encoding="utf-8", errors="replace", newline="") as file:
                ours = self._mine and next(csv.reader(file), [])[: len(FIRST_COLUMNS)] == FIRST_COLUMNS
        except (OSError, csv.Error):
            ours = False
        if not ours and not self.overwrite:
            raise LLMBoostError(f"{path}: exists and is no batch's table; {WAY_OUT}")
        return ours

    def _write(self, *, alone: bool) -> None:
        """
        Args:
            alone: nobody can be adding to the journal meanwhile, so that it may go.
        """
        began = time.monotonic()
        self._write_json()
        rows = [self.rows[id] for id in sorted(self.rows)]
        write_whole(self.folder / "summary.csv", table(rows).encode(errors="backslashreplace"))
        if alone:
            self._journal.remove()
            self._headed = False
        now = time.monotonic()
        self._next_write = now + max(SECONDS_BETWEEN, TIMES_ITS_OWN * (now - began))

    def _write_json(self) -> None:
        summary: dict[str, Any] = {
            "model": self.card.name,
            "digest": self.card.digest,
            "version": __version__,
            "notice": NOTICE,
            "cases": [vars(self.rows[id]) for id in sorted(self.rows)],
        }
        if formulas := {field: how for row in self.rows.values() for field, how in row.formulas().items()}:
            summary["formulas"] = formulas
        if self._pending:
            summary["pending"] = self._pending
        write_whole(self.folder / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
        self._seen, self._mine = self._stamp(), True

    def _stamp(self) -> tuple[int, ...]:
        """What tells whether summary.json was written since; empty of none."""
        try:
            status = (self.folder / "summary.json").stat()
        except OSError:
            return ()
        return status.st_mtime_ns, status.st_size, status.st_ino


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
