"""Images to try the models with: some that Slicer's module Sample Data downloads, and one that is drawn, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

CATEGORY = "LLMBoost"
RESOURCES = Path(__file__).parents[1] / "Resources"
SIZE = (40, 56, 40)  # voxels of 1 mm to the top, front and right: the window of the model hippocampus
CENTER = (-24.0, -20.0, -14.0)  # RAS mm: about where people have their left hippocampus


def register() -> None:
    """List the samples in Slicer's module Sample Data; nothing is downloaded before the user chooses one there."""
    from SampleData import SampleDataLogic

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


def makePhantomVolume() -> Any:
    """Add a drawn image to the scene, in which the model hippocampus finds something.

    Returns:
        a vtkMRMLScalarVolumeNode, whose name tells that it shows no person.
    """
    ijkToRAS = np.eye(4)
    ijkToRAS[:3, 3] = np.array(CENTER) - (np.array(SIZE[::-1]) - 1) / 2
    return slicer.util.addVolumeFromArray(drawPhantom(), ijkToRAS, _("Hippocampus phantom (drawn, no person)"))


def drawPhantom() -> np.ndarray:
    """int16 [k, j, i]: a left hippocampus as in T1-weighted MR, between the brain stem and folds; always the same."""
    from scipy.ndimage import gaussian_filter

    white, gray, fluid = 750.0, 430.0, 100.0
    random = np.random.default_rng(0)
    up, front, right = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in SIZE), indexing="ij")

    folds = gaussian_filter(random.standard_normal(SIZE), 3)
    folds /= folds.std()
    image = np.select([folds > 1.2, folds > 0.5], [2 * fluid, gray], white)

    stem = np.sqrt(((right - 24) / 17) ** 2 + ((front + 6) / 26) ** 2 + ((up - 8) / 24) ** 2)
    image[stem < 1.12] = fluid
    image[stem < 1] = white

    # mm from the surface of a flat club, which gets thicker on its way from the back to the front, down and inward
    along = np.clip((front + 18) / 30, 0, 1)
    beyond = front - np.clip(front, -18, 12)
    aside, above = right + 6 - 6 * along, up - 7 + 14 * along
    surface = np.sqrt((aside / 1.5) ** 2 + above**2 + beyond**2) - (3.6 + 3.4 * along**2)
    image[surface < 3] = white
    image[(surface < 1.6) & (above > 0)] = fluid  # the horn of the ventricle lies on it
    image[surface < 0] = gray

    return (gaussian_filter(image, 0.6) + random.normal(0, 15, SIZE)).astype(np.int16)


def _showPhantom(source: Any) -> None:
    """What a click on the phantom does in the module Sample Data."""
    slicer.util.setSliceViewerLayers(background=makePhantomVolume(), fit=True)
