"""Images whose header does not say how they lie in the patient: nothing that is drawn in them has a side."""

import dataclasses
import json
import struct

import nibabel
import numpy as np
import pytest

from llmboost.card import LEFT, RIGHT, Code, Label
from llmboost.inference.segment import segment
from llmboost.inference.sides import without_sides
from llmboost.io.image import Image, read_image, write_image
from llmboost.io.segnrrd import read_segmentation
from llmboost.model import load_model

from .test_cascade import make_head, make_model


def named(*names):
    return [Label(n, name, (0, 0, 0)) for n, name in enumerate(names, start=1)]


@pytest.mark.parametrize(
    ("names", "merged"),
    [
        (("Left hippocampus", "Right hippocampus", "Brain stem"), ["Hippocampus", "Brain stem"]),
        (("left kidney", "liver", "right kidney"), ["kidney", "liver"]),
        (("Left-Thalamus-Proper", "Right-Thalamus-Proper"), ["Thalamus-Proper"]),
        (("kidney_left", "kidney_right"), ["kidney"]),
        (("Kidney (left)", "Kidney (right)"), ["Kidney"]),
        (("Kidney, left", "Kidney, right"), ["Kidney"]),
        (("ctx-lh-insula", "ctx-rh-insula"), ["ctx-insula"]),
        (("lung_L", "lung_R", "L4"), ["lung", "L4"]),
        (("vertebra L", "bright spot", "aright"), ["vertebra L", "bright spot", "aright"]),
        (("left", "right"), ["either side"]),
        (("Left ventricle", "Right ventricle", "right_atrium"), ["Left ventricle", "Right ventricle", "right_atrium"]),
        (("Left lateral ventricle", "Right lateral ventricle"), ["Lateral ventricle"]),
        (("Left kidney",), ["Kidney"]),
    ],
)
def test_names_without_sides(names, merged):
    labels, places = without_sides(named(*names))
    assert [label.name for label in labels] == merged
    assert len(places) == len(names)
    assert all(labels[place].value <= value for value, place in enumerate(places, start=1))


def test_codes_without_sides():
    organ = Code("SCT", "1", "Organ")
    pair = [
        Label(n, name, (9, 9, 9), type=organ, modifier=side)
        for n, name, side in ((3, "Organ L", LEFT), (4, "Organ R", RIGHT))
    ]
    labels, places = without_sides([*pair, dataclasses.replace(pair[0], value=5, name="other", modifier=organ)])
    assert [(label.value, label.name, label.modifier) for label in labels] == [(3, "Organ", None), (5, "other", organ)]
    assert places == [0, 0, 1]


def test_a_cascade_draws_both_sides_alike():
    head, _ = make_head()
    sided = segment(make_model(), [head])
    result = segment(make_model(), [dataclasses.replace(head, sides_known=False)], probabilities=True, entropy=True)
    assert result.labels == make_model().card.labels
    assert set(result.volumes_ml) == {"Front", "back"}
    assert result.volumes_ml["Front"] == pytest.approx(
        sided.volumes_ml["Left front"] + sided.volumes_ml["Right front"], abs=1e-9
    )
    expected = np.array([0, 1, 0, 3, 1, 0, 3])[sided.labelmap.array]
    assert np.array_equal(result.labelmap.array, expected)
    assert np.array_equal(result.merged(make_model().card.labels).array, expected)
    one, _ = make_head((24,))
    alone = segment(make_model(), [dataclasses.replace(one, sides_known=False)])
    assert "organ: not in view" in " ".join(alone.warnings).lower()
    assert not any(side in " ".join(alone.warnings).lower() for side in ("left", "right"))


def test_a_model_of_sides_draws_pairs(trained_model):
    model = load_model(trained_model)
    pair = [
        dataclasses.replace(label, name=f"{side.meaning} part", modifier=side)
        for label, side in zip(model.card.labels, (LEFT, RIGHT), strict=True)
    ]
    model = dataclasses.replace(model, card=dataclasses.replace(model.card, labels=tuple(pair)))
    from .conftest import ellipsoids

    image, _ = ellipsoids(11)
    known = segment(model, [image], probabilities=True)
    assert set(known.volumes_ml) == {"Left part", "Right part"}
    result = segment(model, [dataclasses.replace(image, sides_known=False)], probabilities=True)
    assert [(label.value, label.name, label.modifier) for label in result.labels] == [(1, "Part", None)]
    assert np.array_equal(result.labelmap.array, known.labelmap.array > 0)
    assert result.volumes_ml == {"Part": pytest.approx(sum(known.volumes_ml.values()), abs=1e-9)}
    both = known.probabilities.array[1] + known.probabilities.array[2]
    assert np.allclose(result.probabilities.array, [known.probabilities.array[0], both, both])


def test_from_file_to_summary(tmp_path, llmboost, trained_model):
    from .conftest import ellipsoids

    image, _ = ellipsoids(11)
    write_image(image, tmp_path / "a.nii.gz")
    plain = nibabel.load(tmp_path / "a.nii.gz")
    header = plain.header.copy()
    header["qform_code"], header["sform_code"] = 0, 0
    raw = bytearray(plain.to_bytes())
    struct.pack_into("<2h", raw, 252, 0, 0)
    (tmp_path / "unknown.nii").write_bytes(raw)
    out = tmp_path / "out"
    done = llmboost(
        "segment",
        tmp_path / "unknown.nii",
        "--model",
        trained_model,
        "--output",
        out,
        "--uncertainty",
        "--format",
        "nii.gz",
    )
    assert done.status == 0, done.err
    (row,) = json.loads((out / "summary.json").read_text())["cases"]
    assert any("orientation unknown" in warning for warning in row["warnings"])
    for name in ("unknown.nii.gz", "unknown_entropy.nii.gz"):
        back = nibabel.load(out / name).header
        assert (int(back["qform_code"]), int(back["sform_code"])) == (0, 0)
        assert np.array_equal(nibabel.load(out / name).affine, nibabel.load(tmp_path / "unknown.nii").affine)
    assert (
        llmboost("segment", tmp_path / "unknown.nii", "--model", trained_model, "--output", tmp_path / "b").status == 0
    )
    assert read_segmentation(tmp_path / "b" / "unknown.seg.nrrd")[0].same_grid(read_image(tmp_path / "unknown.nii"))


def test_every_other_image_has_sides():
    assert Image(np.zeros((2, 2, 2)), (1, 1, 1), (0, 0, 0), np.eye(3)).sides_known
