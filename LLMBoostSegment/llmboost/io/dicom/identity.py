"""What is one series: what one patient, study, frame of reference and series UID say together.

Anonymizers empty UIDs, or give the same to all. Nothing that tells who a patient is leaves this module.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .groups import Header

# what must agree within a series, and what it is called
_WORDS = {
    "PatientID": "patient",
    "PatientName": "patient",
    "PatientBirthDate": "patient",
    "StudyInstanceUID": "study",
    "StudyDate": "study",
    "FrameOfReferenceUID": "frame of reference",
    "Modality": "modality",
    "SeriesNumber": "series number",
}
IDENTITY = tuple(_WORDS)
# what no file of a series lacks where the others have it
_NEEDED = ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID")


@dataclass(frozen=True)
class Part:
    """Files that are of one series.

    Attributes:
        members: each with what it says.
        apart: what tells them from others of the same UID, such as "patient 1 of 2"; empty if there are none.
    """

    members: tuple[tuple[Path, Header], ...]
    apart: str = ""

    @property
    def problem(self) -> str:
        """Why they cannot be trusted to be of one scan; empty if they can."""
        anonymous = not any(_value(header, "PatientID") for _, header in self.members)
        for keyword in (*_NEEDED, *["PatientName"] * anonymous):
            without = sum(not _value(header, keyword) for _, header in self.members)
            if 0 < without < len(self.members):
                return (
                    f"{without} of {len(self.members)} files have no {keyword}, the others do: they may be of another "
                    "scan; remove them, or export the series again"
                )
        return ""


def parts_of(members: Sequence[tuple[Path, Header]]) -> list[Part]:
    """Files of one SeriesInstanceUID, with headers that have the IDENTITY, sorted into what are really series.

    A value that only some of the files have is no reason to part them, but a :attr:`Part.problem`, unless the others
    have several values.
    """
    for keyword, word in _WORDS.items():
        values = sorted({_value(header, keyword) for _, header in members})
        if sum(map(bool, values)) < 2:
            continue
        parts = []
        for n, value in enumerate(values, 1):
            own = [member for member in members if _value(member[1], keyword) == value]
            for part in parts_of(own):
                apart = ", ".join(filter(None, (f"{word} {n} of {len(values)}", part.apart)))
                parts.append(replace(part, apart=apart))
        return parts
    return [Part(tuple(members))]


def study_of(header: Header) -> str:
    """A word for the study that something is of: the same for all of it, and of no use to tell whose it is.

    A study is what one patient and one StudyInstanceUID say together; patients without an ID go by name and birthday.
    Empty without a StudyInstanceUID.
    """
    study = _value(header, "StudyInstanceUID")
    patient = [_value(header, "PatientID")]
    if not patient[0]:
        patient = [_value(header, keyword) for keyword in ("PatientName", "PatientBirthDate")]
    return hashlib.sha256("\n".join([study, *patient]).encode()).hexdigest()[:16] if study else ""


def _value(header: Header, keyword: str) -> str:
    """Names may be written in several ways."""
    return " ".join(str(header.get(keyword) or "").replace("^", " ").split()).casefold()
