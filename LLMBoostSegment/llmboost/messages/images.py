"""What is asked and answered about images: segments, classes, and where a model looked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from ..card import Flag, Volumetry
from .codec import Answer
from .words import Layer, Method, RequestKind
from .worker import ComputeRequest


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume as it travels: voxels in the order of Slicer's arrays, and their place in space.

    Args:
        array: [k, j, i].
        spacing: distance in mm between voxel centers along i, j, k.
        origin: LPS position in mm of the center of voxel (0, 0, 0).
        direction: (3, 3); columns are the unit vectors in LPS along i, j, k.
    """

    array: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: np.ndarray


@dataclass(frozen=True, eq=False)
class Box:
    """A region of interest in LPS mm: its center, its edges' lengths, and (3, 3) its axes as columns."""

    center: tuple[float, float, float]
    size: tuple[float, float, float]
    axes: np.ndarray


@dataclass(frozen=True)
class ExplainOptions:
    """What to explain; ``target``: the value of a class or of a label as it was drawn, None for the class that the
    model decides for, or the first label."""

    target: int | None = None
    method: Method = Method.GRAD_CAM
    layer: Layer = Layer.AFTER


@dataclass(frozen=True)
class Named:
    """A class or a label."""

    value: int
    name: str


@dataclass(frozen=True, eq=False)
class ExplanationMap:
    """Where a model looked: ``map`` is [k, j, i] on the first channel's grid, uint8 (255 is 1)."""

    target: Named
    method: Method
    layer: Layer
    map: np.ndarray
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageAnswer(Answer):
    """What all answers about an image tell."""

    seconds: float
    provenance: dict[str, str]
    warnings: tuple[str, ...] = ()


B = TypeVar("B", bound=ImageAnswer)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageRequest(ComputeRequest[B]):
    """About an image: one volume a channel; ``modality`` is DICOM's term, or empty."""

    volumes: tuple[Volume, ...]
    roi: Box | None = None
    modality: str = ""


@dataclass(frozen=True)
class DrawnLabel:
    """A segment of a label map: its value, name, color (RGB, 0-255) and terminology as Slicer writes it.

    ``guessed``: the terminology was found by the name alone.
    """

    value: int
    name: str
    color: tuple[int, int, int]
    terminology: str = ""
    guessed: bool = False


@dataclass(frozen=True, eq=False)
class LabelMaps:
    """A label of the model, whose sides or copies may be drawn as several; ``probability`` if that was asked for."""

    value: int
    name: str
    probability: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentAnswer(ImageAnswer):
    """Arrays are [k, j, i] on the first channel's grid, probabilities and entropy as uint8 (255 is 1)."""

    labelmap: np.ndarray
    labels: tuple[DrawnLabel, ...]
    classes: tuple[LabelMaps, ...]
    volumes_ml: dict[str, float]
    volumetry: Volumetry = field(default_factory=Volumetry)
    entropy: np.ndarray | None = None
    quality: Flag | None = None
    explanation: ExplanationMap | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentRequest(ImageRequest[SegmentAnswer], sent_as=RequestKind.SEGMENT):
    """Draw a model's segments.

    Attributes:
        fast: with a larger step from patch to patch.
    """

    mirror: bool = False
    fast: bool = False
    uncertainty: bool = False
    probabilities: bool = False
    explain: ExplainOptions | None = None


@dataclass(frozen=True)
class ClassChance:
    """A class of the model, with its value, its name and its calibrated probability."""

    value: int
    name: str
    probability: float


@dataclass(frozen=True)
class SliceChances:
    """Of one slice, its number and the classes' probabilities."""

    number: int
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class KnownRange:
    """How far an image is from those that the model was trained on; ``reasons`` why it is of another kind, if it is."""

    score: float
    limit: float
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifyAnswer(ImageAnswer):
    """What a model says of an image.

    Attributes:
        refused: the image is of another kind than the model knows, and an answer was not asked for anyway: there are no
            classes, no decision, no slices.
        decision: names: one, or any number where classes do not exclude each other.
        positive: the class that is looked for, or empty; ``threshold`` is its own.
        slices: of several slices.
    """

    refused: bool
    classes: tuple[ClassChance, ...]
    decision: tuple[str, ...]
    positive: str
    threshold: float | None
    slices: tuple[SliceChances, ...]
    range: KnownRange
    explanation: ExplanationMap | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifyRequest(ImageRequest[ClassifyAnswer], sent_as=RequestKind.CLASSIFY):
    """Tell a model's probabilities.

    Attributes:
        slice_number: of a 2D model, the one slice to look at, counted along the image's slice axis; None: all.
        anyway: answer for an image of another kind than the model knows, too.
    """

    slice_number: int | None = None
    anyway: bool = False
    explain: ExplainOptions | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ExplainAnswer(ImageAnswer):
    """Where a model looked."""

    explanation: ExplanationMap


@dataclass(frozen=True, kw_only=True, eq=False)
class ExplainRequest(ImageRequest[ExplainAnswer], sent_as=RequestKind.EXPLAIN):
    """Show where a model looked; ``slice_number`` and ``anyway`` as for classes."""

    explain: ExplainOptions = ExplainOptions()
    slice_number: int | None = None
    anyway: bool = False
