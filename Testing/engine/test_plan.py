"""What is read off a data set before training."""

from types import SimpleNamespace

import numpy as np
import pytest

from llmboost.errors import LLMBoostError
from llmboost.io.dataset import read_dataset
from llmboost.io.image import Image
from llmboost.learn.plan import PATCH_VOXELS, QUICK_VOXELS, make_plan

RAS = np.diag([-1.0, -1.0, 1.0])


@pytest.fixture
def plan_of():
    """``plan_of([(shape, spacing), ...])``: the plan for cases on these grids, which lie in memory alone."""

    def make(grids, modality="MRI", names=("thing",), ignore=None, values=None, direction=RAS, **how):
        def load(number):
            shape, spacing = grids[number]
            label = np.zeros(shape, np.uint8)
            label[0, 0, 0] = 1
            image = np.zeros(shape, np.float32)
            if values is not None:
                image, label = values(shape)
            return [Image(array, spacing, (0, 0, 0), direction) for array in (image,)], Image(
                label, spacing, (0, 0, 0), direction
            )

        labels = {n + 1: name for n, name in enumerate(names)}
        dataset = SimpleNamespace(modalities=(modality,), labels=labels, ignore=ignore, folder="data")
        return make_plan(dataset, range(len(grids)), load=load, **how)

    return make


def test_plan_of_the_ellipsoids(dataset_folder):
    dataset = read_dataset(dataset_folder)
    plan = make_plan(dataset, dataset.split("train"))
    preprocessing = plan.preprocessing
    assert preprocessing.channels == 1
    assert preprocessing.spacing == (1.0, 1.0, 1.0)
    assert preprocessing.patch_size == (24, 28, 24)
    assert [how.kind for how in preprocessing.normalization] == ["zscore"]
    assert preprocessing.mirror == (0,)
    assert plan.strides == ((2, 2, 2), (2, 2, 2), (1, 1, 1))
    assert plan.batch == 2, "a step does not see most of five cases"
    assert make_plan(dataset, 30 * dataset.split("train")).batch == 14
    assert all(
        isinstance(value, int) for value in (*preprocessing.patch_size, *np.ravel(plan.strides).tolist(), plan.batch)
    )
    assert any("z-score" in reason for reason in plan.reasons)


def test_the_canonical_axes_count_not_the_stored_ones(plan_of):
    grids = [((60, 20, 40), (1.0, 3.0, 2.0))]
    stored = np.array([[0.0, 0, -1], [0, -1, 0], [1, 0, 0]])  # axes S, A, R
    assert plan_of(grids, direction=stored).preprocessing.spacing == (2.0, 3.0, 1.0)


def test_thick_slices_are_spared(plan_of):
    plan = plan_of([((256, 256, 24), (0.8, 0.8, 5.0))] * 3)
    assert plan.preprocessing.spacing == (0.8, 0.8, 5.0)
    assert plan.strides == ((2, 2, 1), (2, 2, 1), (2, 2, 2))


def test_thick_slices_keep_the_detail_of_the_better_cases(plan_of):
    grids = [((64, 64, 24), (1.0, 1.0, thick)) for thick in (2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0)]
    assert plan_of(grids).preprocessing.spacing == (1.0, 1.0, 4.0)  # the 10th percentile
    assert plan_of(grids[:2] * 2).preprocessing.spacing[2] == 2.0


def test_one_slice_images(plan_of):
    plan = plan_of([((256, 224, 1), (1.0, 1.0, 1.0))] * 2)
    assert plan.strides == ((2, 2, 1),) * 3
    assert plan.preprocessing.patch_size == (256, 224, 1)


def test_a_network_that_is_there_keeps_its_levels(plan_of):
    grids = [((256, 224, 1), (1.0, 1.0, 1.0))] * 2
    assert plan_of(grids, levels=((2, 2, 2), (1, 1, 1))).strides == ((2, 2, 1), (1, 1, 1))


@pytest.mark.parametrize(("wide", "spacing"), [(60, 2.25), (16, 1.6), (12, 1.2), (8, 1.0)])
def test_a_network_that_learns_in_minutes_sees_coarse_voxels(plan_of, wide, spacing):
    """As coarse as makes one patch of the image, as long as the narrowest structure stays 10 voxels wide."""

    def bar(shape):
        label = np.zeros(shape, np.uint8)
        label[10:70, 10 : 10 + wide, 10 : 10 + wide] = 1
        return np.zeros(shape, np.float32), label

    grids = [((72, 72, 72), (1.0, 1.0, 1.0))]
    plan = plan_of(grids, values=bar, quick=True)
    assert plan.preprocessing.spacing == pytest.approx((spacing,) * 3, rel=0.05)
    assert np.prod(plan.preprocessing.patch_size) <= QUICK_VOXELS
    assert plan.batch == 1
    assert plan.network
    assert plan.training["optimizer"] == "muon"
    whole = plan_of(grids, values=bar)
    assert whole.preprocessing.spacing == (1.0, 1.0, 1.0), "with time, every detail"
    assert not whole.network
    assert not whole.training


def test_a_network_that_learns_in_minutes_sees_all_labels_at_once(plan_of):
    """A column of vertebrae, say, in which each is known by its place."""

    def column(shape):
        label = np.zeros(shape, np.uint8)
        for number in range(5):
            label[40:56, 40:56, 16 * number : 16 * number + 16] = number + 1
        return np.zeros(shape, np.float32), label

    names = [f"vertebra {number}" for number in range(5)]
    plan = plan_of([((96, 96, 88), (1.0, 1.0, 1.0))], values=column, names=names, quick=True)
    across, again, along = np.multiply(plan.preprocessing.patch_size, plan.preprocessing.spacing)
    assert along >= 80
    assert across == again < along / 2


def test_a_network_that_learns_in_minutes_leaves_thick_slices(plan_of):
    def bar(shape):
        label = np.zeros(shape, np.uint8)
        label[50:100, 50:100, 2:8] = 1
        return np.zeros(shape, np.float32), label

    plan = plan_of([((200, 220, 10), (1.5, 1.5, 10.0))], values=bar, quick=True)
    across, again, thick = plan.preprocessing.spacing
    assert across == again
    assert 5 < across <= 6
    assert thick == 10.0


def test_slices_are_coarse_when_minutes_count(plan_of):
    """As coarse as the narrowest structure allows: of many small patches, more is learned than of few large ones."""

    def square(shape):
        label = np.zeros(shape, np.uint8)
        label[100:140, 100:150] = 1
        return np.zeros(shape, np.float32), label

    plan = plan_of([((256, 256, 1), (1.0, 1.0, 5.0))], values=square, quick=True)
    assert plan.preprocessing.spacing == (4.0, 4.0, 5.0)
    assert plan.preprocessing.patch_size == (64, 64, 1)


def test_which_labels_are_one_piece(plan_of):
    def some(shape):
        label = np.zeros(shape, np.uint8)
        label[2:12, 2:12, 2:12] = 1
        label[20:24, 2:6, 2:6] = label[20:24, 20:24, 20:24] = 2
        label[2:12, 20:30, 20:30] = 3
        label[30, 30, 30] = 3  # a slip of the pen
        return np.zeros(shape, np.float32), label

    names = ("one", "two pieces", "one and a speck")
    plan = plan_of([((32, 32, 32), (1.0, 1.0, 1.0))] * 2, values=some, names=names, quick=True)
    assert plan.one_piece == (1, 3)


@pytest.mark.parametrize(("name", "sided"), [("RightParotid", True), ("left_kidney", True), ("Brightness", False)])
def test_labels_with_a_side_are_not_mirrored(plan_of, name, sided):
    plan = plan_of([((32, 32, 32), (1.0, 1.0, 1.0))], names=(name,))
    assert plan.preprocessing.mirror == (() if sided else (0,))


@pytest.mark.parametrize("shape", [(12, 12, 12), (7, 7, 7), (2, 1, 3), (3, 40, 9)])
def test_very_small_images_make_a_network_that_runs(plan_of, tiny_network, shape):
    import torch

    plan = plan_of([(shape, (1.0, 1.0, 1.0))])
    patch_size = plan.preprocessing.patch_size
    network = tiny_network(strides=plan.strides)
    assert [size % step for size, step in zip(patch_size, network.stride, strict=True)] == [0, 0, 0]
    assert all(size <= extent < 2 * size + 8 for size, extent in zip(shape, patch_size, strict=True))
    assert 2 <= plan.batch <= 16
    assert network(torch.zeros(1, 1, *patch_size)).shape == (1, 3, *patch_size)


@pytest.mark.parametrize("thickness", [0.5, 1.0, 1.9, 2.0, 3.1, 10.0])
@pytest.mark.parametrize("shape", [(512, 400, 20), (300, 10, 300), (33, 47, 61), (700, 650, 1), (130, 130, 131)])
def test_windows_fit_the_budget_and_the_strides(plan_of, shape, thickness):
    plan = plan_of([(shape, (1.0, 1.0, thickness))])
    patch_size = np.array(plan.preprocessing.patch_size)
    assert patch_size.prod() <= PATCH_VOXELS
    total = np.prod(plan.strides, axis=0)
    assert not (patch_size % total).any()
    assert (patch_size < np.array(shape) + total).all()
    if np.prod(shape) > PATCH_VOXELS:
        assert patch_size.prod() > PATCH_VOXELS / 2, "the budget is used"


def halves(shape):
    """Bone in label 1, -1000 elsewhere, nonsense under the ignore label 2."""
    image, label = np.full(shape, -1000, np.float32), np.zeros(shape, np.uint8)
    label[: shape[0] // 3] = 1
    label[-shape[0] // 3 :] = 2
    image[label == 1] = np.random.default_rng(0).normal(700, 100, int((label == 1).sum()))
    image[label == 2] = 30000
    return image, label


@pytest.mark.parametrize("modality", ["CT", "ct", "CBCT"])
def test_ct_is_clipped_to_what_the_labelled_voxels_show(plan_of, modality):
    (how,) = plan_of([((30, 20, 20), (1, 1, 1))], modality, ignore=2, values=halves).preprocessing.normalization
    assert how.kind == "window"
    assert how.low == pytest.approx(700 - 2.576 * 100, abs=25)
    assert how.high == pytest.approx(700 + 2.576 * 100, abs=25)
    assert how.mean == pytest.approx(700, abs=10)
    assert how.std == pytest.approx(100, abs=10)


@pytest.mark.parametrize("modality", ["CT", "MRI"])
def test_nothing_labelled(plan_of, modality):
    def empty(shape):
        return np.zeros(shape, np.float32), np.zeros(shape, np.uint8)

    with pytest.raises(LLMBoostError, match="no labeled voxels"):
        plan_of([((8, 8, 8), (1, 1, 1))], modality, values=empty)


@pytest.mark.parametrize(
    ("names", "mirrored"),
    [
        (("Left hippocampus", "Right hippocampus"), False),
        (("lung_left", "lung_right"), False),
        (("kidney-L",), False),
        (("RH",), False),
        (("tumour", "lobe (right)"), False),
        (("Anterior", "Posterior"), True),
        (("L1", "bright spot", "cleft"), True),
    ],
)
def test_labels_with_a_side_forbid_mirroring(plan_of, names, mirrored):
    plan = plan_of([((16, 16, 16), (1, 1, 1))], names=names)
    assert plan.preprocessing.mirror == ((0,) if mirrored else ())
    assert any("mirroring" in reason for reason in plan.reasons)
