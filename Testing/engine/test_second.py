"""A second reader: where a cascade's model draws something else than a finer model of the same subject, that one's
answer is taken, with a word."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from llmboost.card import Code
from llmboost.errors import NotExplained
from llmboost.explanation import ExplanationSpec
from llmboost.inference.second import second_reader
from llmboost.inference.segment import Segmentation, segment
from llmboost.io.image import Image, read_image, resample_to_spacing, to_canonical, write_image
from llmboost.library import find
from llmboost.model import Model, load_model

PLAUSIBLE = 1.5, 5.5  # mL a side, of adults


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(find("hippocampus"))


@pytest.fixture(scope="module")
def thick(template: Image) -> Image:
    """The template as another sequence might show it, white matter darker than gray, in slices of 6.5 mm."""
    values = template.array.astype(np.float32)
    inverted = np.where(values > 0, np.percentile(values, 99) - values, 0).clip(0)
    grid = to_canonical(template.with_array(inverted))
    return resample_to_spacing(grid, (grid.spacing[0], grid.spacing[1], 6.5))


@pytest.fixture(scope="module")
def found(model: Model, thick: Image) -> Segmentation:
    return segment(model, [thick], entropy=True, probabilities=True)


def test_another_sequence_in_thick_slices(found):
    assert found.drawn_by is not None
    # DICOM files name it as the algorithm
    assert (found.drawer.name, found.drawer.labels) == ("brain-1mm", found.labels)
    told, maps = found.warnings
    assert told.startswith("drawn by model 'brain-1mm', for 'hippocampus' drew something else (Dice 0.")
    assert maps == "no maps of probabilities or uncertainty: they would be those of 'hippocampus'"
    assert (found.entropy, found.probabilities) == (None, None)
    # nothing is said of what the model itself drew, and parts that were divided by rule are not compared
    assert found.quality is None
    assert not found.volumetry.pairs


def test_parts_lie_behind_one_another_on_their_own_side(found):
    def middle(name):
        value = next(label.value for label in found.labels if label.name == name)
        index = np.argwhere(found.labelmap.array == value).mean(axis=0)
        return (found.labelmap.affine @ [*index, 1])[:3] * (-1, -1, 1)

    for side, sign in (("Left", -1), ("Right", 1)):
        front, back = (middle(f"{side} {part} hippocampus") for part in ("anterior", "posterior"))
        assert front[1] > back[1] + 10
        # where hippocampi lie in MNI space
        assert (front + back) / 2 == pytest.approx((sign * 27, -22, -14), abs=6)


def test_where_both_agree_the_finer_answer_stays(model, template):
    own = segment(model, [template])
    assert own.drawn_by is None
    assert own.quality is not None
    assert len(own.volumetry.pairs) == 2


def test_who_did_not_draw_is_not_explained(model, thick):
    with pytest.raises(NotExplained, match="'brain-1mm' drew the segments") as refused:
        segment(model, [thick], explain=ExplanationSpec())
    assert refused.value.result.drawn_by is not None


def test_the_file_says_who_drew(thick, llmboost, tmp_path):
    write_image(thick, tmp_path / "head.nii.gz")
    done = llmboost("segment", tmp_path / "head.nii.gz", "--model", "hippocampus", "--output", tmp_path / "out")
    assert done.status == 0
    header = (tmp_path / "out" / "head.seg.nrrd").read_bytes().partition(b"\n\n")[0].decode()
    assert "LLMBoost.Model:=hippocampus" in header
    assert "LLMBoost.DrawnBy:=brain-1mm" in header
    (row,) = json.loads((tmp_path / "out" / "summary.json").read_text())["cases"]
    assert row["quality"] is None
    assert "drawn by model 'brain-1mm'" in row["warnings"][0]


def without(model: Model, **fields) -> Model:
    return dataclasses.replace(model, card=dataclasses.replace(model.card, **fields))


def test_who_is_asked(model):
    assert second_reader(model).card.name == "brain-1mm"
    assert second_reader(load_model(find("brain-1mm"))) is None
    assert second_reader(load_model(find("brain"))) is None
    other = dataclasses.replace(model.card.cascade, localizer="another")
    assert second_reader(without(model, cascade=other)) is None
    # parts of something whose parts meet nobody knows where
    labels = tuple(dataclasses.replace(one, type=Code("SCT", "1", "Organ")) for one in model.card.labels)
    assert second_reader(without(model, labels=labels)) is None


@pytest.mark.parametrize("sequence", ["T2", "FLAIR"])
def test_a_patient_in_other_sequences(model, data_root: Path, sequence):
    path = data_root / "viewer" / "nifti" / f"mr_stroke_{sequence}.nii.gz"
    if not path.exists():
        pytest.skip(f"no {path}")
    found = segment(model, [read_image(path)])
    left, right = (
        sum(ml for name, ml in found.volumes_ml.items() if name.startswith(side)) for side in ("Left", "Right")
    )
    assert PLAUSIBLE[0] < min(left, right)
    assert max(left, right) < 1.25 * min(left, right)
