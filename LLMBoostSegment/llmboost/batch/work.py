"""What is done with each case of a batch, whatever the model's task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from ..errors import LLMBoostError
from ..explanation import Explanation, ExplanationSpec
from ..inference.classify import Finding
from ..inference.roi import Roi
from ..inference.segment import Segmentation
from ..inference.watch import Watch
from ..io.cases import InputCase
from ..io.image import Image, write_image
from ..io.picture import draw_map
from ..model import Model
from .summary import Row

Progress = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to compute for each case.

    Attributes:
        roi: limits what the model sees.
        frame: of series in time, see :meth:`..io.cases.InputCase.read`.
        explain: also write where the model looked.
    """

    roi: Roi | None = None
    frame: str = ""
    explain: ExplanationSpec | None = None


R = TypeVar("R", bound=Row)
P = TypeVar("P", bound=Options)
F = TypeVar("F", Segmentation, Finding)


class Work(ABC, Generic[R, P, F]):
    """What is done with each case."""

    row: type[R]

    def __init__(self, model: Model, options: P, progress: Progress) -> None:
        """Args: ``progress`` is called with words about the case at work and the fraction done of it."""
        self.model, self.options, self.progress = model, options, progress

    def files(self, id: str) -> list[str]:
        """The names of a case's results in the output folder; the one that tells that it is complete is the first."""
        return [f"{id}_explanation.nii.gz", f"{id}_explanation.png"] if self.options.explain else []

    @abstractmethod
    def ask(self, row: R, channels: list[Image]) -> F:
        """What the model says of a case."""

    @abstractmethod
    def keep(self, found: F, row: R, case: InputCase, folder: Path) -> None:
        """Write what was found into ``folder`` and fill the row."""

    def compute(self, row: R, case: InputCase, channels: list[Image], folder: Path) -> None:
        """Write the results into ``folder`` and fill the row, whose status is OK."""
        try:
            found = self.ask(row, channels)
        except LLMBoostError as error:  # knows images, but not their files
            raise LLMBoostError(f"{case.names[0]}: {error}") from error
        row.seconds = round(found.seconds, 3)
        if found.explanation is not None:
            row.warnings += found.explanation.warnings
            labelmap = found.labelmap if isinstance(found, Segmentation) else None
            self._write_explanation(found.explanation, channels[0], labelmap, folder, row.id)
        self.keep(found, row, case, folder)

    def watch(self, text: str) -> Watch:
        """Over a case at work, about which there is ``text`` to tell."""
        self.progress(text, 0.0)
        return Watch(progress=lambda fraction: self.progress(text, fraction))

    def _write_explanation(
        self, found: Explanation, image: Image, labelmap: Image | None, folder: Path, id: str
    ) -> None:
        """The map, and a picture of it."""
        segment = None if labelmap is None else labelmap.with_array(labelmap.array == found.target.value)
        file, picture = (folder / name for name in Work.files(self, id))
        write_image(found.map, file)
        title = f"{found.method}, {found.layer} the booster: {found.target.name}"
        draw_map(id, image, found.map, title, picture, segment)
