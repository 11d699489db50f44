"""What is told before anything is computed: the panel counts along the same axes as the engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from llmboost import library
from llmboost.card import read_card
from llmboost.handlers.volumes import images_of
from llmboost.inference.memory import expected_peak
from llmboost.inference.preprocessing import orient
from LLMBoostLib.scene import fit

CARD = read_card(library.find("hippocampus"))
SHAPE, SPACING = (20, 60, 40), (3.0, 0.5, 1.25)  # along i, j, k
STORED_AS = {  # the axis of R, A, S that i, j, k run along
    "axial": (0, 1, 2),
    "coronal": (0, 2, 1),
    "sagittal": (1, 2, 0),
}
VOLUMES, SLICES_ACROSS_3, SLICES_ACROSS_1 = (16, 32, 24), (64, 32, 1), (1, 32, 24)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PLI", "stored"])
@pytest.mark.parametrize("patch", [VOLUMES, SLICES_ACROSS_3, SLICES_ACROSS_1])
@pytest.mark.parametrize("axes", STORED_AS.values(), ids=STORED_AS)
def test_extent_and_memory_are_those_of_the_engine(makeVolume, orientation, patch, axes):
    tilted = Rotation.from_euler("xyz", (8, -5, 11), degrees=True).as_matrix()
    directions = tilted @ np.eye(3)[:, list(axes)] @ np.diag([1, -1, 1])
    matrix = np.eye(4)
    matrix[:3, :3] = directions * SPACING
    node = makeVolume(np.zeros(SHAPE[::-1], np.int16), matrix)
    spacing = (1.0, 0.75, 2.0)
    card = replace(CARD, cascade=None, subject=None, quality=None)
    own = replace(card.preprocessing, patch_size=patch, spacing=spacing, orientation=orientation)
    card = replace(card, preprocessing=own)
    (image,) = images_of(fit.volumesFromNode(node), card.modality)
    seen = orient(image, card.preprocessing)
    expected = np.array(seen.shape) * seen.spacing
    np.testing.assert_allclose(fit.extentMm(card, node), expected, rtol=1e-6)
    if (across := own.slice_axis) is not None:
        expected[across] = seen.shape[across] * spacing[across]
    np.testing.assert_allclose(fit.coveredMm(card, node), expected, rtol=1e-6)
    assert fit.memoryNeeded(card, node) == pytest.approx(expected_peak(card, image), rel=1e-6)


@pytest.mark.parametrize(
    ("orientation", "expected"), [("RAS", [16, 24, 48]), ("PLI", [24, 16, 48]), ("SRA", [24, 48, 16])]
)
def test_the_window_along_the_worlds_axes(orientation, expected):
    own = replace(CARD.preprocessing, patch_size=VOLUMES, spacing=(1.0, 0.75, 2.0), orientation=orientation)
    assert fit.patchAlongRasMm(replace(CARD, preprocessing=own), np.eye(3)).tolist() == expected


def test_the_window_of_a_model_that_goes_by_how_images_are_stored():
    own = replace(CARD.preprocessing, patch_size=VOLUMES, spacing=(1.0, 0.75, 2.0), orientation="stored")
    sagittal = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # along A, S and R
    assert fit.patchAlongRasMm(replace(CARD, preprocessing=own), sagittal).tolist() == [48, 16, 24]


def test_the_window_of_slices_is_endless_across_them():
    own = replace(CARD.preprocessing, patch_size=SLICES_ACROSS_1, spacing=(1.0, 0.75, 2.0), orientation="SRA")
    assert fit.patchAlongRasMm(replace(CARD, preprocessing=own), np.eye(3)).tolist() == [24, 48, np.inf]
