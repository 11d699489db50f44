"""What is done with each case of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from ..card import Card
from ..errors import LLMBoostError
from ..explanation import Explanation, ExplanationSpec
from ..inference.classify import Finding
from ..inference.roi import Roi
from ..inference.segment import Segmentation
from ..inference.watch import Watch
from ..io.case import InputCase
from ..io.image import Image, write_image
from ..io.picture import draw_map
from ..model import Model
from ..report.thumbnail import draw_thumbnail
from .overview import picture_of
from .summary import Row

Progress = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to compute for each case.

    Attributes:
        roi: limits where is computed.
        frame: of series in time, see :meth:`..io.cases.InputCase.read`.
    """

    roi: Roi | None = None
    frame: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """What to ask a model about each case; ``explain``: also write where the model looked."""

    explain: ExplanationSpec | None = None


R = TypeVar("R", bound=Row)
T = TypeVar("T", bound=Options)
P = TypeVar("P", bound=ModelOptions)
F = TypeVar("F", Segmentation, Finding)


class Work(ABC, Generic[R, T]):
    """What is done with each case.

    Attributes:
        needs: told, before an image is computed, about how many seconds and bytes that takes, as far as one knows; it
            returns when it may begin.
    """

    row: type[R]
    needs: Callable[[float | None, float], None] = staticmethod(lambda seconds, memory: None)

    def __init__(self, card: Card, options: T, progress: Progress) -> None:
        """
        Args:
            card: of what answers, and thereby of which images it takes.
            progress: called with words about the case at work and the fraction done of it.
        """
        self.card, self.options, self.progress = card, options, progress

    @abstractmethod
    def files(self, id: str) -> list[str]:
        """The names of a case's results in the output folder; the one that tells that it is complete is the first."""

    def also_read(self, case: InputCase) -> dict[str, Path]:  # noqa: ARG002  # of most, there are none
        """Files that a result depends on besides the case's own, by what they are; raises LLMBoostError."""
        return {}

    @abstractmethod
    def compute(self, row: R, case: InputCase, channels: list[Image], folder: Path) -> None:
        """Write the results into ``folder`` and fill the row, whose status is OK."""

    def watch(self, text: str) -> Watch:
        """Over a case at work, about which there is ``text`` to tell."""
        self.progress(text, 0.0)
        return Watch(progress=lambda fraction: self.progress(text, fraction))


class ModelWork(Work[R, P], Generic[R, P, F]):
    """What a model is asked about each case, whatever its task."""

    def __init__(self, model: Model, options: P, progress: Progress) -> None:
        super().__init__(model.card, options, progress)
        self.model = model

    def files(self, id: str) -> list[str]:
        return [f"{id}_explanation.nii.gz", f"{id}_explanation.png"] if self.options.explain else []

    @abstractmethod
    def ask(self, row: R, channels: list[Image]) -> F:
        """What the model says of a case."""

    @abstractmethod
    def keep(self, found: F, row: R, case: InputCase, image: Image, folder: Path) -> None:
        """Write what was found in the image into ``folder`` and fill the row."""

    def compute(self, row: R, case: InputCase, channels: list[Image], folder: Path) -> None:
        try:
            found = self.ask(row, channels)
        except LLMBoostError as error:  # knows images, but not their files
            raise LLMBoostError(f"{case.names[0]}: {error}") from error
        row.seconds = round(found.seconds, 3)
        if found.explanation is not None:
            row.warnings += found.explanation.warnings
            labelmap = found.labelmap if isinstance(found, Segmentation) else None
            self._write_explanation(found.explanation, channels[0], labelmap, folder, row.id)
        self.keep(found, row, case, channels[0], folder)
        drawn = (found.labelmap, found.labels) if isinstance(found, Segmentation) else (None, ())
        draw_thumbnail(channels, folder / picture_of(row.id), *drawn)

    def _write_explanation(
        self, found: Explanation, image: Image, labelmap: Image | None, folder: Path, id: str
    ) -> None:
        """The map, and a picture of it."""
        segment = None if labelmap is None else labelmap.with_array(labelmap.array == found.target.value)
        file, picture = (folder / name for name in ModelWork.files(self, id))
        write_image(found.map, file)
        title = f"{found.method}, {found.layer} the booster: {found.target.name}"
        draw_map(id, image, found.map, title, picture, segment)
