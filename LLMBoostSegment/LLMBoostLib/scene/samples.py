"""Images to try the models with: some that Slicer's module Sample Data downloads, and one that is drawn, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError
from llmboost.messages.images import DrawnLabel

from .segmentation import writeSegmentation

CATEGORY = "LLMBoost"
RESOURCES = Path(__file__).parents[2] / "Resources"
SIZE = (40, 56, 40)  # voxels of 1 mm to the top, front and right: the window of the model hippocampus
TRAINING_PHANTOMS = 5
BORDER = -1.0  # mm to the front of the center: between the anterior and the posterior part
LABELS = (
    DrawnLabel(1, "Anterior hippocampus", (230, 159, 0)),
    DrawnLabel(2, "Posterior hippocampus", (86, 180, 233)),
)
CENTER = (-24.0, -20.0, -14.0)  # RAS mm: about where people have their left hippocampus


def register() -> None:
    """List the samples in Slicer's module Sample Data; nothing is downloaded before the user chooses one there."""
    try:
        from SampleData import SampleDataLogic
    except ImportError:  # an application without that module
        return
    for sample in json.loads((RESOURCES / "samples.json").read_text(encoding="utf-8")):
        SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=sample["name"],
            nodeNames=sample["name"],
            fileNames=sample["file"],
            uris=sample["url"],
            checksums="SHA256:" + sample["sha256"],
        )
    SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName="HippocampusPhantom",
        uris="",  # Slicer asks for one, whatever the downloader
        customDownloader=_showPhantom,
        thumbnailFileName=str(RESOURCES / "Icons" / "HippocampusPhantom.png"),
    )
    SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName="HippocampusPhantomsToTrainWith",
        uris="",
        customDownloader=_showTrainingPhantoms,
        thumbnailFileName=str(RESOURCES / "Icons" / "HippocampusPhantom.png"),
    )


def downloadHead() -> Any:
    """Add Slicer's own sample of a head, MRHead, which Slicer downloads once and keeps.

    Returns:
        a vtkMRMLScalarVolumeNode.

    Raises:
        LLMBoostError: there is no network, or no module Sample Data.
    """
    text = _("The sample cannot be loaded ({error}): check the network, or begin with the phantom, which needs none")
    try:
        from SampleData import SampleDataLogic

        node = SampleDataLogic().downloadMRHead()
    except Exception as error:  # whatever Slicer, or the network below it, raises
        raise LLMBoostError(text.format(error=error)) from error
    if not node:
        raise LLMBoostError(text.format(error=_("nothing came")))
    return node


def makePhantomVolume() -> Any:
    """Add a drawn image to the scene, in which the model hippocampus finds something.

    Returns:
        a vtkMRMLScalarVolumeNode, whose name tells that it shows no person.
    """
    return _addVolume(drawPhantom(), _("Hippocampus phantom (drawn, no person)"))


def makeTrainingPhantoms() -> list[tuple[Any, Any]]:
    """Add drawn images of a contrast that the model hippocampus does not know, as if another scanner had made them.

    Returns:
        volume nodes with segmentation nodes of what was drawn, but for the last volume, which is there to try.
    """
    cases = []
    for number in range(1, TRAINING_PHANTOMS + 1):
        shift = tuple(np.random.default_rng(number).integers(-2, 3, 3))
        name = _("Phantom {number}, other scanner (drawn, no person)").format(number=number)
        volumeNode = _addVolume(drawPhantom(shift, number, inverted=True), name)
        segmentationNode = None
        if number < TRAINING_PHANTOMS:
            segmentationNode = _addSegments(drawLabels(shift), volumeNode, shown=number == 1)
        cases.append((volumeNode, segmentationNode))
    return cases


def drawPhantom(shift: tuple[int, ...] = (0, 0, 0), seed: int = 0, inverted: bool = False) -> np.ndarray:
    """int16 [k, j, i]: a left hippocampus as in T1-weighted MR, between the brain stem and folds; always the same.

    Args:
        shift: voxels to the top, front and right.
        seed: of the folds and of the noise.
        inverted: bright is dark, as no sequence that the model was trained on shows it.
    """
    from scipy.ndimage import gaussian_filter

    white, gray, fluid = 750.0, 430.0, 100.0
    random = np.random.default_rng(seed)
    up, front, right = _millimeters(shift)

    folds = gaussian_filter(random.standard_normal(SIZE), 3)
    folds /= folds.std()
    image = np.select([folds > 1.2, folds > 0.5], [2 * fluid, gray], white)

    stem = np.sqrt(((right - 24) / 17) ** 2 + ((front + 6) / 26) ** 2 + ((up - 8) / 24) ** 2)
    image[stem < 1.12] = fluid
    image[stem < 1] = white

    surface = _surface(up, front, right)
    image[surface < 3] = white
    image[(surface < 1.6) & (up + 14 * _along(front) > 7)] = fluid  # the horn of the ventricle lies on it
    image[surface < 0] = gray
    if inverted:
        image = white + fluid - image

    return (gaussian_filter(image, 0.6) + random.normal(0, 15, SIZE)).astype(np.int16)


def drawLabels(shift: tuple[int, ...] = (0, 0, 0)) -> np.ndarray:
    """uint8 [k, j, i]: where :func:`drawPhantom` draws the hippocampus; 1 is its anterior part, 2 the posterior one."""
    up, front, right = _millimeters(shift)
    return np.where(_surface(up, front, right) < 0, np.where(front > BORDER, 1, 2), 0).astype(np.uint8)


def _millimeters(shift: tuple[int, ...]) -> list[np.ndarray]:
    """Distances from the image's center to the top, front and right, of a phantom that is shifted."""
    axes = (np.arange(n) - (n - 1) / 2 - s for n, s in zip(SIZE, shift, strict=True))
    return list(np.meshgrid(*axes, indexing="ij"))


def _along(front: np.ndarray) -> np.ndarray:
    """0 at the hippocampus' back end, 1 at its front."""
    return np.clip((front + 18) / 30, 0, 1)


def _surface(up: np.ndarray, front: np.ndarray, right: np.ndarray) -> np.ndarray:
    """mm from the surface of a flat club, which gets thicker on its way from the back to the front, down and inward."""
    along = _along(front)
    beyond = front - np.clip(front, -18, 12)
    aside, above = right + 6 - 6 * along, up - 7 + 14 * along
    return np.sqrt((aside / 1.5) ** 2 + above**2 + beyond**2) - (3.6 + 3.4 * along**2)


def _addVolume(array: np.ndarray, name: str) -> Any:
    ijkToRAS = np.eye(4)
    ijkToRAS[:3, 3] = np.array(CENTER) - (np.array(SIZE[::-1]) - 1) / 2
    return slicer.util.addVolumeFromArray(array, ijkToRAS, name)


def _addSegments(labelmap: np.ndarray, volumeNode: Any, shown: bool) -> Any:
    """They all lie at one place: those of the image that the views show are seen."""
    name = _("{name} segments").format(name=volumeNode.GetName())
    node = writeSegmentation(labelmap, LABELS, volumeNode, name=name).segmentationNode
    node.GetDisplayNode().SetVisibility(shown)
    return node


def _showTrainingPhantoms(_source: Any) -> None:
    """What a click on the phantoms of another scanner does in the module Sample Data."""
    slicer.util.setSliceViewerLayers(background=makeTrainingPhantoms()[0][0], fit=True)


def _showPhantom(_source: Any) -> None:
    """What a click on the phantom does in the module Sample Data."""
    slicer.util.setSliceViewerLayers(background=makePhantomVolume(), fit=True)
