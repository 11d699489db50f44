"""What a classifier sees of an image: the same however the image is stored, and where it lies in the patient."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from llmboost.card import INPUT_REGIONS, Normalization, Preprocessing
from llmboost.errors import LLMBoostError
from llmboost.inference.classifier_input import classifier_input
from llmboost.io.image import Image

RAS = np.diag([-1.0, -1.0, 1.0])  # in LPS
AS_STORED = Normalization("window", -1e6, 1e6, 0.0, 1.0)
ORDERS = list(itertools.permutations(range(3)))
PROPERTY = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def steps_of(patch_size=(8, 8, 8), spacing=2.0, channels=1, how=AS_STORED):
    return Preprocessing(channels, (spacing,) * 3, patch_size, (how,) * channels)


def noise(shape, seed=0, spacing=(1.0, 1.0, 1.0), direction=RAS, origin=(3.0, -5.0, 40.0)):
    values = np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)
    return Image(values, spacing, origin, direction)


def mask(shape, seed=0, **place):
    """A box of ones somewhere."""
    random = np.random.default_rng(seed)
    image = noise(shape, **place)
    array = np.zeros(shape, np.uint8)
    ends = [sorted(random.choice(n + 1, 2, replace=False)) for n in shape]
    array[tuple(slice(*end) for end in ends)] = 1
    return image.with_array(array)


def position_map(image):
    """The image whose values are x + 2 y + 3 z of each voxel's place in LPS."""
    index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1)
    places = index @ image.affine[:3, :3].T + image.affine[:3, 3]
    return image.with_array(places @ np.array([1.0, 2.0, 3.0]))


# -- how an image is stored does not matter ----------------------------------------------------------------------------


@PROPERTY
@given(
    input_region=st.sampled_from(INPUT_REGIONS),
    shape=st.tuples(*[st.integers(3, 15)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.7, 1.0, 1.5, 2.0, 3.1])] * 3),
    degrees=st.tuples(*[st.floats(-20, 20)] * 3),
    axes=st.sampled_from(ORDERS),
    flips=st.tuples(*[st.booleans()] * 3),
    seed=st.integers(0, 99),
)
def test_a_volume_is_seen_alike_in_whatever_order_it_is_stored(
    reordered, input_region, shape, spacing, degrees, axes, flips, seed
):
    turned = RAS @ Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    make = mask if input_region == "mask" else noise
    image = make(shape, seed, spacing=spacing, direction=turned)
    first, place = classifier_input([image], steps_of(), input_region)
    again, same = classifier_input([reordered(image, axes, flips)], steps_of(), input_region)
    assert first.shape == (1, 1, 8, 8, 8)
    assert first.dtype == np.float32
    assert place.shape == (8, 8, 8)
    np.testing.assert_allclose(again, first, atol=1e-3)
    assert same.same_grid(place)


@PROPERTY
@given(
    input_region=st.sampled_from(["square", "center"]),
    shape=st.tuples(st.integers(3, 15), st.integers(3, 15), st.integers(1, 4)),
    thick=st.integers(0, 2),
    across=st.integers(0, 2),
    axes=st.sampled_from(ORDERS),
    flips=st.tuples(*[st.booleans()] * 3),
    seed=st.integers(0, 99),
)
def test_slices_are_seen_alike_in_whatever_order_they_are_stored(
    reordered, input_region, shape, thick, across, axes, flips, seed
):
    """Slices across any axis of the patient, for models of slices across any axis."""
    count = shape[2]
    shape = np.insert(shape[:2], thick, count)
    spacing = np.insert([1.0, 1.0], thick, 4.0)
    image = noise(tuple(shape), seed, spacing=tuple(spacing))
    patch_size = tuple(np.insert([8, 8], across, 1).tolist())
    first, place = classifier_input([image], steps_of(patch_size), input_region)
    again, same = classifier_input([reordered(image, axes, flips)], steps_of(patch_size), input_region)
    assert first.shape == (count, 1, *patch_size)
    np.testing.assert_allclose(again, first, atol=1e-3)
    assert same.same_grid(place)
    assert place.shape == tuple(np.insert([8, 8], across, count))


@pytest.mark.parametrize("input_region", INPUT_REGIONS)
def test_a_finer_image_of_the_same_is_seen_alike(input_region):
    seen = []
    for mm in (0.5, 1.0):
        size = round(24 / mm)
        axis = (np.arange(size) + 0.5) * mm - 12
        x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
        array = np.exp(-((x / 5) ** 2) - ((y - 1) / 4) ** 2 - ((z + 2) / 6) ** 2)
        array = array > 0.4 if input_region == "mask" else 100 * array
        seen.append(
            classifier_input(
                [Image(array.astype(np.float32), (mm,) * 3, (mm / 2,) * 3, RAS)], steps_of(), input_region
            )[0]
        )
    difference = np.abs(seen[0] - seen[1]) / seen[1].max()
    assert difference.mean() < 0.02
    assert np.corrcoef(seen[0].ravel(), seen[1].ravel())[0, 1] > 0.99


# -- where the patch lies ---------------------------------------------------------------------------------------------


@PROPERTY
@given(
    input_region=st.sampled_from(["square", "center"]),
    shape=st.tuples(*[st.integers(12, 20)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.8, 1.0, 1.5])] * 3),
    degrees=st.tuples(*[st.floats(-20, 20)] * 3),
    axes=st.sampled_from(ORDERS),
)
def test_the_place_of_a_window_is_told(reordered, input_region, shape, spacing, degrees, axes):
    """Voxels that hold their own place must come to lie there."""
    turned = RAS @ Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    image = reordered(noise(shape, spacing=spacing, direction=turned), axes, (True, False, True))
    seen, place = classifier_input([position_map(image)], steps_of(spacing=1.2), input_region)
    inner = (slice(2, -2),) * 3  # smoothing bends values at the image's border
    np.testing.assert_allclose(seen[0, 0][inner], position_map(place).array[inner], atol=0.02)


def test_the_place_of_slices_is_told():
    image = noise((20, 3, 16), spacing=(1.0, 5.0, 1.5))
    seen, place = classifier_input([position_map(image)], steps_of((8, 8, 1), spacing=1.2), "square")
    assert seen.shape == (3, 1, 8, 8, 1)
    assert place.shape == (8, 8, 3)
    stack = np.concatenate([one[0] for one in seen], axis=2)
    inner = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(stack[inner], position_map(place).array[inner], atol=0.02)


def test_a_square_is_the_largest_in_the_middle():
    array = np.zeros((12, 8, 1), np.float32)
    array[2:10] = 1
    seen, place = classifier_input([Image(array, (1, 1, 1), (0, 0, 0), RAS)], steps_of((8, 8, 1)), "square")
    assert (seen == 1).all()
    assert place.spacing == (1, 1, 1)
    # in millimeters, not in pixels
    array = np.zeros((24, 8, 1), np.float32)
    array[4:20] = 1
    seen, place = classifier_input([Image(array, (0.5, 1, 1), (0, 0, 0), RAS)], steps_of((4, 4, 1)), "square")
    np.testing.assert_allclose(seen, 1, atol=0.15)
    assert place.spacing == (2, 2, 1)


def test_a_small_image_is_seen_with_its_smallest_value_around():
    image = noise((4, 4, 4))
    seen, place = classifier_input([image], steps_of((8, 8, 8), spacing=1.0), "center")
    np.testing.assert_array_equal(seen[0, 0, 2:6, 2:6, 2:6], image.array)
    assert (seen.sum() - image.array.sum()) / (8**3 - 4**3) == pytest.approx(image.array.min(), rel=1e-4)
    np.testing.assert_allclose(place.affine @ [2, 2, 2, 1], image.affine @ [0, 0, 0, 1])


# -- masks -------------------------------------------------------------------------------------------------------------


@PROPERTY
@given(shape=st.tuples(*[st.integers(4, 24)] * 3), seed=st.integers(0, 999), mm=st.sampled_from([0.9, 1.0, 1.6]))
def test_a_mask_lies_with_its_centroid_in_the_middle(shape, seed, mm):
    image = mask(shape, seed)
    seen, place = classifier_input([image], steps_of((40, 40, 40), spacing=mm), "mask")
    assert 0 <= seen.min() <= seen.max() <= 1
    places = np.argwhere(image.array) @ image.affine[:3, :3].T + image.affine[:3, 3]
    middle = np.linalg.solve(place.affine, [*places.mean(axis=0), 1])[:3]
    assert np.abs(middle - 19.5).max() <= 0.51  # half a voxel
    assert seen.sum() * mm**3 == pytest.approx(image.array.sum(), rel=0.6, abs=12)


def test_a_mask_that_fills_its_image_ends_at_its_border():
    image = noise((4, 5, 6)).with_array(np.ones((4, 5, 6), np.uint8))
    seen, _ = classifier_input([image], steps_of((20, 20, 20), spacing=1.0), "mask")
    assert seen.sum() == 4 * 5 * 6


def test_a_mask_far_from_the_images_middle_is_seen_whole():
    array = np.zeros((30, 30, 30), np.uint8)
    array[0:4, 26:30, 3:7] = 7
    seen, place = classifier_input([Image(array, (1, 1, 1), (0, 0, 0), RAS)], steps_of(spacing=1.0), "mask")
    assert seen[0, 0, 2:6, 2:6, 2:6].sum() == seen.sum() == 64, "values above zero are one"
    np.testing.assert_allclose(place.origin, [2, -24, 1])


def test_a_mask_as_large_as_the_window_is_centered_too():
    array = np.zeros((8, 8, 8), np.uint8)
    array[:2, :2, :2] = 1
    seen, _ = classifier_input([Image(array, (1, 1, 1), (0, 0, 0), RAS)], steps_of(spacing=1.0), "mask")
    assert seen[0, 0, 3:5, 3:5, 3:5].sum() == 8


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([0, 1, 2, 5], r"a label map of several segments \(1, 2, 5\), but the model takes one"),
        ([-1024, 40], "an image, but the model takes a segment"),
        ([0, 0.25, 1], "an image, but the model takes a segment"),
        ([0, 100, 900], "an image, but the model takes a segment"),
    ],
)
def test_what_is_no_mask_is_refused(values, reason):
    image = noise((9, 9, 9))
    image = image.with_array(np.random.default_rng(0).choice(np.array(values), image.shape))
    with pytest.raises(LLMBoostError, match=reason):
        classifier_input([image], steps_of(), "mask")


@pytest.mark.parametrize("value", [1, 255, 0.5, True])
def test_a_mask_may_have_any_one_value(value):
    image = mask((9, 8, 7))
    expected, _ = classifier_input([image], steps_of(spacing=1.0), "mask")
    seen, _ = classifier_input([image.with_array(np.where(image.array, value, 0))], steps_of(spacing=1.0), "mask")
    np.testing.assert_array_equal(seen, expected)


def test_an_empty_mask_is_refused():
    with pytest.raises(LLMBoostError, match="the mask is empty; choose a segment with voxels"):
        classifier_input([noise((9, 9, 9)).with_array(np.zeros((9, 9, 9), np.uint8))], steps_of(), "mask")


# -- channels and slices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("input_region", INPUT_REGIONS)
@pytest.mark.parametrize("shape", [(9, 9, 1), (1, 9, 9), (9, 1, 9)])
def test_a_single_slice_is_no_volume(input_region, shape):
    with pytest.raises(LLMBoostError, match="a single slice, but the model needs a volume; give the whole series"):
        classifier_input([noise(shape)], steps_of(), input_region)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_channels_is_refused(count):
    with pytest.raises(LLMBoostError, match=rf"takes 2 image\(s\) a case, {count} given"):
        classifier_input([noise((9, 9, 9))] * count, steps_of(channels=2), "center")


def test_channels_are_brought_onto_the_first_ones_grid():
    first = position_map(noise((16, 16, 16)))
    second = position_map(noise((34, 34, 34), spacing=(0.5, 0.5, 0.5), origin=(3.0, -5.0, 39.5)))
    seen, _ = classifier_input([first, second], steps_of(spacing=1.0, channels=2), "center")
    np.testing.assert_allclose(seen[0, 0], seen[0, 1], atol=0.01)


def test_each_slice_is_normalized_by_itself():
    image = noise((12, 12, 3), spacing=(1, 1, 5))
    image.array[..., 1] *= 7
    zscore = Normalization()
    seen, _ = classifier_input([image], steps_of((12, 12, 1), how=zscore), "square")
    assert np.abs(seen.mean(axis=(1, 2, 3, 4))).max() < 1e-3
    assert np.abs(seen.std(axis=(1, 2, 3, 4)) - 1).max() < 1e-2


def test_the_image_itself_stays_as_it_is():
    image = noise((8, 8, 8))
    before = image.array.copy()
    classifier_input([image], steps_of(spacing=1.0, how=Normalization()), "center")
    assert np.array_equal(image.array, before)
