"""Synthetic heads: the same for the same seed, sides that stay sides, and samples without a brain."""

import numpy as np
import pytest
import torch

from llmboost.card import LEFT, RIGHT
from llmboost.errors import LLMBoostError
from llmboost.io.image import Image, write_image
from llmboost.learn.loss import IGNORED
from synthesis import COARSE, FINE, SyntheticHeads, head_labels, read_head_map
from synthesis.real import Mixed, RealHeads, classes_of_regions, read_real_heads
from synthesis.structures import class_of, other_side

RAS = np.diag([-1.0, -1.0, 1.0])
SPACING = 6.0
PATCH = (28, 28, 28)  # 168 mm of each axis: all of the head below
SIDES = ("Left", "Right")
SKIN, LEFT_WHITE, RIGHT_WHITE, LEFT_HIPPOCAMPUS, RIGHT_HIPPOCAMPUS = 511, 2, 41, 17, 53


def head():
    """A ball of skin around a brain with a hippocampus on each side, the left one larger; along R, A, S."""
    r, a, s = np.meshgrid(*(np.arange(24) - 11.5,) * 3, indexing="ij")
    radius = np.sqrt(r**2 + a**2 + s**2)
    values = np.where(radius < 11, SKIN, 0)
    brain = radius < 9
    values[brain & (r < 0)], values[brain & (r > 0)] = LEFT_WHITE, RIGHT_WHITE
    values[(abs(r + 4.5) < 3) & (abs(a) < 3) & (abs(s) < 3)] = LEFT_HIPPOCAMPUS
    values[(abs(r - 4.5) < 2) & (abs(a) < 2) & (abs(s) < 2)] = RIGHT_HIPPOCAMPUS
    return values.astype(np.int16)


@pytest.fixture(scope="module")
def read_map(tmp_path_factory):
    """``read_map(values, spacing)`` of what was written to a file."""

    def read(values, spacing=(SPACING, SPACING, SPACING), direction=RAS):
        path = tmp_path_factory.mktemp("maps") / "map.nii.gz"
        write_image(Image(values, spacing, (0.0, 0.0, 0.0), direction), path)
        return read_head_map(path)

    return read


@pytest.fixture(scope="module")
def heads(read_map):
    maps = [read_map(head())]
    return lambda length=24, seed=5, **options: SyntheticHeads(maps, PATCH, SPACING, length, seed, **options)


@pytest.fixture(scope="module")
def samples(heads):
    return list(map(heads(negative=0).__getitem__, range(24)))


def class_named(name):
    return next(label.value for label in head_labels() if label.name == name)


def equal(one, other):
    return torch.equal(one["image"], other["image"]) and torch.equal(one["label"], other["label"])


def test_the_nth_sample_of_a_seed_is_always_the_same(heads):
    one, other = heads(), heads()
    later = [other[n] for n in (7, 3, 0)]
    assert all(equal(one[n], sample) for n, sample in zip((7, 3, 0), later, strict=True))
    assert not equal(one[0], one[1])
    assert not equal(one[0], heads(seed=6)[0])


def test_labels_stay_labels_whatever_is_done_to_them(samples):
    known = {0, *(class_of()[v] for v in (LEFT_WHITE, RIGHT_WHITE, LEFT_HIPPOCAMPUS, RIGHT_HIPPOCAMPUS))}
    shown = set()
    for sample in samples:
        assert sample["image"].shape == sample["label"].shape == (1, *PATCH)
        assert sample["image"].dtype == torch.float32
        assert sample["image"].isfinite().all()
        shown |= set(sample["label"].unique().tolist())
    assert shown == known


def test_left_stays_left_in_a_mirror(samples):
    """Half of the heads are mirrored: the larger hippocampus is then the right one, and so it is called."""
    left, right = class_named("Left hippocampus"), class_named("Right hippocampus")
    larger_left, larger_right = 0, 0
    for sample in samples:
        label = sample["label"][0]
        one, other = (torch.nonzero(label == value).float() for value in (left, right))
        if len(one) > 20 and len(other) > 20:
            assert one.mean(0)[0] < other.mean(0)[0]
            larger_left += len(one) > len(other)
            larger_right += len(one) < len(other)
    assert larger_left > 3
    assert larger_right > 3


def test_the_image_ends_where_its_field_of_view_does(samples):
    filled = []
    for sample in samples:
        image, label = sample["image"][0], sample["label"][0]
        where = torch.nonzero(image)
        box = tuple(slice(a, b + 1) for a, b in zip(where.amin(0).tolist(), where.amax(0).tolist(), strict=True))
        outside = torch.ones_like(label)
        outside[box] = 0
        assert not (label * outside).any()
        filled.append(bool(image[box].shape == image.shape))
    assert 4 < sum(filled) < 20


def test_samples_without_a_brain_have_no_label(heads, samples):
    none = list(map(heads(negative=1).__getitem__, range(12)))
    assert not any(sample["label"].any() for sample in none)
    assert all(sample["image"].any() for sample in none)
    assert all(sample["label"].any() for sample in samples)


def test_intensities_are_random_contrasts(samples):
    """White matter is brighter than the hippocampus in some images, and darker in others."""
    white, hippocampus = class_named("Left cerebral white matter"), class_named("Left hippocampus")
    brighter = []
    for sample in samples:
        one, other = (sample["image"][sample["label"] == value] for value in (white, hippocampus))
        if len(one) and len(other):
            brighter.append(bool(one.mean() > other.mean()))
    assert 3 < sum(brighter) < len(brighter) - 3


def test_patches_may_show_a_part_of_a_head(heads):
    """Their middles lie anywhere within reach, and their finest structure is as fine as the map."""
    parts = heads(length=24, negative=0, reach=(60.0, 60.0, 60.0), structures=FINE)
    cut = [bool(parts[n]["label"][0][:, :, 0].any()) for n in range(24)]
    assert 4 < sum(cut) < 20


# real heads


CALLOSUM, FOREBRAIN = 95, 75


def write_real_head(folder, off=0.0):
    """Two halves of white matter with a strip between, in T1 and, brighter, in FLAIR; at 6 mm."""
    regions = np.zeros((20, 20, 20), np.int16)
    regions[4:9, 4:16, 4:16], regions[11:16, 4:16, 4:16] = 81, 82
    regions[9:11, 4:16, 4:16] = CALLOSUM
    regions[4:9, 4:6, 4:6] = FOREBRAIN
    place = ((6.0, 6.0, 6.0), (0.0, 0.0, 0.0), np.eye(3))  # the first index is on the right, in LPS
    for kind, bright in (("t1", 1), ("flair", 3)):
        write_image(Image((bright * regions).astype(np.float32), *place), folder / kind / "head.nii.gz")
    where = (place[0], (off, 0.0, 0.0), place[2])
    write_image(Image(regions, *where), folder / "muse" / "head.nii.gz")


def test_regions_across_the_middle_have_the_nearest_side(tmp_path):
    write_real_head(tmp_path)
    left, right = ({x.name: x.value for x in head_labels(FINE)}[f"{side} cerebral white matter"] for side in SIDES)
    (found,) = read_real_heads(tmp_path, 3.0)
    classes = found.classes
    assert classes.shape == (40, 40, 40)
    assert set(classes.unique().tolist()) == {IGNORED, 0, left, right}
    middle = classes[:, 20, 20]
    assert middle[:20].unique().tolist() == [0, left]  # along R: left first
    assert middle[20:].unique().tolist() == [0, right]
    assert int((middle > 0).sum()) == 24  # voxels of 3 mm in 12 of 6 mm


def test_a_head_whose_regions_lie_elsewhere_is_left_out(tmp_path):
    write_real_head(tmp_path, off=40.0)
    assert read_real_heads(tmp_path, 3.0) == []


def test_images_and_classes_of_a_real_head_are_bent_alike(tmp_path, heads):
    write_real_head(tmp_path)
    real = RealHeads(read_real_heads(tmp_path, 3.0), PATCH, 3.0, 5, (10.0, 10.0, 10.0))
    for n in range(8):
        image, label = (real[n][key][0] for key in ("image", "label"))
        assert image[label > 0].mean() > image[label == 0].mean() + 0.5
    shown = Mixed(heads(length=40, negative=1), real, 0.5)
    assert 10 < sum(bool(shown[n]["label"].any()) for n in range(len(shown))) < 30  # the synthetic ones have no brain


def test_every_region_of_the_fine_structures_is_known():
    values = np.arange(208, dtype=np.int16)
    classes = set(classes_of_regions(values[:, None, None]).ravel().tolist())
    assert classes == {IGNORED, 0, *(label.value for label in head_labels(FINE))}


# maps


def test_a_map_lies_in_the_patient_and_ends_at_its_neck(read_map):
    values = head()
    values[:, :, :4] = 0
    other = read_map(values[::-1, :, :], direction=RAS * (-1, 1, 1))
    one = read_map(values)
    assert torch.equal(one.indices, other.indices)
    assert one.indices.shape == (24, 24, 20)
    assert one.spacing == SPACING
    assert one.center == (11.5, 11.5, 8.0)


@pytest.mark.parametrize(
    ("change", "spacing", "problem"),
    [
        ({SKIN: 999}, (6.0, 6.0, 6.0), "value 999 is none of SynthSeg's labels"),
        ({}, (6.0, 6.0, 5.0), "voxels are not cubes"),
        (dict.fromkeys((2, 41, 17, 53), SKIN), (6.0, 6.0, 6.0), "without a brain"),
    ],
)
def test_maps_that_are_of_no_use(read_map, change, spacing, problem):
    values = head()
    for old, new in change.items():
        values[values == old] = new
    with pytest.raises(LLMBoostError, match=problem):
        read_map(values, spacing)


# tables


@pytest.mark.parametrize("structures", [COARSE, FINE], ids=["coarse", "fine"])
def test_every_structure_has_a_side_or_none(structures):
    labels = {label.value: label for label in head_labels(structures)}
    assert list(labels) == list(range(1, len(labels) + 1))
    assert len({label.name for label in labels.values()}) == len(labels)
    opposite = {LEFT: RIGHT, RIGHT: LEFT, None: None}
    classes, mirrored = class_of(structures), other_side()
    assert set(classes.values()) == {0, *labels}
    for value, other in mirrored.items():
        assert mirrored[other] == value
        if classes[value]:
            one, two = labels[classes[value]], labels[classes[other]]
            assert two.modifier == opposite[one.modifier]
            assert two.type == one.type
