"""What is known of a series before its voxels are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..files import printable

PLANES = ("sagittal", "coronal", "axial")  # across R, A, S


@dataclass(frozen=True)
class SeriesFacts:
    """What headers, or names and sidecars, say of a series. What is not known is empty, or None.

    Attributes:
        number: of the series in its study.
        description: of the series: SeriesDescription and ProtocolName, or what a file is called.
        study: description of the study.
        modality: DICOM's term, such as CT, MR or PT.
        kinds: the values of ImageType, in capitals, such as ORIGINAL, PRIMARY, LOCALIZER.
        body: BodyPartExamined.
        date: of the study, YYYYMMDD.
        kernel: ConvolutionKernel.
        agent: a contrast agent.
        no_image: what it is, if no image, such as "a structured report".
        problem: why it cannot be read.
        spacing: mm between voxels along R, A and S, each of the image's axes taken for the one that it is nearest to.
        extent: mm along R, A and S, likewise.
        across: of slices, the axis (R, A, S: 0, 1, 2) that they lie across; None of other images and of pictures.
        thickness: of a slice, in mm.
        slices: how many lie above each other.
        volumes: how many images there are of each place, as of a series in time.
        orientations: how many planes there are.
        placed: whether it is told where voxels lie in the body.
        color: whether it is red, green and blue.
    """

    number: int | None = None
    description: str = ""
    study: str = ""
    modality: str = ""
    kinds: tuple[str, ...] = ()
    body: str = ""
    date: str = ""
    kernel: str = ""
    agent: str = ""
    no_image: str = ""
    problem: str = ""
    spacing: tuple[float, float, float] | None = None
    extent: tuple[float, float, float] | None = None
    across: int | None = None
    thickness: float | None = None
    slices: int = 0
    volumes: int = 1
    orientations: int = 1
    placed: bool = True
    color: bool = False

    @property
    def is_picture(self) -> bool:
        """Whether it is no scan of a body, but a photograph, an X-ray or the like."""
        return self.color or not self.placed

    @property
    def plane(self) -> str:
        """In which slices lie, or the nearest of the three; empty of what has none."""
        return "" if self.across is None else PLANES[self.across]

    @property
    def step(self) -> float | None:
        """mm from slice to slice."""
        return None if self.spacing is None or self.across is None else self.spacing[self.across]

    @property
    def in_plane(self) -> float | None:
        """mm between the voxels of a slice, the larger of both."""
        if self.spacing is None or self.across is None:
            return None
        return max(mm for axis, mm in enumerate(self.spacing) if axis != self.across)

    @property
    def name(self) -> str:
        """Its number and description; nothing that tells whose it is."""
        number = "" if self.number is None else f"{self.number}: "
        return number + " ".join(filter(None, (printable(self.modality), f"'{printable(self.description)}'")))

    def __str__(self) -> str:
        """The same, with its shape."""
        shape = [self.plane] if self.plane else []
        if self.slices > 1 and self.step:
            shape.append(f"{self.slices} slices of {self.step:.3g} mm")
        elif self.slices:
            shape.append(f"{self.slices} slice{'s'[: self.slices > 1]}")
        return ", ".join([self.name, *shape])


def along_ras(facts: SeriesFacts, axes: np.ndarray, mm: Sequence[float], sizes: Sequence[float]) -> SeriesFacts:
    """With spacing and extent along R, A and S.

    Args:
        axes: (3, 3), columns are the image's axes in space, RAS or LPS.
        mm, sizes: between voxels, and how many voxels, along these.
    """
    free = {0, 1, 2}
    spacing, extent = [0.0] * 3, [0.0] * 3
    for n in np.argsort(-np.abs(axes).max(axis=0)):  # what lies straight, first
        axis = max(sorted(free), key=lambda axis: abs(axes[axis, n]))
        free.remove(axis)
        spacing[axis], extent[axis] = float(mm[n]), float(mm[n] * sizes[n])
    return replace(facts, spacing=(spacing[0], spacing[1], spacing[2]), extent=(extent[0], extent[1], extent[2]))
