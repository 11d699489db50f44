"""What one DICOM file says of each of its frames."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from ...errors import LLMBoostError
from .dataset import open_dataset
from .groups import FUNCTIONAL_GROUPS, Header, elements_of

DAMAGED = "a damaged or truncated DICOM file; copy or export it again"


class DamagedFile(LLMBoostError):
    """Such a file; ``series``: of which series (SeriesInstanceUID), where so much is left of it."""

    def __init__(self, message: str, series: str = "") -> None:
        super().__init__(message)
        self.series = series


def read_headers(path: Path, keywords: Sequence[str]) -> list[Header]:
    """The named elements of a file, but not its pixels, for each frame; an empty list if it is not a DICOM file.

    There is one header a file, unless FUNCTIONAL_GROUPS are among the keywords and the file has them (enhanced
    multi-frame images): then one a frame, and the elements of its groups are in it as if they were its own. What a
    frame's own group says holds before what the shared one says, and that before the rest of the file.

    Raises:
        LLMBoostError: the file cannot be read, or, as DamagedFile, is damaged.
    """
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError as error:
        raise LLMBoostError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    marked = start[128:] == b"DICM"
    if not marked and start[:2] not in (b"\x02\x00", b"\x08\x00"):  # old exports begin with the first element
        return []
    try:
        with warnings.catch_warnings(action="ignore"):  # they would stand beside the one line of a refusal
            headers = _headers(path, keywords)
    except Exception as error:  # pydicom raises all kinds of exceptions at damaged bytes
        if not marked:
            return []
        if isinstance(error, LLMBoostError):
            raise
        raise DamagedFile(f"{path}: {DAMAGED}") from error
    if headers[0]["SOPClassUID"] or "Rows" in headers[0]:  # anonymizers may take the former away
        return headers
    if marked:  # pydicom silently reads what there is of a truncated file
        raise DamagedFile(f"{path}: {DAMAGED}", str(headers[0].get("SeriesInstanceUID") or ""))
    return []


def _headers(path: Path, keywords: Sequence[str]) -> list[Header]:
    dataset = open_dataset(path, keywords)
    common = {element.keyword: element.value for element in dataset}
    common.setdefault("SOPClassUID", dataset.file_meta.get("MediaStorageSOPClassUID") or "")
    shared, frames = (common.pop(groups, None) or [] for groups in FUNCTIONAL_GROUPS)
    for group in shared[:1]:
        common |= elements_of(group)
    return [common | elements_of(group) for group in frames] or [common]
