"""From cases to patches to train on: classes on the network's grid, which patches are cut, and augmentation."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.transforms import Compose

from llmboost.card import Preprocessing
from llmboost.io.dataset import Dataset
from llmboost.io.image import Image
from llmboost.learn.augment import IMAGE, LABEL, RandContrastd, RandThickSlicesd, random_pose
from llmboost.learn.loss import IGNORED
from llmboost.learn.patches import FOREGROUND, TrainingPatches, Volume, cut
from llmboost.learn.segmentation import read_volume

from .training_samples import STEPS


def patches_of(volumes, patch_size, mirror=(), length=40, seed=0, **options):
    return TrainingPatches(volumes, Preprocessing(patch_size=patch_size, mirror=mirror), length, seed, **options)


def unchanged(patches):
    """Leave out what changes intensities."""
    patches.augment = Compose([])
    return patches


def ball(shape=(24, 24, 24), ignored=False):
    """A case whose image is its label: 1 in a ball, 0 elsewhere; in one half unknown, if ``ignored``."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    label = torch.from_numpy((((index - np.array(shape) / 2) ** 2).sum(-1) < 64).astype(np.int16))[None]
    image = label.float()
    if ignored:
        label[:, : shape[0] // 2] = IGNORED
    return Volume("ball", image, label)


# cases


def dataset_of(labels, ignore=None):
    return Dataset(Path("data"), "data", ("MRI",), labels, ignore, {}, {})


def test_labels_become_classes_on_the_networks_grid():
    values = np.zeros((6, 8, 10), np.uint8)
    values[:, 2:4], values[:, 4:6], values[:, 6:] = 5, 2, 9
    place = ((1.0, 1.0, 1.0), (0, 0, 0), np.eye(3))
    case = SimpleNamespace(id="x")

    def load(_case):
        return [Image(values.astype(float), *place)], Image(values, *place)

    dataset = dataset_of({2: "two", 5: "five"}, ignore=9)
    volume = read_volume(dataset, case, Preprocessing(), load)
    # LPS to RAS turns the first two axes round
    assert volume.label[0, 0, :, 0].tolist() == [IGNORED, IGNORED, 1, 1, 2, 2, 0, 0]
    assert volume.label.dtype == torch.int16
    assert volume.image.shape == (1, 6, 8, 10)
    fine = read_volume(dataset, case, Preprocessing(spacing=(1.0, 0.5, 1.0)), load)
    assert fine.label.shape == (1, 6, 16, 10)
    assert fine.label[0, 0, :, 0].tolist() == [IGNORED] * 4 + [1] * 4 + [2] * 4 + [0] * 4


# patches


def test_the_nth_window_is_always_the_same(volumes):
    def windows(seed):
        return TrainingPatches(volumes[0], STEPS, 12, seed)

    first, again, other = windows(5), windows(5), windows(6)
    backwards = {n: again[n] for n in reversed(range(12))}
    for n in range(12):
        sample = first[n]
        assert type(sample[IMAGE]) is torch.Tensor
        assert sample[IMAGE].shape == sample[LABEL].shape == (1, *STEPS.patch_size)
        assert torch.equal(sample[IMAGE], backwards[n][IMAGE])
        assert torch.equal(sample[LABEL], backwards[n][LABEL])
        assert set(sample[LABEL].unique().tolist()) <= {0, 1, 2}
        assert torch.isfinite(sample[IMAGE]).all()
        assert not torch.equal(sample[IMAGE], other[n][IMAGE])
    assert not torch.equal(first[0][IMAGE], first[5][IMAGE]), "epochs differ"


def test_an_epoch_sees_each_case_once():
    cases = [
        Volume(str(n), torch.full((1, 8, 8, 8), float(n)), torch.zeros(1, 8, 8, 8, dtype=torch.int16)) for n in range(5)
    ]
    windows = unchanged(patches_of(cases, (4, 4, 4), length=100))
    orders = [[int(windows[5 * epoch + n][IMAGE].max()) for n in range(5)] for epoch in range(6)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert len(set(map(tuple, orders))) > 1


def test_the_share_of_windows_with_foreground():
    """One labeled voxel in a large case: only patches meant for it are likely to hold it."""
    label = torch.zeros(1, 80, 80, 80, dtype=torch.int16)
    label[0, 3, 40, 77] = 1
    label[0, 3:5, 40:42, 75:77] = 1
    for foreground in (FOREGROUND, 0.8):
        windows = patches_of(
            [Volume("a", torch.zeros(1, 80, 80, 80), label)], (8, 8, 8), length=400, foreground=foreground
        )
        share = np.mean([bool(windows[n][LABEL].any()) for n in range(400)])
        assert share == pytest.approx(foreground, abs=0.08)


def test_each_label_is_shown_as_often_as_another():
    """However small it is."""
    label = torch.zeros(1, 64, 64, 64, dtype=torch.int16)
    label[0, 4:24, 20:44, 20:44], label[0, 56:59, 30:33, 30:33] = 1, 2
    windows = patches_of([Volume("a", torch.zeros(1, 64, 64, 64), label)], (12, 12, 12), length=300, foreground=1.0)
    found = [set(windows[n][LABEL].unique().tolist()) for n in range(300)]
    assert 0.4 < np.mean([2 in values for values in found]) < 0.6
    assert 0.4 < np.mean([1 in values for values in found]) < 0.6


def test_cutting_inside_and_outside():
    volume, straight = torch.arange(1.0, 1 + 4 * 5 * 6).reshape(1, 4, 5, 6), np.eye(3)
    assert torch.allclose(cut(volume, np.array([2, 2.5, 3.5]), (2, 5, 3), straight), volume[:, 1:3, :, 2:5], atol=1e-4)
    padded = cut(volume, np.array([1.5, 2, 3]), (7, 6, 6), straight)
    assert torch.allclose(padded[:, 2:6, 1:6], volume, atol=1e-4)
    assert padded.sum() == pytest.approx(float(volume.sum()), rel=1e-5), "all else is zero"
    turned = cut(volume, np.array([2, 2.5, 3]), (4, 5, 6), np.diag([1.0, -1.0, 1.0]))
    assert torch.allclose(turned, volume.flip(2), atol=1e-4)
    whole = cut(volume.to(torch.int16), np.array([2, 2.5, 3]), (4, 5, 6), straight)
    assert torch.equal(whole, volume.to(torch.int16))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 2.0, 1.5), (0.7, 0.7, 5.0)])
def test_poses_turn_and_scale_in_millimetres(spacing):
    preprocessing, random = Preprocessing(spacing=spacing, mirror=(0,)), np.random.default_rng(0)
    mirrored = 0
    for _ in range(200):
        pose = random_pose(preprocessing, random)
        space = pose * np.array(spacing)[:, None] / spacing  # steps in mm
        lengths = np.linalg.norm(space, axis=0)
        assert ((lengths > 0.75) & (lengths < 1.35)).all(), "nothing is stretched by its spacing"
        assert np.abs(np.triu(space.T @ space, 1)).max() < 1e-9, "angles stay right ones"
        mirrored += np.linalg.det(space) < 0
        if max(spacing) >= 2 * min(spacing):
            thick = int(np.argmax(spacing))
            assert abs(space[thick, thick]) == pytest.approx(lengths[thick]), "thick slices are not tilted"
    assert 70 < mirrored < 130


def test_slices_stay_slices():
    label = torch.zeros(1, 32, 32, 1, dtype=torch.int16)
    label[0, 8:24, 8:24] = 1
    windows = unchanged(patches_of([Volume("a", label.float(), label)], (32, 32, 1)))
    for n in range(20):
        assert windows[n][LABEL].float().mean() == pytest.approx(0.25, abs=0.16)
        assert windows[n][LABEL].shape == (1, 32, 32, 1)


def test_small_images_lie_in_the_middle_of_the_window():
    case = Volume("a", torch.ones(1, 5, 10, 8), torch.ones(1, 5, 10, 8, dtype=torch.int16))
    windows = unchanged(patches_of([case], (12, 8, 20)))
    for n in range(20):
        sample = windows[n]
        middle = torch.nonzero(sample[IMAGE][0] > 0.5).float().mean(dim=0)
        assert middle.numpy() == pytest.approx([5.5, 3.5, 9.5], abs=0.6)
        assert (sample[IMAGE] * (1 - sample[LABEL])).mean() < 0.1


def test_image_and_label_move_together():
    windows = unchanged(patches_of([ball()], (24, 24, 24), mirror=(0, 1, 2)))
    moved = 0
    for n in range(40):
        sample = windows[n]
        a, b = sample[IMAGE] > 0.5, sample[LABEL] > 0.5
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.9
        moved += not torch.equal(sample[LABEL], ball().label.float())
    assert moved > 20


def test_intensities_change_nothing_in_the_label():
    changed, same = patches_of([ball()], (24, 24, 24)), unchanged(patches_of([ball()], (24, 24, 24)))
    assert all(torch.equal(changed[n][LABEL], same[n][LABEL]) for n in range(30))
    assert not all(torch.equal(changed[n][IMAGE], same[n][IMAGE]) for n in range(30))


def test_random_contrasts_turn_bright_into_dark_and_keep_the_scale():
    image = torch.linspace(-2, 3, 16**3).reshape(1, 16, 16, 16)
    step = RandContrastd(IMAGE, prob=1.0).set_random_state(seed=0)
    seen = [step({IMAGE: image})[IMAGE] for _ in range(40)]
    for one in seen:
        assert one.mean() == pytest.approx(float(image.mean()), abs=1e-3)
        assert one.std() == pytest.approx(float(image.std()), rel=1e-2)
    falling = sum(bool(one.flatten()[0] > one.flatten()[-1]) for one in seen)
    assert 8 < falling < 32
    flat = torch.full_like(image, 0.5)
    assert torch.isfinite(step({IMAGE: flat})[IMAGE]).all()


def test_thick_slices_blur_one_axis_and_stay_where_they_are():
    image = torch.zeros(1, 24, 24, 24)
    image[:, 8:16, 8:16, 8:16] = 1
    step = RandThickSlicesd(IMAGE, prob=1.0).set_random_state(seed=0)
    for _ in range(20):
        thick = step({IMAGE: image})[IMAGE]
        assert thick.shape == image.shape
        ranges = [len(torch.unique(torch.nonzero(thick[0] > 0.01)[:, axis])) for axis in range(3)]
        assert sorted(ranges)[:2] == [8, 8], "two axes stay sharp"
        assert max(ranges) > 8
        places = torch.nonzero(thick[0] > 0.5).float()
        assert places.mean(dim=0).numpy() == pytest.approx([11.5] * 3, abs=1.5)
        assert thick.sum() == pytest.approx(float(image.sum()), rel=0.25)


def test_the_share_of_windows_in_another_contrast(volumes):
    share = {
        contrast: np.mean(
            [
                "RandContrastd" in [type(step).__name__ for step in windows.augment.transforms if step._do_transform]
                for windows in [TrainingPatches(volumes[0], STEPS, 60, 0, contrast=contrast)]
                for n in range(60)
                if windows[n]
            ]
        )
        for contrast in (0.0, 0.5)
    }
    assert share[0.0] == 0
    assert 0.3 < share[0.5] < 0.7


def test_unknown_voxels_stay_unknown_and_labels_whole():
    windows = patches_of([ball(ignored=True)], (24, 24, 24), mirror=(0,))
    for n in range(40):
        label = windows[n][LABEL]
        assert set(label.unique().tolist()) <= {IGNORED, 0, 1}
        assert 0.1 < (label == IGNORED).float().mean() < 0.7


def test_everything_unknown_survives_inside_the_image():
    """What turns to background lies outside the moved image, hence at the patch's border."""
    case = Volume("a", torch.ones(1, 24, 24, 24), torch.full((1, 24, 24, 24), IGNORED, dtype=torch.int16))
    windows = patches_of([case], (24, 24, 24))
    for n in range(40):
        label = windows[n][LABEL]
        assert set(label.unique().tolist()) <= {IGNORED, 0}
        assert (label[0, 9:15, 9:15, 9:15] == IGNORED).all()


def test_a_constant_image_stays_finite():
    case = Volume("a", torch.zeros(1, 8, 8, 8), torch.zeros(1, 8, 8, 8, dtype=torch.int16))
    windows = patches_of([case], (8, 8, 8), mirror=(0,), length=60)
    assert all(torch.isfinite(windows[n][IMAGE]).all() for n in range(60))
