"""What a card consists of: one record for each entry, with what it means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SEGMENTATION = "segmentation"
CLASSIFICATION = "classification"
ENSEMBLE = "ensemble"  # of several networks, as `llmboost models combine` makes it: the name in the entry ``network``
RAS, STORED = "RAS", "stored"  # of a card's ``orientation``
# of labels that come without a color: Okabe & Ito's, told apart by color-blind people too
PALETTE = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


def same_name(name: str) -> str:
    """A label's name without what does not tell it from another: capitals, blanks."""
    return " ".join(name.casefold().split())


@dataclass(frozen=True)
class Code:
    """A coded concept, e.g. ``Code("SCT", "123037004", "Anatomical Structure")`` of SNOMED CT."""

    scheme: str
    value: str
    meaning: str


ANATOMICAL_STRUCTURE = Code("SCT", "123037004", "Anatomical Structure")
TISSUE = Code("SCT", "85756007", "Tissue")
LEFT, RIGHT = Code("SCT", "7771000", "Left"), Code("SCT", "24028007", "Right")


@dataclass(frozen=True)
class Label:
    """One segment that a model draws: its voxel value, name, color (RGB, 0-255) and terminology.

    ``region`` and ``region_modifier`` tell the anatomic region that it belongs to, where ``type`` does not say all.
    ``guessed``: the codes were found by the name alone (:mod:`.anatomy`).
    """

    value: int
    name: str
    color: tuple[int, int, int]
    category: Code = ANATOMICAL_STRUCTURE
    type: Code = TISSUE
    modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None
    guessed: bool = False


@dataclass(frozen=True)
class Normalization:
    """How intensities are brought to the network's range, per channel.

    ``zscore``: clip to the case's own percentiles (0.5, 99.5), subtract its mean, divide by its standard deviation.
    ``window``: clip to ``low``..``high``, subtract ``mean``, divide by ``std`` (CT: figures of the training set).
    ``scale``: subtract ``mean``, divide by ``std``.
    ``range``: from the case's own lowest value at 0 to its highest at 1.
    ``standard``: subtract the case's own mean, divide by its standard deviation.
    ``standard-content``: the same by the voxels of its content (:func:`..inference.content.content`); others are 0.
    ``standard-nonzero``: the same by the voxels that are not 0; these stay 0.
    ``percentiles``: from the case's own percentile ``low`` at 0 to its percentile ``high`` at 1.
    ``lowest``: subtract the case's own lowest value, divide by its standard deviation.
    ``sigmoid``: 1 / (1 + exp(-x)).
    ``tanh``: ``std`` tanh(x / ``std``).
    """

    kind: str = "zscore"
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True)
class Foreground:
    """The part of an image that a model sees: the box around what is brighter than ``above`` in any channel.

    ``margin``: by how many voxels the box is larger on each side, within the image.
    ``when``: "first", of the image as it is stored, or "last", of what the network would see, whose spacing and
    intensities are then the network's.
    """

    above: float = 0.0
    margin: int = 0
    when: str = "first"


@dataclass(frozen=True)
class Preprocessing:
    """What happens to an image before the network sees it.

    ``spacing`` in mm and ``patch_size`` in voxels are given along the canonical axes: to the patient's right, anterior,
    superior (R, A, S). ``mirror`` lists the axes (0, 1, 2) along which the anatomy may be mirrored. A patch of one
    voxel along one axis makes a 2D model, which takes an image slice by slice. ``color``: the three channels are red,
    green and blue of one color image.

    ``orientation``: "RAS"; or other axis codes, such as "LPS", of which all that is said of R, A, S is then said; or
    "stored" where the network was trained on arrays as files hold them: all is then said of i, j, k, and slices are
    those across the 2D model's own axis.
    ``crop``: what lies around the content (:func:`..inference.content.seen_of`) is cut off first: background.
    ``foreground``: another way to cut off background.
    ``resampling``: "smooth", a Gaussian and linear interpolation (:func:`..io.image.resample_to_spacing`); "cubic",
    nnU-Net's splines (:func:`..inference.cubic.resize_cubic`); "linear", linear interpolation from the first voxel on
    (MONAI's Spacing); "fit", linear interpolation of all that is seen to the size of the patch (MONAI's Resize); or
    "none", as it is.
    ``slack``: of "linear", the share by which a spacing may differ from the model's and stay.
    ``normalize``: "after" resampling, or "before" it.
    ``further``: for each channel, what happens to intensities after its ``normalization``, in order; or nothing.
    ``joint``: a case's own figures are those of all its channels together, not of each.
    """

    channels: int = 1
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    patch_size: tuple[int, int, int] = (64, 64, 64)
    normalization: tuple[Normalization, ...] = (Normalization(),)
    mirror: tuple[int, ...] = ()
    color: bool = False
    orientation: str = RAS
    crop: bool = False
    foreground: Foreground | None = None
    resampling: str = "smooth"
    slack: float = 0.0
    normalize: str = "after"
    further: tuple[tuple[Normalization, ...], ...] = ()
    joint: bool = False

    @property
    def slice_axis(self) -> int | None:
        """Of a 2D model, the axis (R, A, S: 0, 1, 2) across its slices."""
        return self.patch_size.index(1) if self.patch_size.count(1) == 1 else None

    def steps(self, channel: int) -> tuple[Normalization, ...]:
        """What happens to the intensities of a channel, in order."""
        return (self.normalization[channel], *(self.further[channel] if self.further else ()))


@dataclass(frozen=True)
class Tiling:
    """How patches cover a volume, and how their answers become one.

    Attributes:
        overlap: the share of a patch that the next one covers, too, at least.
        places: "fixed", a patch every so many voxels, the last one moved back inside; "even", spread evenly (nnU-Net);
            or "whole", all of the image at once, however large.
        average: "probabilities", or "logits", of which patches, mirror images and members of an ensemble are averaged.
        mirrorings: "single", the image as it is and mirrored along each axis in turn; or "all" combinations of axes.
        weight: "gaussian", patches count most in their middle; or "constant", everywhere alike.
        padding: what lies around an image that is smaller than a patch: "zero", or "replicate", its border.
        back: what is brought back to the image's grid: "averaged", what was averaged; "probabilities", made of averaged
            logits; or "classes", decided for on the network's grid, of the nearest voxel.
    """

    overlap: float = 0.5
    places: str = "fixed"
    average: str = "probabilities"
    mirrorings: str = "single"
    weight: str = "gaussian"
    padding: str = "zero"
    back: str = "averaged"


@dataclass(frozen=True)
class Origin:
    """Where a model comes from that others trained with another program.

    Attributes:
        program: such as "nnU-Net v2".
        source: the folder or file that it was read from, by name.
        digests: SHA-256 of the files that held its weights, by their place in ``source``.
    """

    program: str
    source: str
    digests: dict[str, str]


@dataclass(frozen=True)
class Subject:
    """What an image must show for a segmenter to draw in it (see :mod:`..inference.subject`).

    Attributes:
        name: in words, such as "head".
        places: of labels by name, where their middles lie, along R, A, S from any point, and by how much that varies
            among images, all in mm. Found ones are shifted, turned and scaled to lie there as well as they can.
        fewest: how many of these must be in view.
        misfit: how far they then lie from there at most, in units of what it varies.
        scale: how large they are at least and at most, where 1 is usual.
        contrast: how much they differ in brightness at least: their quartiles, as a share of what lies between air and
            their median; 0 asks nothing.
        rim: how bright, at most, the tissue around all that is found may be, in the same unit; 0 asks nothing.
    """

    name: str
    places: dict[str, tuple[float, float, float, float]]
    fewest: int
    misfit: float
    scale: tuple[float, float]
    contrast: float = 0.0
    rim: float = 0.0


@dataclass(frozen=True)
class Quality:
    """From the Dice that a segmenter expects by its own probabilities to the likely one (:mod:`..inference.quality`).

    Attributes:
        slope, intercept: of the line from the one to the other, fitted on validation cases.
        limit: the predicted mean Dice below which a case should be checked closely.
        figures: how well that predicts: errors and correlations on validation and test cases.
    """

    slope: float
    intercept: float
    limit: float
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Flag:
    """The predicted mean Dice of a case; ``low`` if it is below the card's ``limit``; ``text`` for a user; the same
    figure of each segment that was drawn, by name."""

    predicted_dice: float
    low: bool
    limit: float
    text: str
    per_segment: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """A structure that a cascade looks closer at.

    Attributes:
        structure: the name of the localizer's label; none, "", for all that it finds, with what lies around.
        side: of the body, which the labels found there are given; None leaves them as they are.
        mirror: the model sees this one mirrored, left to right.
    """

    structure: str
    side: Code | None = None
    mirror: bool = False


@dataclass(frozen=True)
class Cascade:
    """How a model that knows crops alone takes a larger image: another one finds first where to look.

    Attributes:
        localizer: that model's name in the library.
        targets: where to look; a structure's crop is as large as the model's patch, all of the subject's as it is.
        subject: what the image must show, in words, such as "head".
        subject_ml: how large the largest connected piece of all the localizer's labels is, at least and at most, if the
            image shows that.
        target_ml: how large a target is, at least and at most, if it is in view.
        certainty: the mean probability that the localizer gives to what it found, at least, of the subject as of a
            target: elsewhere in the body, it finds things without being sure.
        quality: how good what is drawn in larger images probably is, where the card's own numbers are for crops.
    """

    localizer: str
    targets: tuple[Target, ...]
    subject: str
    subject_ml: tuple[float, float]
    target_ml: tuple[float, float]
    certainty: float = 0.0
    quality: Quality | None = None


@dataclass(frozen=True)
class Looks:
    """How the images look that a classifier was trained on (:mod:`..inference.looks`): a Gaussian of their measures.

    Attributes:
        blocks: along each axis, within which brightness is measured; 0: it is not.
        numbers: base64 of float32 (little endian), of n measures: n offsets, and the rows of a triangular matrix.
        limit: the distance beyond which an image counts as another kind than the model knows.
    """

    blocks: int
    numbers: str
    limit: float


@dataclass(frozen=True)
class Classification:
    """What a classifier's outputs mean, beyond its labels.

    Attributes:
        input_region: what of an image comes into the patch: ``square``, the largest square in its middle, resized;
            ``center``, its middle at the card's spacing; ``mask``, the same around the middle of a mask; ``whole``, all
            of it, resized along each axis on its own.
        positive: the class that is looked for, by name, and whose probability the threshold is for; empty where none
            is special.
        thresholds: the probability from which the positive class, or with ``multi_label`` each class, is reported;
            chosen on validation cases.
        multi_label: the classes do not exclude each other.
        ordinal: the classes are grades, in order.
        temperature: divides the logits, so that probabilities say how often they are right (Guo et al. 2017, arXiv
            1706.04599); fitted on validation cases.
        range_limit: the distance from the training images (see :mod:`.networks.ood_score`) beyond which an image
            counts as another kind than the model knows; for files without ``looks``; 0: the model does not tell.
        looks: of the training images, which tell more surely than the network what is of another kind.
    """

    input_region: str = "square"
    positive: str = ""
    thresholds: tuple[float, ...] = ()
    multi_label: bool = False
    ordinal: bool = False
    temperature: float = 1.0
    range_limit: float = 0.0
    looks: Looks | None = None


@dataclass(frozen=True)
class Adapter:
    """What an adapted model's file needs: it holds only what differs from its base.

    Attributes:
        base, base_version: the name and version of the model that was adapted.
        base_digest: that model's digest; no other one will do.
        rank: of the low-rank updates.
        cases: SHA-256 digests of the files of each case that it has learned from, and nothing else of them.
        settings: how it was trained.
    """

    base: str
    base_version: str
    base_digest: str
    rank: int
    cases: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
