"""The shipped model `headneck` on real CTs: as the data set has them, and as scanners do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmboost.inference.segment import Segmentation, segment
from llmboost.io.image import Image, read_image, resample_to_spacing, to_canonical
from llmboost.library import find
from llmboost.metrics.segmentation import segmentation_scores
from llmboost.model import Model, load_model

CASE = "pt_163"  # of the validation list: brain stem, spinal cord, parotid glands, larynx
PAROTIDS = {3: "Right parotid gland", 4: "Left parotid gland"}
AIR = -1000


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(find("headneck"))


@pytest.fixture(scope="module")
def case(data_root: Path) -> tuple[Image, Image]:
    """An image and its labels."""
    folder = data_root / "headneck_ct"
    if not folder.is_dir():
        pytest.skip(f"no {folder.name} in LLMBOOST_DATA")
    return read_image(folder / "imagesTr" / f"{CASE}_0000.nii.gz"), read_image(folder / "labelsTr" / f"{CASE}.nii.gz")


@pytest.fixture(scope="module")
def found(model: Model, case: tuple[Image, Image]) -> Segmentation:
    return segment(model, [case[0]])


def troubles(result: Segmentation) -> list[str]:
    """Warnings, but that a structure is not in view."""
    return [text for text in result.warnings if not text.startswith("not found")]


def parotids(result: Segmentation, label: Image) -> list[float]:
    drawn = result.labelmap.array.astype(int)
    return list(segmentation_scores(drawn, label.array.astype(int), label.spacing, tuple(PAROTIDS))["dice"].values())


def test_ships_small_with_licence_and_block(model):
    assert find("headneck").stat().st_size <= 4.1e6
    assert "MIT" in model.card.license
    assert "Apache-2.0" in model.card.license
    assert [label.name for label in model.card.labels if label.value in PAROTIDS] == list(PAROTIDS.values())
    assert model.card.booster["state"] == "frozen"
    assert model.card.figures["test_mean_dice"] > 0.7


def test_a_case_of_the_validation_list(found, case):
    assert not troubles(found)
    assert min(parotids(found, case[1])) > 0.6


def test_a_mirrored_patient_has_other_sides(model, case, found):
    image, label = case  # the first axis goes backward, the second to the left
    mirrored = segment(model, [replace(image, array=image.array[:, ::-1].copy())])
    assert not troubles(mirrored)
    left, right = (label.array[:, ::-1] == value for value in (4, 3))
    exchanged = replace(label, array=np.where(left, 3, np.where(right, 4, 0)))
    assert min(parotids(mirrored, exchanged)) > 0.6


def test_a_table_and_air_change_little(model, case, found):
    image = case[0]
    array = np.pad(image.array, ((12, 20), (12, 12), (0, 0)), constant_values=AIR)
    behind = np.argwhere(array > AIR + 100)[:, 0].max() + 2
    array[behind : behind + 2, 4:-4] = -300
    scanned = segment(model, [image.on_grid(array, image.spacing, image.origin, image.direction)])
    assert not troubles(scanned)
    for name, ml in found.volumes_ml.items():
        assert scanned.volumes_ml[name] == pytest.approx(ml, rel=0.15, abs=0.5), name


def test_numbers_that_are_no_hounsfield_units_are_refused(model, case):
    shifted = segment(model, [replace(case[0], array=case[0].array + 1024)])
    assert shifted.warnings[0].startswith("this does not look like a head and neck")
    assert not shifted.labelmap.array.any()


@pytest.fixture(scope="module")
def chest(data_root: Path) -> Image:
    path = data_root / "viewer" / "nifti" / "ct_chest_lidc_0314_1p5mm.nii.gz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in LLMBOOST_DATA")
    return read_image(path)


@pytest.mark.slow
def test_a_chest_is_refused(model, chest):
    refused = segment(model, [chest])
    assert refused.warnings[0].startswith("this does not look like a head and neck")
    assert not refused.labelmap.array.any()


@pytest.mark.slow
def test_a_scan_down_to_the_lungs_changes_little(model, case, chest, found):
    """The neck on top of somebody else's chest: what is drawn in one is drawn in both."""
    neck = to_canonical(case[0])
    below = resample_to_spacing(to_canonical(chest), neck.spacing).array
    size = [max(pair) for pair in zip(neck.shape[:2], below.shape[:2], strict=True)]
    both = np.concatenate([framed(below, size), framed(neck.array, size)], axis=2)
    scanned = segment(model, [neck.on_grid(both, neck.spacing, neck.origin, neck.direction)])
    assert not troubles(scanned)
    for name in ("Brain stem", *PAROTIDS.values(), "Mandible"):
        assert scanned.volumes_ml[name] == pytest.approx(found.volumes_ml[name], rel=0.15, abs=0.5), name


def framed(array: np.ndarray, size: list[int]) -> np.ndarray:
    """In the middle of air of a size along the first two axes."""
    before = [(wanted - had) // 2 for wanted, had in zip(size, array.shape[:2], strict=True)]
    after = [wanted - had - first for wanted, had, first in zip(size, array.shape[:2], before, strict=True)]
    return np.pad(array, (*zip(before, after, strict=True), (0, 0)), constant_values=AIR)
