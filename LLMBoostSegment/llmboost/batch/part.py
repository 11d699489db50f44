"""A part of a batch, for array jobs: each takes its own, and none needs to know of the others."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TypeVar

from ..errors import LLMBoostError

Case = TypeVar("Case")


@dataclass(frozen=True)
class Part:
    """The ``number``-th of ``count`` parts, counted from 1."""

    number: int
    count: int

    @staticmethod
    def of(text: str) -> Part:
        """The part that ``text`` names, such as 2/8; raises LLMBoostError for any other text."""
        found = re.fullmatch("([0-9]+)/([0-9]+)", text)
        part = Part(int(found[1]), int(found[2])) if found else Part(0, 0)
        if not 1 <= part.number <= part.count:
            raise LLMBoostError(f"--part {text}: give K/N, such as 2/8: the second of eight parts, counted from 1")
        return part

    def choose(self, cases: dict[str, Case]) -> dict[str, Case]:
        """The cases of this part: by a digest of their ids, so that a case stays in its part when others come."""
        return {id: case for id, case in cases.items() if self._part_of(id) == self.number}

    def _part_of(self, id: str) -> int:
        return int.from_bytes(hashlib.sha256(id.encode(errors="surrogateescape")).digest()[:8]) % self.count + 1

    def __str__(self) -> str:
        return f"part {self.number} of {self.count}"
