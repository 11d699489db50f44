"""The shipped models on whole heads: one call finds both hippocampi, and what is no head is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from llmboost.inference.segment import Segmentation, segment
from llmboost.io.image import Image, read_image, resample, resample_to_spacing, write_image
from llmboost.library import find
from llmboost.model import Model, load_model

NAMES = [
    f"{side} {part} hippocampus" for side in ("Left", "Right") for part in ("anterior", "posterior")
]  # as they are drawn
PLAUSIBLE = 1.5, 5.5  # mL a side, of adults


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(find("hippocampus"))


@pytest.fixture(scope="module")
def found(model: Model, template: Image) -> Segmentation:
    return segment(model, [template])


@pytest.fixture(scope="module")
def viewer(data_root: Path) -> Path:
    if not (data_root / "viewer").is_dir():
        pytest.skip("no folder viewer in LLMBOOST_DATA")
    return data_root / "viewer"


def sides(result: Segmentation) -> tuple[float, float]:
    """mL of the left and of the right hippocampus."""
    left, right = (sum(ml for name, ml in result.volumes_ml.items() if name.startswith(s)) for s in ("Left", "Right"))
    return left, right


def middle(result: Segmentation, side: str) -> np.ndarray:
    """The middle of a side's segments in RAS mm."""
    values = [label.value for label in result.labels if label.name.startswith(side)]
    index = np.argwhere(np.isin(result.labelmap.array, values)).mean(axis=0)
    return (result.labelmap.affine @ [*index, 1])[:3] * (-1, -1, 1)


def test_both_hippocampi_of_a_whole_head(found):
    assert list(found.volumes_ml) == NAMES
    assert not found.warnings
    assert all(PLAUSIBLE[0] < ml < PLAUSIBLE[1] for ml in sides(found))
    assert max(sides(found)) / min(sides(found)) < 1.1
    # where they lie in MNI space
    assert middle(found, "Left") == pytest.approx((-27, -22, -14), abs=4)
    assert middle(found, "Right") == pytest.approx((27, -22, -14), abs=4)


def test_their_terminology_tells_side_and_part(found):
    left = found.labels[0]
    assert (left.type.meaning, left.modifier.meaning) == ("Hippocampus", "Left")
    assert (left.region.meaning, left.region_modifier.meaning) == ("Hippocampus", "Anterior")


@pytest.mark.parametrize(
    ("axes", "senses"), [((2, 0, 1), (-1, 1, -1)), ((1, 2, 0), (1, -1, 1)), ((0, 1, 2), (-1, -1, -1))]
)
def test_axes_may_be_stored_in_any_order(model, template, found, reorient, axes, senses):
    other = segment(model, [reorient(template, axes, senses)])
    assert sides(other) == pytest.approx(sides(found), rel=0.03)


def test_a_tilted_head_in_thick_slices(model, template, found):
    turn = Rotation.from_euler("xyz", (15, -6, 8), degrees=True).as_matrix() @ template.direction
    center = template.affine[:3, :3] @ (np.array(template.shape) / 2) + template.origin
    shape, spacing = (200, 200, 34), (1.0, 1.0, 6.0)
    origin = center - turn * spacing @ (np.array(shape) / 2)
    smooth = resample_to_spacing(template, (2.0, 2.0, 2.0))
    tilted = resample(smooth, Image(np.zeros(shape, np.float32), spacing, tuple(origin), turn), "linear", fill=0)
    result = segment(model, [tilted])
    assert result.labelmap.same_grid(tilted)
    for side in ("Left", "Right"):
        assert middle(result, side) == pytest.approx(middle(found, side), abs=6)
    assert sides(result) == pytest.approx(sides(found), rel=0.3)


def test_the_demo(template):
    demo = Path(__file__).parents[2] / "scripts" / "demo.py"
    done = subprocess.run([sys.executable, str(demo)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"{name} " in done.stdout for name in NAMES)
    picture = done.stdout.partition("picture: ")[2].splitlines()[0]
    assert Path(picture).read_bytes().startswith(b"\x89PNG")


def test_noise_and_nothing_are_no_heads(model):
    place = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    noise = np.random.default_rng(0).normal(100, 30, (150, 160, 150)).astype(np.int16)
    for array in (noise, np.zeros_like(noise)):
        result = segment(model, [Image(array, *place)])
        assert result.warnings[0] == "this does not look like a head: nothing was segmented"
        assert not result.labelmap.array.any()


def test_no_head_is_a_warning_and_no_failure(llmboost, tmp_path):
    write_image(
        Image(np.zeros((100, 100, 100), np.int16), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), np.eye(3)), tmp_path / "a.nii.gz"
    )
    done = llmboost("segment", tmp_path / "a.nii.gz", "--model", "hippocampus", "--output", tmp_path / "out")
    assert done.status == 0
    (row,) = json.loads((tmp_path / "out" / "summary.json").read_text())["cases"]
    assert row["status"] == "ok"
    assert "does not look like a head" in row["warnings"][0]
    assert (tmp_path / "out" / "a.seg.nrrd").exists()


@pytest.mark.parametrize(
    "name",
    ["templates/ch2.nii.gz", "nifti/mr_stroke_T1.nii.gz", "nifti/mr_head_seg3d.nii.gz"],
    ids=lambda x: Path(x).stem,
)
def test_heads_of_persons(model, viewer, name):
    result = segment(model, [read_image(viewer / name)])
    assert all(PLAUSIBLE[0] < ml < PLAUSIBLE[1] for ml in sides(result))
    assert middle(result, "Left")[0] < middle(result, "Right")[0]


@pytest.mark.parametrize(
    "name", ["nifti/ct_chest_lidc_0314_1p5mm.nii.gz", "nifti/mr_spine_t2.nii.gz"], ids=lambda x: Path(x).stem
)
def test_other_parts_of_the_body(model, viewer, name):
    result = segment(model, [read_image(viewer / name)])
    assert not result.labelmap.array.any()
    assert result.warnings[0].startswith("this does not look like a head")
