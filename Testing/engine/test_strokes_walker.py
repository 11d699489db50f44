"""The random walker, against a direct solver and on phantoms whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve

from llmboost.errors import Cancelled
from llmboost.inference.watch import Watch
from llmboost.strokes.walker import FLOOR, SHARPNESS, near_labels, walk


def halves(shape=(20, 18, 16), noise=0.05, seed=0):
    """A noisy step across the first axis, with a stroke in each half."""
    image = np.zeros(shape, np.float32)
    image[shape[0] // 2 :] = 1
    image += noise * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    seeds = np.full(shape, -1)
    seeds[3, 4:14, shape[2] // 2], seeds[-4, 4:14, shape[2] // 2] = 0, 1
    return image[None], seeds


def directly(image, seeds, spacing, leak):
    """The same probabilities by a direct solver of the whole system."""
    shape, index = seeds.shape, np.arange(seeds.size).reshape(seeds.shape)
    differences = [np.square(np.diff(image.astype(float), axis=axis + 1)).sum(0) for axis in range(3)]
    spread = sum(one.sum() for one in differences) / sum(one.size for one in differences)
    rows, columns, values = [], [], []
    for axis, difference in enumerate(differences):
        weight = np.exp(-SHARPNESS * difference / spread) * (min(spacing) / spacing[axis]) ** 2 + FLOOR
        here, there = (np.take(index, range(n, shape[axis] - 1 + n), axis).ravel() for n in (0, 1))
        rows += [here, there]
        columns += [there, here]
        values += [weight.ravel()] * 2
    matrix = sparse.coo_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))).tocsr()
    known = seeds.ravel() >= 0
    found = np.eye(seeds.max() + 1)[np.maximum(seeds.ravel(), 0)]
    # fewer seeds pull the more
    counts = found[known].sum(0)
    matrix = matrix @ sparse.diags_array(np.where(known, np.sqrt(counts.max() / counts[found.argmax(1)]), 1))
    laplacian = sparse.diags_array(matrix.sum(1) + leak) - matrix
    right = matrix.tocsr()[~known][:, known] @ found[known] + [leak, 0, 0]
    found[~known] = spsolve(laplacian.tocsr()[~known][:, ~known].tocsc(), right)
    return found.T.reshape(-1, *shape)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 0.7, 3.0)])
@pytest.mark.parametrize("leak", [0.0, 1e-3])
def test_probabilities_are_those_of_a_direct_solver(leak, spacing):
    image, seeds = halves((24, 12, 13), noise=0.2)
    seeds[6, 2, 2] = 2
    found, wanted = walk(image, seeds, spacing, leak), directly(image, seeds, spacing, leak)
    assert np.abs(found - wanted).mean() < 0.01
    assert (found.argmax(0) == wanted.argmax(0)).mean() > 0.99
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_a_noisy_step_is_split_within_a_voxel():
    image, seeds = halves()
    labels = walk(image, seeds, (1, 1, 1)).argmax(0)
    assert (labels[:9] == 0).all()
    assert (labels[11:] == 1).all()


def test_what_is_painted_is_kept():
    image, seeds = halves()
    seeds[5, 5, 5] = 1  # in the other half
    found = walk(image, seeds, (1, 1, 1))
    np.testing.assert_array_equal(found.argmax(0)[seeds >= 0], seeds[seeds >= 0])
    assert set(np.unique(found[:, seeds >= 0])) == {0, 1}


def test_a_thin_stroke_pulls_as_broad_ones_do():
    image = np.zeros((1, 24, 15, 15), np.float32)
    seeds = np.full(image.shape[1:], -1)
    seeds[0, 6:9, 6:9], seeds[-1, 7, 7] = 0, 1
    share = (walk(image, seeds, (1, 1, 1)).argmax(0) == 1).mean()
    assert share > 0.05  # 0.002 where all edges to seeds are as strong as others


def test_axes_in_another_order_give_the_same():
    image, seeds = halves()
    found = walk(image, seeds, (1.0, 0.7, 2.0))
    turned = walk(image.transpose(0, 3, 1, 2)[:, ::-1], seeds.transpose(2, 0, 1)[::-1], (2.0, 1.0, 0.7))
    np.testing.assert_allclose(turned[:, ::-1].transpose(0, 2, 3, 1), found, atol=5e-3)


def test_strokes_reach_far():
    image = np.random.default_rng(0).uniform(0.9, 1.1, (1, 12, 13, 240)).astype(np.float32)
    image[0, 0, 0, ::2] = 3  # next to which all else is alike
    seeds = np.full(image.shape[1:], -1)
    seeds[4:8, 4:8, 0], seeds[4:8, 4:8, -1] = 0, 1
    border = (walk(image, seeds, (1, 1, 1)).argmax(0) == 0).sum(2)
    assert 117 < border.mean() < 123
    assert border.std() < 3


def test_one_axis_of_one_voxel_and_several_channels():
    image, seeds = halves((20, 18, 1))
    labels = walk(np.concatenate([np.zeros_like(image), image]), seeds, (1, 1, 5)).argmax(0)
    assert (labels[:9] == 0).all()
    assert (labels[11:] == 1).all()


def test_a_large_box_is_told_by_two_strokes():
    image, seeds = halves((100, 80, 72))
    labels = walk(image, seeds, (1, 1, 1)).argmax(0)
    assert (labels[:49] == 0).mean() > 0.999
    assert (labels[51:] == 1).mean() > 0.999


def test_cancel_is_heeded_within_a_few_steps():
    image, seeds = halves()
    asked = []
    with pytest.raises(Cancelled):
        walk(image, seeds, (1, 1, 1), watch=Watch(cancelled=lambda: bool(asked.append(1)) or len(asked) > 3))
    assert len(asked) == 4


def test_seeds_are_needed():
    with pytest.raises(ValueError, match="seeds"):
        walk(np.zeros((1, 3, 3, 3)), np.full((3, 3, 3), -1), (1, 1, 1))


def test_air_and_bone_do_not_make_soft_tissue_look_alike():
    """As in CT: between two tissues lies a hundredth of what lies between air and bone."""
    truth = np.indices((24, 24, 24))[0] >= 12
    image = np.where(truth, 60.0, 40.0) + np.random.default_rng(0).standard_normal(truth.shape)
    image[:, :, :6], image[:, :, 18:] = -1000, 1000
    classes = np.full(truth.shape, -1)
    classes[10:11, 8:16, 8:16], classes[22:23, 8:16, 8:16] = 0, 1  # the one close to the border, the other far from it
    seen = np.zeros(truth.shape, bool)
    seen[:, :, 7:17] = True

    def right(image):
        return ((walk(image, classes, (1, 1, 1)).argmax(0) == 1) == truth)[seen].mean()

    image = image[None].astype(np.float32)
    assert right(image) < 0.8
    assert right(near_labels(image, classes)) > 0.95


def test_intensities_of_labels_alone_bound_what_is_seen():
    image = np.arange(100, dtype=np.float32).reshape(1, 100, 1, 1)
    classes = np.full((100, 1, 1), -1)
    classes[40:51], classes[:5] = 1, 0
    seen = near_labels(image, classes)
    assert (seen.min(), seen.max()) == pytest.approx((30.6, 59.4), abs=0.2)
    assert (seen[0, 40:51] == image[0, 40:51]).all()
    flat = np.full_like(image, 7)
    assert (near_labels(np.concatenate([flat, image]), classes)[1] == seen[0]).all()
    assert (near_labels(flat * (classes > 0), classes) == flat * (classes > 0)).all(), "one value has no range"
