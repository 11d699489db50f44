"""Boxes in space: which voxels they hold."""

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from llmboost.errors import LLMBoostError
from llmboost.inference.roi import Roi
from llmboost.io.image import Image

RAS = np.diag([-1.0, -1.0, 1.0])  # in LPS


def world(image):
    """The LPS position of each voxel, [3, i, j, k]."""
    index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"))
    return np.einsum("ab,bijk->aijk", image.affine[:3, :3], index) + np.array(image.origin)[:, None, None, None]


def numbered(direction, shape=(12, 15, 10), spacing=(1.0, 0.7, 2.0)):
    origin = tuple(-direction * spacing @ ((np.array(shape) - 1) / 2) + [30.0, -20.0, 5.0])
    return Image(np.arange(np.prod(shape)).reshape(shape), spacing, origin, direction)


def inside(image, center, size):
    distance = np.abs(world(image) - np.array(center)[:, None, None, None])
    return np.all(distance <= np.array(size)[:, None, None, None] / 2 + 1e-6, axis=0)


ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1.0, -1.0), repeat=3)))[::5]


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS, ids=str)
def test_the_box_of_any_orientation(axes, signs):
    """Exactly the voxels whose centers lie in the box, still in their places."""
    image = numbered(np.eye(3)[:, axes] * signs)
    center, size = (31.0, -21.0, 4.0), (5.0, 6.5, 7.0)
    expected = inside(image, center, size)
    assert 0 < expected.sum() < expected.size
    box = Roi(center, size)
    assert np.array_equal(box.contains(image), expected)
    part = box.crop(image)
    assert sorted(part.array.ravel()) == sorted(image.array[expected])
    assert part.spacing == image.spacing
    assert np.array_equal(part.direction, image.direction)
    flat = world(image).reshape(3, -1)[:, part.array.ravel()]
    np.testing.assert_allclose(world(part).reshape(3, -1), flat, atol=1e-9)


@pytest.mark.parametrize("turn", [(10, 0, 0), (20, -30, 40), (0, 0, 45)], ids=str)
def test_an_oblique_image(turn):
    """The smallest part whose grid spans the box."""
    image = numbered(Rotation.from_euler("xyz", turn, degrees=True).as_matrix(), (30, 40, 20), (1.0, 0.7, 1.4))
    center, size = (31.0, -21.0, 4.0), (5.0, 6.0, 7.0)
    part = Roi(center, size).crop(image)
    assert set(image.array[inside(image, center, size)]) <= set(part.array.ravel())
    flat = world(image).reshape(3, -1)[:, part.array.ravel()]
    np.testing.assert_allclose(world(part).reshape(3, -1), flat, atol=1e-9)
    half = np.abs(np.linalg.inv(image.affine[:3, :3])) @ (np.array(size) / 2)
    assert np.all(np.array(part.shape) <= 2 * half + 1)
    assert np.all(np.array(part.shape) > 2 * half - 1)


def test_channels_come_along():
    image = numbered(RAS)
    both = image.with_array(np.stack([image.array, -image.array]))
    part = Roi((30, -20, 5), (4, 4, 4)).crop(both)
    assert part.array.shape[0] == 2
    assert np.array_equal(part.array[1], -part.array[0])
    assert np.array_equal(part.array[0], Roi((30, -20, 5), (4, 4, 4)).crop(image).array)


def test_a_box_that_reaches_out_is_cut_and_one_outside_refused():
    image = numbered(np.eye(3))
    assert np.array_equal(Roi((30, -20, 5), (500, 500, 500)).crop(image).array, image.array)
    corner = Roi(image.origin, (3, 3, 3)).crop(image)
    assert corner.origin == image.origin
    assert corner.shape == (2, 3, 1)
    for center, size in (((300, -20, 5), (9, 9, 9)), ((30, -20, -500), (9, 9, 9)), ((30, -20, 5), (0.5, 0.5, 0.5))):
        with pytest.raises(LLMBoostError, match="lies outside the image"):
            Roi(center, size).crop(image)


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS, ids=str)
def test_outside_it_is_told_where_the_image_lies(axes, signs):
    image = numbered(np.eye(3)[:, axes] * signs, (12, 12, 12), (1.0, 1.0, 1.0))  # about (30, -20, 5) in LPS
    with pytest.raises(
        LLMBoostError, match=r"at \(0, 0, 99\) mm \(R, A, S\) lies outside the image, which reaches from"
    ):
        Roi((0, 0, 99), (1, 1, 1)).bounds(image)
    with pytest.raises(LLMBoostError, match=r"from \(-36\.0, 14\.0, -1\.0\) to \(-24\.0, 26\.0, 11\.0\)$"):
        Roi((0, 0, 99), (1, 1, 1)).bounds(image)


@pytest.mark.parametrize("turn", [(0, 0, 30), (25, -40, 60)], ids=str)
def test_a_rotated_box(turn):
    """Every voxel whose center lies in it, found in the box's own coordinates."""
    image = numbered(Rotation.from_euler("xyz", (5, 10, -20), degrees=True).as_matrix(), (30, 32, 20), (1.0, 0.7, 1.4))
    axes = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    box = Roi((31.0, -21.0, 4.0), (9.0, 5.0, 7.0), axes)
    local = np.einsum("ab,aijk->bijk", axes, world(image) - np.array(box.center)[:, None, None, None])
    expected = np.all(np.abs(local) <= np.array(box.size)[:, None, None, None] / 2, axis=0)
    assert 100 < expected.sum() < expected.size / 4
    assert np.array_equal(box.contains(image), expected)
    part = box.crop(image)
    assert set(image.array[expected]) <= set(part.array.ravel())
    assert part.array.size < 6 * expected.sum()


@pytest.mark.parametrize("size", [(1, 0, 1), (1, -2, 1), (np.nan, 1, 1), (1, np.inf, 1)], ids=str)
def test_a_box_without_a_size_is_refused(size):
    with pytest.raises(LLMBoostError, match="three lengths above zero"):
        Roi((0, 0, 0), size)
