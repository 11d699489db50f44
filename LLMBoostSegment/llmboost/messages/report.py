"""What is asked and answered about the report of a case."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..card import Flag, Volumetry
from .codec import Answer
from .images import DrawnLabel, Volume
from .words import ReportForm, RequestKind
from .worker import ModelRequest


@dataclass(frozen=True, eq=False)
class ReportAnswer(Answer):
    """The report's file: its bytes (uint8)."""

    file: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportRequest(ModelRequest[ReportAnswer], sent_as=RequestKind.REPORT):
    """Write a report of a case; arrays are [k, j, i] on the volume's grid.

    Attributes:
        title: the case's name.
        volume: that was segmented.
        volumes_ml: of each label, by name; ``edited``: of what a person made of the segments since.
        entropy: how undecided the network was, uint8 (255 is 1).
    """

    form: ReportForm
    title: str
    volume: Volume
    labelmap: np.ndarray
    labels: tuple[DrawnLabel, ...]
    volumes_ml: dict[str, float]
    volumetry: Volumetry = field(default_factory=Volumetry)
    quality: Flag | None = None
    entropy: np.ndarray | None = None
    warnings: tuple[str, ...] = ()
    edited: bool = False
