"""What a DICOMDIR lists: the table of contents of a disc (PS3.10, PS3.3 annex F)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pydicom

from .groups import Header

_ABOVE = ("PATIENT", "STUDY", "SERIES")  # what an image's record stands below


def listed_series(path: Path) -> Iterator[tuple[Header, int]]:
    """Each series with images, with what the records of its patient, study and series say, and how many images.

    Records stand in the order of the tree, as all programs write them. Of a DICOMDIR that cannot be read, nothing.
    """
    said: dict[str, Header] = {}
    count = 0
    try:
        with warnings.catch_warnings(action="ignore"):
            records = list(pydicom.dcmread(path).DirectoryRecordSequence)
            kinds = [str(record.DirectoryRecordType) for record in records]
            headers = [{element.keyword: element.value for element in record} for record in records]
    except Exception:  # pydicom raises all kinds of exceptions at damaged bytes; the files themselves tell
        return
    for kind, header in zip([*kinds, "SERIES"], [*headers, {}], strict=True):
        if kind in _ABOVE:
            if count:
                yield {keyword: value for one in said.values() for keyword, value in one.items()}, count
            count = 0
            said = {above: said.get(above, {}) for above in _ABOVE[: _ABOVE.index(kind)]} | {kind: header}
        count += kind == "IMAGE"
