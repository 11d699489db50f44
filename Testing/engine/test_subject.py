"""What is no head: where structures lie to each other, how they look, CT; and that nothing is drawn there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from llmboost.card import Card, Label, Subject, read_card
from llmboost.errors import LLMBoostError
from llmboost.inference.roi import Roi
from llmboost.inference.segment import segment
from llmboost.inference.subject import aligned, another_kind, like_ct, like_labels, refusal, why_not
from llmboost.io.image import Image, read_image, resample_to_spacing
from llmboost.library import find
from llmboost.model import Model, load_model

RAS = np.diag([-1.0, -1.0, 1.0])
NAMES = ("a", "b", "c", "d", "e")
LABELS = tuple(Label(n, name, (0, 0, 0)) for n, name in enumerate(NAMES, start=1))
PLACES = dict(zip(NAMES, [(0, 0, 0, 2), (30, 0, 0, 2), (0, 40, 0, 2), (0, 0, 50, 2), (25, 25, 25, 2)], strict=True))
SUBJECT = Subject("cross", PLACES, 4, 1.5, (0.5, 2.0), 0.1, 1.5)


def picture(places=None, scale=1.0, values=(10, 14, 10, 14, 12), around=5.0, missing=()):
    """Classes and intensities on a grid of 2 mm: a cube at each place, in a block of tissue."""
    found, image = np.zeros((60, 60, 60), np.int16), np.zeros((60, 60, 60))
    found[10:56, 10:56, 10:56], image[4:58, 4:58, 4:58] = 6, around
    image[10:56, 10:56, 10:56] = 12
    for n, (name, place) in enumerate((places or PLACES).items(), start=1):
        i, j, k = (round(27 + scale * mm / 2) for mm in place[:3])
        if name not in missing:
            found[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3] = n
            image[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3] = values[n - 1]
    return found, image


def judge(subject=SUBJECT, **options):
    return why_not(subject, (*LABELS, Label(6, "rest", (0, 0, 0))), *picture(**options), (2.0, 2.0, 2.0))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, ""),
        ({"scale": 0.6}, ""),
        ({"missing": ("e",)}, ""),
        ({"missing": ("d", "e")}, "only 3 of 5 structures are in view"),
        (
            {"places": {**PLACES, "a": PLACES["e"], "e": PLACES["a"]}},
            "what was found does not lie as its structures do",
        ),
        ({"places": {name: (-x, y, z) for name, (x, y, z, _) in PLACES.items()}}, "what was found does not lie"),
        ({"values": (12,) * 5}, "its structures look alike"),
        ({"around": 30.0}, "what surrounds it is much brighter"),
    ],
    ids=["as it is", "small", "one missing", "two missing", "exchanged", "mirrored", "alike", "bright rim"],
)
def test_the_reasons(options, reason):
    assert judge(**options).startswith(reason)
    assert bool(judge(**options)) == bool(reason)


def test_too_small():
    assert (
        judge(dataclasses.replace(SUBJECT, scale=(0.8, 2.0)), scale=0.6)
        == "what was found is 0.6 times as large as usual"
    )


def test_brightness_is_asked_for_where_the_subject_tells():
    plain = dataclasses.replace(SUBJECT, contrast=0.0, rim=0.0)
    assert judge(values=(12,) * 5)
    assert not judge(plain, values=(12,) * 5)
    assert judge(around=30.0)
    assert not judge(plain, around=30.0)


@pytest.mark.parametrize("one_piece", [(), (1, 2, 3, 4, 5)], ids=["all in one", "a piece each"])
def test_structures_that_do_not_touch_are_found_where_each_is_one_piece(tiny_card, tiny_network, one_piece):
    found, image = picture()
    found[found == 6] = 0
    found[50:52, 50:52, 50:52] = 1  # a stray piece, far from its structure
    image = image + np.random.default_rng(0).normal(0, 0.1, image.shape)  # as scanners are
    work = Image(image[None].astype(np.float32), (2.0,) * 3, (0.0,) * 3, RAS)
    fields = {"labels": LABELS, "one_piece": one_piece, "modality": "MR", "subject": SUBJECT}
    card = dataclasses.replace(tiny_card(tiny_network()), **fields)
    reasons = refusal(card, found, work, work.with_array(image.astype(np.float32)))
    assert bool(reasons) == (not one_piece), reasons


def test_points_are_shifted_turned_and_scaled_to_where_they_should_lie():
    random = np.random.default_rng(0)
    points = random.normal(0, 30, (9, 3))
    turn = Rotation.from_euler("xyz", (40, -20, 100), degrees=True).as_matrix()
    there = 1.7 * points @ turn.T + (5, -60, 200)
    moved, scale = aligned(points, there, random.uniform(0.1, 3, 9))
    np.testing.assert_allclose(moved, there, atol=1e-9)
    assert scale == pytest.approx(1.7)
    mirrored, _ = aligned(points * (-1, 1, 1), there, np.ones(9))
    assert np.abs(mirrored - there).max() > 5
    # one point far off counts as little as it is said to
    there[0] += 100
    weights = np.r_[1e-9, np.ones(8)]
    np.testing.assert_allclose(aligned(points, there, weights)[0][1:], there[1:], atol=1e-3)


# -- values of CT ------------------------------------------------------------------------------------------------------


def test_values_of_ct():
    random = np.random.default_rng(1)
    tissue = random.normal(40, 20, 6000)
    air, bone, fat = np.full(3000, -1000.0), random.uniform(300, 1500, 600), random.normal(-100, 10, 1000)
    ct = np.concatenate([tissue, air, bone, fat])
    assert like_ct(ct)
    assert like_ct(ct.astype(np.int16))
    assert like_ct(np.where(ct == -1000, -3024, ct)), "padding in the place of air"
    assert not like_ct(ct + 1024)
    assert not like_ct(np.concatenate([tissue, fat])), "no air"
    assert not like_ct(np.abs(random.normal(300, 200, 9000)))
    assert not like_ct(random.normal(0, 1, 9000)), "standardized"
    assert not like_ct(random.uniform(-4096, 4095, 9000)), "the phase of MR"


def test_another_kind(tiny_card, tiny_network):
    card: Card = dataclasses.replace(tiny_card(tiny_network()), modality="MR")
    ct, mr = np.array([-1000, 0, 30, 50] * 9), np.array([0, 100, 400, 800] * 9)
    assert another_kind(card, mr, "") == another_kind(card, mr, "MR") == another_kind(card, ct, "MR") == ""
    assert another_kind(card, mr, "PT").startswith("the images are PT, and model")
    assert another_kind(card, ct, "").startswith("the images have values like CT (Hounsfield units), and model")
    assert another_kind(dataclasses.replace(card, modality="CT"), ct, "") == ""
    assert another_kind(dataclasses.replace(card, modality=""), ct, "") == ""


def test_label_maps_are_told_from_images(tiny_card, tiny_network):
    random = np.random.default_rng(0)
    labels = np.zeros((24, 24, 24), np.int16)
    for n, start in enumerate((2, 8, 14), start=1):
        labels[start : start + 6, 4:20, 4:20] = n
    image = labels * 100 + random.integers(0, 20, labels.shape)
    assert like_labels(labels)
    assert like_labels(labels.astype(np.float32))
    assert like_labels((labels > 0) * 255), "a mask"
    assert like_labels(labels[:, :, 10:11]), "a slice"
    assert not like_labels(image)
    assert not like_labels(image.clip(10, 250)), "cut off above and below"
    air = np.where(labels > 0, image, -1000)
    air[:2], air[2, 0, 0] = -3024, 3000
    assert not like_labels(air), "air inside of padding"
    assert not like_labels(np.full((4, 4, 4), 7)), "one value"
    card: Card = dataclasses.replace(tiny_card(tiny_network()), modality="MR")
    assert another_kind(card, labels, "").startswith("the images have large areas of one value, as label maps have")
    for modality in ("", "SEG"):
        assert another_kind(dataclasses.replace(card, modality=modality), labels, "") == ""


def test_a_crop_with_values_of_ct_is_told(tiny_model, make_case):
    model = load_model(tiny_model)
    image = make_case(3)[0]
    assert not any("CT" in warning for warning in segment(model, [image]).warnings)
    ct = image.with_array(np.where(image.array < 100, -1000, image.array - 200).astype(np.int16))
    assert any("values like CT" in warning for warning in segment(model, [ct]).warnings)
    told = segment(model, [dataclasses.replace(image, modality="PT")]).warnings
    assert any(text.startswith("the images are PT") and text.endswith("check the segments closely") for text in told)


# -- cards -------------------------------------------------------------------------------------------------------------


def test_cards_keep_their_subject():
    card = read_card(find("brain"))
    assert card.subject is not None
    assert card.subject.name == "head"
    assert Card.from_json(card.to_json()).subject == card.subject


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fewest", 2),
        ("fewest", 99),
        ("scale", [2.0, 1.0]),
        ("misfit", -1.0),
        ("rim", None),
        ("places", {"no such label": [0, 0, 0, 1]}),
        ("places", {"Brain stem": [0, 0, 0]}),
        ("places", {"Brain stem": [0, 0, 0, 0]}),
        ("name", ""),
    ],
)
def test_damaged_subjects(field, value):
    raw = json.loads(read_card(find("brain")).to_json())
    raw["subject"][field] = {**raw["subject"]["places"], **value} if field == "places" else value
    with pytest.raises(LLMBoostError, match="damaged card"):
        Card.from_json(json.dumps(raw))


# -- the shipped model -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def brain() -> Model:
    return load_model(find("brain"))


def bodies():
    """Phantoms in about a head's size, at 4 mm."""
    shape = (48, 54, 44)
    x, y, z = (
        ((np.arange(n) - (n - 1) / 2) * 4.0).reshape([-1 if a == b else 1 for b in range(3)])
        for a, n in enumerate(shape)
    )
    yield "zeros", np.zeros(shape)
    yield "bottle", 1.0 * (np.sqrt(x**2 + y**2) < 60) * (abs(z) < 80)
    yield "ball", 1.0 * (np.sqrt(x**2 + y**2 + z**2) < 80)
    egg = np.sqrt((x / 76) ** 2 + (y / 92) ** 2 + (z / 72) ** 2)
    yield "egg with a shell", 0.6 * (egg < 0.85) + 1.0 * ((egg > 0.92) & (egg < 1))
    yield "box", 1.0 * ((abs(x) < 70) & (abs(y) < 85) & (abs(z) < 70))
    yield "noise", np.ones(shape)
    yield "ramp", x + 0 * y + 0 * z


@pytest.mark.parametrize(("name", "array"), bodies(), ids=lambda value: value if isinstance(value, str) else "")
def test_the_brain_is_not_drawn_in_a_phantom(brain, name, array):
    noise = np.random.default_rng(2).standard_normal(array.shape) * (0 if name == "zeros" else 0.03)
    image = Image((500 * (array + noise)).astype(np.float32), (4.0, 4.0, 4.0), (0.0, 0.0, 0.0), RAS)
    result = segment(brain, [image], probabilities=True, entropy=True)
    assert result.warnings[0] == "this does not look like a head: nothing was segmented"
    assert not result.labelmap.array.any()
    assert (result.probabilities.array[0] == 1).all()
    assert not result.probabilities.array[1:].any()
    assert not result.entropy.array.any()
    assert not any(result.volumes_ml.values())


def test_the_brain_of_a_head_is_drawn_in_thick_slices_and_a_smaller_view(brain, template):
    head = resample_to_spacing(template, (2.0, 2.0, 2.0))
    for spacing in ((2.0, 2.0, 6.0), (6.0, 2.0, 2.0)):
        result = segment(brain, [resample_to_spacing(head, spacing)])
        assert not result.warnings
        assert 1300 < sum(result.volumes_ml.values()) < 2000
    center = head.affine[:3, :3] @ (np.array(head.shape) / 2) + head.origin
    size = np.array(head.shape) * head.spacing
    view = Roi(list(center), [size[0], size[1], 0.8 * size[2]])
    assert not segment(brain, [head], roi=view).warnings


def test_a_head_in_ct_is_none_in_mr(brain, template):
    """Bone around the template's brain, and in it next to no contrast."""
    head = resample_to_spacing(template, (4.0, 4.0, 4.0))
    found = segment(brain, [head]).labelmap.array > 0
    values = np.where(found, 30 + 10 * (head.array / head.array.max() - 0.5), -1000)
    bone = ndimage.binary_dilation(found, iterations=2) & ~found
    hounsfield = np.where(bone, 900.0, values)
    for array in (hounsfield, hounsfield + 1024, np.clip(hounsfield, 0, 80)):
        result = segment(brain, [head.with_array(array.astype(np.float32))])
        assert not result.labelmap.array.any()
        assert result.warnings[0].startswith("this does not look like a head")
    told = segment(brain, [dataclasses.replace(head, modality="CT")]).warnings
    assert told[0].startswith("the images are CT, and model 'brain' takes MR")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["brain", "hippocampus"])
def test_foreign_scans(data_root, name):
    """Spines, necks and heads in CT, however their values are stored; and heads that are drawn in."""
    model = load_model(find(name))
    foreign = []
    for path in [
        *sorted((data_root / "lumbar_spine_mr/imagesTr").glob("*.nii.gz"))[::8],
        *sorted((data_root / "headneck_ct/imagesTr").glob("*.nii.gz"))[::26],
    ]:
        foreign.append(read_image(path))
    cranium = read_image(data_root / "viewer/nifti/ct_head_invesalius_cranium.nii.gz")
    values = cranium.array.astype(np.float32)
    foreign += [cranium, cranium.with_array(values + 1024), cranium.with_array(np.clip(values, 0, 80))]
    foreign.append(read_image(data_root / "viewer/nifti/ct_head_vtk_quarter.nrrd"))
    for image in foreign:
        assert not segment(model, [image]).labelmap.array.any()
    for path in sorted((data_root / "heads_t1_flair_2mm").glob("*/head_0[04].nii.gz")):
        if path.parent.name != "muse":
            assert segment(model, [read_image(path)]).labelmap.array.any(), path


def test_an_adapted_model_draws_in_what_its_user_chose(brain):
    """It was taught on other images than the base's subject, perhaps."""
    from llmboost.learn.adaptation.common import adapted_card

    adaptation = SimpleNamespace(data=SimpleNamespace(name="mine", license=""), counts=(1, 0))
    card = adapted_card(adaptation, brain.card, brain.network, Path("mine.safetensors"), {})
    assert card.subject is None
