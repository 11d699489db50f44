"""What happened in an output folder since its summary was last written: one JSON object a line, added by any number of
processes.

A summary that is written anew after every case takes hours for 20,000 of them; a line takes a moment. A process that
is killed while it adds one leaves a line that is cut off: it is passed over, and the next one begins a new line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Journal:
    """A file of lines, of which each process reads what is new to it. Call it within the folder's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rewind()

    def rewind(self) -> None:
        """Read it from its beginning the next time."""
        self._file: tuple[int, int] | None = None
        self._read = 0
        self._torn = False

    def is_new(self) -> bool:
        """Whether it is another file than the one that was read before, or none any more."""
        status = self._status()
        now = (status.st_dev, status.st_ino) if status else None
        return now != self._file or (status is not None and status.st_size < self._read)

    def news(self) -> Iterator[dict[str, Any]]:
        """The lines that were added since they were last read.

        Raises:
            OSError: it cannot be read.
            ValueError: a line is none of a journal.
        """
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                self._file = (status.st_dev, status.st_ino)
                file.seek(self._read)
                added = file.read()
        except FileNotFoundError:
            return
        whole, _, rest = added.rpartition(b"\n")
        self._read += len(added) - len(rest)
        self._torn = bool(rest)
        for line in whole.split(b"\n"):
            try:
                record = json.loads(line)
            except ValueError:  # cut off, or empty
                continue
            if not isinstance(record, dict):
                raise ValueError("a line that is no record")
            yield record

    def add(self, *records: Mapping[str, Any]) -> None:
        """Add lines, in one piece: so they stay apart even where the file system knows no locks.

        Raises:
            OSError: it cannot be written.
        """
        lines = "".join(json.dumps(record) + "\n" for record in records).encode()
        if self._torn:
            lines = b"\n" + lines
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        try:
            left = memoryview(lines)
            while left:  # a full disk takes a part
                left = left[os.write(handle, left) :]
            status = os.fstat(handle)
        finally:
            os.close(handle)
        if self._file is None:
            self._file = (status.st_dev, status.st_ino)

    def remove(self) -> None:
        """Begin anew, for all is in the summary."""
        self.path.unlink(missing_ok=True)
        self.rewind()

    def _status(self) -> os.stat_result | None:
        try:
            return self.path.stat()
        except FileNotFoundError:
            return None
