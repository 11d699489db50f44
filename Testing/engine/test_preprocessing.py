"""From stored images to the network's input."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmboost.card import Normalization, Preprocessing
from llmboost.inference.preprocessing import normalize, preprocess
from llmboost.io.image import Image

RANDOM = np.random.default_rng(0)
STEPS = Preprocessing(spacing=(1.5, 1.0, 2.0))


@pytest.fixture
def image(make_case):
    return make_case(0)[0]


def stored(image, axes, flips):
    """The same anatomy, its voxels stored in another order."""
    affine = image.affine
    array = image.array.transpose(axes)
    columns, origin = image.direction[:, axes].copy(), affine[:3, 3].copy()
    for axis, flip in enumerate(flips):
        if flip:
            array = np.flip(array, axis)
            origin += affine[:3, axes[axis]] * (array.shape[axis] - 1)
            columns[:, axis] *= -1
    return Image(array, tuple(image.spacing[a] for a in axes), tuple(origin), columns)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_storage_order_makes_no_difference(image, axes):
    image = Image(image.array, (1.1, 0.9, 1.7), image.origin, image.direction)
    expected = preprocess([image], STEPS)
    assert expected.array.dtype == np.float32
    assert expected.shape == tuple(np.rint(np.array(image.shape) * image.spacing / np.array(STEPS.spacing)).astype(int))
    for flips in itertools.product((False, True), repeat=3):
        result = preprocess([stored(image, axes, flips)], STEPS)
        assert result.same_grid(expected)
        np.testing.assert_allclose(result.array, expected.array, atol=1e-4)


def test_pixel_types_make_no_difference(image):
    whole = image.with_array(image.array.round())
    expected = preprocess([whole], STEPS).array
    for dtype in (np.int16, np.int32, np.float64):
        result = preprocess([whole.with_array(whole.array.astype(dtype))], STEPS)
        assert result.array.dtype == np.float32
        np.testing.assert_allclose(result.array, expected, atol=1e-5)


def test_channels_come_to_the_first_ones_grid(image):
    steps = Preprocessing(channels=2, normalization=(Normalization(), Normalization()))
    other = stored(image, (2, 0, 1), (True, False, False))
    both = preprocess([image, other], steps)
    assert both.array.shape == (2, *image.shape)
    np.testing.assert_allclose(both.array[0], both.array[1], atol=1e-5)
    with pytest.raises(ValueError, match="1 channels given, the model takes 2"):
        preprocess([image], steps)


def normalized(array, how):
    result = array.astype(np.float32)
    normalize(result, how)
    return result


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(-10, 10))
def test_z_score_knows_no_scale_and_no_offset(scale, offset):
    array = RANDOM.standard_normal((12, 12, 12)).astype(np.float32)
    result = normalized(scale * (array + offset), Normalization())
    np.testing.assert_allclose(result, normalized(array, Normalization()), atol=1e-3)
    assert result.mean() == pytest.approx(0, abs=1e-4)
    assert result.std() == pytest.approx(1, abs=1e-3)


def test_z_score_is_not_moved_by_one_hot_voxel():
    array = RANDOM.standard_normal((20, 20, 20)).astype(np.float32)
    hot = array.copy()
    hot[0, 0, 0] = 1e6
    assert np.abs(normalized(hot, Normalization()) - normalized(array, Normalization()))[1:].max() < 0.05


@pytest.mark.parametrize("value", [0, -1024, 1e-7, 123456.789])
@pytest.mark.parametrize("how", [Normalization(), Normalization("window", -100, 200, 50, 80)], ids=lambda how: how.kind)
def test_a_constant_image_stays_finite(value, how):
    result = normalized(np.full((5, 5, 5), value), how)
    assert np.isfinite(result).all()
    assert result.dtype == np.float32
    assert np.abs(result).max() < 10


def test_window_normalisation():
    how = Normalization("window", low=-100, high=200, mean=50, std=75)
    result = normalized(np.array([[[-3000, -100, 50, 125, 200, 3000]]], np.int16), how)
    np.testing.assert_allclose(result[0, 0], [-2, -2, 0, 1, 2, 2], atol=1e-6)
    assert result.dtype == np.float32
