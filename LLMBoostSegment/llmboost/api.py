"""The public names, which ``import llmboost`` offers: what a script or a notebook needs, and no more.

Positions are LPS in mm, as in ITK and DICOM (to the left, to the back, up), and arrays are indexed [i, j, k], the order
of ``spacing`` and of the columns of ``direction``; with channels or classes [c, i, j, k]. An image
(``Given`` in signatures) is

- a path: of an image file (NIfTI, NRRD, MetaImage; PNG and JPEG), a DICOM file, or a folder with one DICOM
  series;
- a SimpleITK image;
- a NumPy array [i, j, k], together with ``spacing``; for its origin and direction, see :func:`read_image`;
- what :func:`read_image` returns.

For a model of several channels, give a list of these, one a channel. What goes wrong is an
:class:`.errors.LLMBoostError`, whose text is one line: what is wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import library
from .card import Card
from .explanation import Explanation, ExplanationSpec
from .inference import classify as classifying
from .inference import explain as explaining
from .inference import segment as segmenting
from .inference.device import choose_device
from .inference.roi import Roi
from .io import segnrrd
from .io.given import Given, channels_of, one_image
from .io.image import Image, write_image
from .model import Model
from .model import load_model as load_file
from .provenance import provenance

if TYPE_CHECKING:
    from .learn.adaptation.common import Adapted


def load_model(model: str | Path, device: str = "auto") -> Model:
    """Load a model, to use it more than once.

    Args:
        model: a name of the library (``llmboost models list``), or the path of a model file or an adapter.
        device: ``auto`` (a CUDA GPU where there is one), ``cpu`` or ``cuda``.

    Returns:
        The network with its card, which tells labels, license, figures and more.

    Raises:
        LLMBoostError: no such model, a damaged file, an adapter whose base is missing, or no such device.

    Example:
        >>> model = llmboost.load_model("hippocampus", device="cpu")
        >>> [label.name for label in model.card.labels]
        ['Anterior hippocampus', 'Posterior hippocampus']
    """
    return load_file(library.find(model), choose_device(device))


def read_image(
    source: Given,
    *,
    spacing: Sequence[float] | None = None,
    origin: Sequence[float] | None = None,
    direction: np.ndarray | Sequence[Sequence[float]] | None = None,
) -> Image:
    """Read an image, or give an array its place in space.

    Args:
        source: a path, a SimpleITK image, or an array [i, j, k] (of a picture of rows and columns, ``array.T[:, :,
            None]``).
        spacing: of an array, which needs one: mm between voxel centers along i, j, k.
        origin: of an array: the center of its first voxel, LPS in mm; by default 0.
        direction: of an array: (3, 3), column a is the unit vector in LPS along array axis a. Without one, axes are
            taken to count to the left, to the back and up, and as nobody knows, results name no left and right, and
            warn.

    Returns:
        One gray volume; a picture is one of one slice. It has an ``array``, its place (``spacing``, ``origin``,
        ``direction``, ``affine``), and ``notes``, what a user should know of its reading.

    Raises:
        LLMBoostError: no image, a damaged one, one of several volumes or of colors, or a place that cannot be used.

    Example:
        >>> to_right_front_up = np.diag([-1, -1, 1])
        >>> image = llmboost.read_image(np.zeros((40, 56, 40)), spacing=(1, 1, 1.5), direction=to_right_front_up)
        >>> image.shape, image.spacing
        ((40, 56, 40), (1.0, 1.0, 1.5))
    """
    return one_image(source, spacing, origin, direction)


def segment(
    model: Model | str | Path,
    images: Given | Sequence[Given],
    *,
    spacing: Sequence[float] | None = None,
    roi: Sequence[float] | None = None,
    mirror: bool = False,
    probabilities: bool = False,
    entropy: bool = False,
) -> segmenting.Segmentation:
    """Segment a case.

    Args:
        model: a segmenter: loaded, or a name or path.
        images: one image a channel, on any grids.
        spacing: of arrays: mm along i, j, k.
        roi: compute in this box alone: its center (R, A, S) and its size along these axes, six numbers in mm as 3D
            Slicer counts them, to the right, to the front, up.
        mirror: average over mirrored images, where the model allows it; twice the time.
        probabilities: also give the classes' probabilities.
        entropy: also give how undecided the network is at each voxel, from 0 to 1.

    Returns:
        What was found, on the grid of the first channel, in ``labelmap`` (values [i, j, k], 0 is background), with
        ``labels`` (what the values mean), ``volumes_ml`` (by name), ``volumetry`` (which of them are set against each
        other: ``result.volumetry.asymmetry_percent(result.volumes_ml)``, ``intracranial_ml``,
        ``intracranial_percent``), ``quality`` (the expected Dice, where the model knows it), ``warnings`` (what to know
        before believing it), and the maps asked for, ``probabilities`` [c, i, j, k] (background first) and
        ``entropy`` [i, j, k].

    Raises:
        LLMBoostError: an image that cannot be read, another number of them than the model has channels, or a region of
            interest outside.

    Example:
        >>> result = llmboost.segment("hippocampus", "crop.nii.gz", entropy=True)
        >>> [label.name for label in result.labels]
        ['Anterior hippocampus', 'Posterior hippocampus']
        >>> result.labelmap.array.shape == result.entropy.array.shape == (24, 28, 24)
        True
    """
    loaded = _loaded(model)
    channels, notes = channels_of(images, loaded.card, spacing)
    found = segmenting.segment(
        loaded,
        channels,
        roi=None if roi is None else Roi.of_ras(roi),
        mirror=mirror,
        probabilities=probabilities,
        entropy=entropy,
    )
    return replace(found, warnings=(*notes, *found.warnings))


def classify(
    model: Model | str | Path,
    images: Given | Sequence[Given],
    *,
    spacing: Sequence[float] | None = None,
    roi: Sequence[float] | None = None,
    slice_number: int | None = None,
    anyway: bool = False,
) -> classifying.Finding:
    """Classify a case, unless it is of another kind than the model knows.

    Args:
        model: a classifier: loaded, or a name or path.
        images: one image a channel; of a model of color pictures, the one color image; of a model of masks, the mask.
        spacing: of arrays: mm along i, j, k.
        roi: what the model sees: a box's center (R, A, S) and size, six numbers in mm as 3D Slicer counts them.
        slice_number: of a model of slices, the one to look at, counted from 0; by default the mean of all.
        anyway: answer for an image of another kind, too, with a warning.

    Returns:
        ``probabilities`` (calibrated, one a class of ``model.card.labels``), ``decision`` (names of the classes that
        are reported), ``warnings``; of a case that is ``refused`` neither probabilities nor decision, but why.

    Raises:
        LLMBoostError: an image that cannot be read, or that the model cannot take.

    Example:
        >>> finding = llmboost.classify("pneumonia", "noise.png")
        >>> finding.refused, finding.decision
        (True, ())
        >>> len(llmboost.classify("pneumonia", "noise.png", anyway=True).probabilities)
        2
    """
    loaded = _loaded(model)
    channels, notes = channels_of(images, loaded.card, spacing)
    found = classifying.classify(
        loaded,
        channels,
        roi=None if roi is None else Roi.of_ras(roi),
        slice_number=slice_number,
        anyway=anyway,
    )
    return replace(found, warnings=(*notes, *found.warnings))


def explain(
    model: Model | str | Path,
    images: Given | Sequence[Given],
    *,
    spacing: Sequence[float] | None = None,
    target: int | None = None,
    method: str = "grad-cam",
    layer: str = "after",
    roi: Sequence[float] | None = None,
    slice_number: int | None = None,
) -> Explanation:
    """Show where a model looks: for a segment that it draws, or for a class. It shows where, not whether it is right.

    Args:
        model: of either task: loaded, or a name or path.
        images, spacing, roi, slice_number: as for :func:`segment` and :func:`classify`.
        target: value of the label or class; by default the first label, or the class that the model decides for.
        method: ``grad-cam`` or ``attention-rollout``.
        layer: ``after`` or ``before`` the booster.

    Returns:
        ``map``, float32 [i, j, k] in [0, 1] on the first channel's grid, 1 where the network looked most; ``target``,
        the label or class; ``warnings``.

    Raises:
        LLMBoostError: no such target, method or layer, or images that the model cannot take or does not know.

    Example:
        >>> found = llmboost.explain("hippocampus", "crop.nii.gz", target=2)
        >>> found.target.name, found.map.array.shape
        ('Posterior hippocampus', (24, 28, 24))
    """
    loaded = _loaded(model)
    channels, notes = channels_of(images, loaded.card, spacing)
    found = explaining.explain(
        loaded,
        channels,
        ExplanationSpec(target, method, layer),
        roi=None if roi is None else Roi.of_ras(roi),
        slice_number=slice_number,
    )
    return replace(found, warnings=(*notes, *found.warnings))


def write_segmentation(segmentation: segmenting.Segmentation, path: str | Path) -> None:
    """Write a segmentation, whole or not at all.

    Args:
        segmentation: what :func:`segment` returned.
        path: ``.seg.nrrd`` (3D Slicer opens it with names, colors and SNOMED CT terminology; its header names the model
            and its version), or a plain label map: ``.nii.gz``, ``.nii``, ``.nrrd``, ``.mha``.

    Raises:
        LLMBoostError: another extension, or the file cannot be written.

    Example:
        >>> result = llmboost.segment("hippocampus", "crop.nii.gz")
        >>> llmboost.write_segmentation(result, "crop.seg.nrrd")
    """
    if str(path).lower().endswith(segnrrd.EXTENSION):
        made_by = provenance(segmentation.card, segmentation.localizer, segmentation.drawn_by)
        segnrrd.write_segmentation(segmentation.labelmap, segmentation.labels, path, made_by)
    else:
        write_image(segmentation.labelmap, path)


def train(
    dataset: str | Path,
    output: str | Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    booster: str = "none",
    network: str = "",
    seed: int = 0,
    resume: bool = False,
) -> Card:
    """Train a base model on labeled images, on the GPU if there is one.

    Args:
        dataset: a folder of the Medical Segmentation Decathlon's or nnU-Net's form; to classify, a MedMNIST ``.npz``
            file, or a folder with a folder a class.
        output: the model file to write (``.safetensors``); log, curve and checkpoint lie beside it.
        minutes, steps: the budget, one of them.
        booster: ``none``, ``smollm2``, ``random``, a Hugging Face folder, or ``hub:NAME``.
        network: see ``llmboost train --help``; by default the usual one of the task.
        seed: of weights, order and augmentation.
        resume: continue a training that was stopped.

    Returns:
        The model's card; ``figures`` are measured on the split "val".

    Raises:
        LLMBoostError: anything wrong with the data set (all of it at once), a file in the way, or a training that
            cannot go on.

    Example:
        >>> card = llmboost.train("cases", "mine.safetensors", steps=2)  # minutes=60 for one that is of use
        >>> card.name, [label.name for label in card.labels]
        ('mine', ['front', 'back'])
    """
    from .booster import booster_of
    from .learn.base import BaseSettings, train_base

    settings = BaseSettings(steps, minutes, booster_of(booster, seed=seed), network, seed=seed)
    return train_base(Path(dataset), Path(output), settings, device=choose_device("auto"), resume=resume)


def adapt(
    base: str | Path,
    dataset: str | Path,
    output: str | Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    rank: int | None = None,
    seed: int = 0,
    resume: bool = False,
) -> Adapted:
    """Adapt a model to a few labeled cases: better at its own labels, or for new ones, whichever the data set has.

    Args:
        base: a name or a path; it stays as it is.
        dataset: as for :func:`train`.
        output: the file to write (``.safetensors``), which is used like a model: of a segmenter's new labels, a small
            network of its own; else an adapter, which needs its base at hand.
        minutes, steps: the budget, one of them; by default two minutes.
        rank: of the low-rank updates; by default by the number of cases.
        seed: of order, augmentation and new heads.
        resume: go on with the run that wrote ``output``, up to a larger budget in all; its file is replaced. Log,
            checkpoint and curve lie beside the file, in a folder that ends in ``.run``.

    Returns:
        ``card`` of the file, ``before`` and ``after`` (``value``: Dice or AUC on the cases held out), ``warnings``,
        ``advice`` about labels that were not learned.

    Raises:
        LLMBoostError: anything wrong with base, data set or output, or a training that cannot go on.

    Example:
        >>> adapted = llmboost.adapt("hippocampus", "cases", "adapted.safetensors", steps=2)
        >>> [label.name for label in adapted.card.labels], adapted.steps
        (['front', 'back'], 2)
    """
    from .learn.adaptation.common import AdaptSettings
    from .learn.adaptation.flow import adapt as run

    settings = AdaptSettings(steps=steps, minutes=minutes, rank=rank, seed=seed)
    device = choose_device("auto")
    return run(library.find(base), Path(dataset), Path(output), settings, device=device, resume=resume)


def evaluate(
    model: Model | str | Path, dataset: str | Path, *, split: str = "", mirror: bool = False
) -> dict[str, Any]:
    """Measure a model on labeled images.

    Args:
        model: loaded, or a name or path.
        dataset: as for :func:`train`.
        split: ``train``, ``val``, ``test`` or ``all``; by default ``test``, or ``all`` where there are no splits.
        mirror: of a segmenter, as for :func:`segment`.

    Returns:
        What ``llmboost evaluate --json`` writes. For a segmenter, ``cases`` (each with ``id``, ``dice``, ``hd95_mm``,
        ``nsd_1mm`` by label value), ``mean_dice`` and its 95 % interval ``mean_dice_ci95``; for a classifier ``auc``,
        ``accuracy``, ``balanced_accuracy`` and more.

    Raises:
        LLMBoostError: an empty split, a file of it that cannot be used, or other labels than the model's.

    Example:
        >>> card = llmboost.train("cases", "measured.safetensors", steps=2)
        >>> figures = llmboost.evaluate("measured.safetensors", "cases", split="val")
        >>> [case["id"] for case in figures["cases"]], 0 <= figures["mean_dice"] <= 1
        (['phantom_06', 'phantom_07'], True)
    """
    from . import evaluation

    data, chosen = evaluation.open_split(Path(dataset), split)
    return evaluation.evaluate(_loaded(model), data, chosen, mirror=mirror)


def _loaded(model: Model | str | Path) -> Model:
    return model if isinstance(model, Model) else load_model(model)
