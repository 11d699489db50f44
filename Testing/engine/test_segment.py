"""One case: a label map on the input's grid, whatever that is, and what is said about it."""

import copy
import dataclasses
import functools
import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from llmboost.card import Label
from llmboost.errors import Cancelled, LLMBoostError
from llmboost.inference.components import largest_component
from llmboost.inference.preprocessing import orient
from llmboost.inference.roi import Roi
from llmboost.inference.segment import entropy_term, segment
from llmboost.inference.watch import Watch
from llmboost.io.image import Image, resample
from llmboost.model import Model, load_model

ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3)))


@pytest.fixture(scope="module")
def model(trained_model):
    return load_model(trained_model)


def with_card(model, **fields):
    return Model(dataclasses.replace(model.card, **fields), model.network)


def with_bias(model, value):
    """The model with ``value`` added to what it says of the background."""
    network = copy.deepcopy(model.network)
    network.heads[0].bias[0] += value
    return Model(model.card, network)


def dice(a, b, value):
    return 2 * np.sum((a == value) & (b == value)) / (np.sum(a == value) + np.sum(b == value))


def on_grid(image, spacing, direction, interpolation):
    """The image on a grid of the same middle that holds all of it."""
    extent = np.abs(direction).T @ np.abs(image.direction) @ (np.array(image.shape) * image.spacing)
    shape = np.ceil(extent / spacing).astype(int)
    middle = image.affine[:3, :3] @ ((np.array(image.shape) - 1) / 2) + image.origin
    origin = middle - direction * spacing @ ((shape - 1) / 2)
    return resample(image, Image(np.zeros(shape, np.float32), spacing, tuple(origin), direction), interpolation)


# the grid


OBLIQUE = Rotation.from_euler("xyz", (10, -8, 12), degrees=True).as_matrix()
GRIDS = {
    "as trained": ((1.0, 1.0, 1.0), np.diag([-1.0, -1.0, 1.0])),
    "LPS": ((1.0, 1.0, 1.0), np.eye(3)),
    "sagittal": ((1.0, 1.0, 1.0), np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]])),
    "thick slices": ((0.7, 0.8, 2.2), np.diag([1.0, -1.0, -1.0])),
    "fine": ((0.6, 0.6, 0.6), np.eye(3)),
    "oblique": ((1.0, 1.0, 1.0), OBLIQUE),
    "oblique, permuted, anisotropic": ((0.8, 1.9, 1.1), OBLIQUE[:, [2, 0, 1]] * [1, -1, 1]),
}


@pytest.mark.parametrize("grid", GRIDS)
def test_the_result_lies_on_the_inputs_grid_and_is_right(model, make_case, grid):
    phantom, truth = (
        on_grid(image, *GRIDS[grid], how) for image, how in zip(make_case(20), ("linear", "nearest"), strict=True)
    )
    result = segment(model, [phantom])
    labelmap = result.labelmap
    assert labelmap.shape == phantom.shape
    assert labelmap.spacing == phantom.spacing
    assert labelmap.origin == phantom.origin
    assert np.array_equal(labelmap.direction, phantom.direction)
    assert labelmap.array.dtype == np.uint8
    assert [dice(labelmap.array, truth.array, value) > 0.7 for value in (1, 2)] == [True, True]
    voxel_ml = np.prod(phantom.spacing) / 1000
    assert result.volumes_ml == {
        "front": pytest.approx(np.sum(labelmap.array == 1) * voxel_ml),
        "back": pytest.approx(np.sum(labelmap.array == 2) * voxel_ml),
    }
    assert result.warnings == ()
    assert result.probabilities is result.entropy is None
    assert result.seconds > 0


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS[5::5], ids=str)
def test_the_order_of_storage_changes_nothing(model, make_case, reordered, axes, flips):
    """Each permutation and each combination of flips comes at least once."""
    phantom = make_case(21)[0]
    expected = segment(model, [phantom]).labelmap
    assert set(np.unique(expected.array)) == {0, 1, 2}
    found = segment(model, [reordered(phantom, axes, flips)]).labelmap
    back = np.argsort(axes)
    restored = reordered(found, back, [flips[n] for n in back])
    assert np.array_equal(restored.array, expected.array)
    assert restored.same_grid(phantom, 1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float64])
def test_types_of_pixels(model, make_case, dtype):
    phantom = make_case(22)[0]
    scaled = np.clip(phantom.array / 2 + 60, 0, 250)
    result = segment(model, [phantom.with_array(scaled.astype(dtype))]).labelmap.array
    assert np.mean(result != segment(model, [phantom]).labelmap.array) < 0.02


def test_label_values_of_the_card(model, make_case):
    """Values need be neither consecutive nor small."""
    phantom = make_case(23)[0]
    plain = segment(model, [phantom]).labelmap.array
    labels = (Label(300, "front", (1, 2, 3)), Label(7, "back", (4, 5, 6)))
    result = segment(with_card(model, labels=labels), [phantom])
    assert result.labelmap.array.dtype == np.uint16
    assert np.array_equal(result.labelmap.array, np.array([0, 300, 7])[plain])
    assert result.volumes_ml["back"] == pytest.approx(np.sum(plain == 2) / 1000)


@pytest.mark.parametrize("shape", [(24, 28, 1), (1, 28, 24), (24, 1, 1), (1, 1, 1)])
def test_a_single_slice_is_no_volume(model, make_case, shape):
    phantom = make_case(24)[0]
    i, j, k = shape
    image = Image(phantom.array[:i, :j, :k], phantom.spacing, phantom.origin, phantom.direction)
    with pytest.raises(LLMBoostError, match=r"a single slice, but model 'ellipsoids' needs a volume \(about 24 x"):
        segment(model, [image])


# models of slices


def slice_model(card, axis):
    """Label 1 where a voxel is brighter than its slice's neighbors along one axis on average, of patches of a slice."""
    patch_size = [16, 16, 16]
    patch_size[axis] = 1
    network = torch.nn.Conv3d(1, 3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([0.0, 5.0, -5.0]).reshape(3, 1, 1, 1, 1))
        network.bias.copy_(torch.tensor([2.0, 0.0, 0.0]))
    steps = dataclasses.replace(card.preprocessing, patch_size=tuple(patch_size), spacing=(1.0, 1.0, 9.0))
    return Model(dataclasses.replace(card, preprocessing=steps), network)


@pytest.mark.parametrize("across", [0, 1, 2])
@pytest.mark.parametrize("wanted", [0, 2])
def test_one_slice_of_any_orientation(model, make_case, across, wanted):
    """A 2D model sees the slice in its plane, whatever plane of the patient that is, and at its own spacing."""
    phantom = make_case(24)[0]
    middle = [slice(None)] * 3
    middle[across] = slice(12, 13)
    image = Image(phantom.array[tuple(middle)], phantom.spacing, phantom.origin, phantom.direction)
    seen = []
    flat = slice_model(model.card, wanted)
    flat.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2:]))
    labelmap = segment(flat, [image]).labelmap
    assert labelmap.same_grid(image)
    bright = image.array > np.percentile(image.array, 85)
    assert np.mean(labelmap.array[bright] == 1) > 0.9
    expected = [16, 16, 16]
    expected[wanted] = 1
    assert set(seen) == {tuple(expected)}


def test_a_2d_model_keeps_the_slices_of_a_volume(model, make_case):
    """Slices lie where they are, neither interpolated nor taken along another axis."""
    phantom = make_case(24)[0]
    volume = Image(phantom.array[::4], (4.0, 1.0, 1.0), phantom.origin, phantom.direction)
    flat = slice_model(model.card, 2)
    whole = segment(flat, [volume]).labelmap
    assert whole.same_grid(volume)
    assert orient(volume, flat.card.preprocessing).shape == (*volume.shape[1:], volume.shape[0])
    changed = volume.array.copy()
    changed[3] = np.flip(changed[3], 0)
    other = segment(flat, [volume.with_array(changed)]).labelmap.array
    assert np.array_equal(np.delete(other, 3, 0), np.delete(whole.array, 3, 0))
    assert not np.array_equal(other[3], whole.array[3])


# regions of interest


@pytest.mark.parametrize("grid", ["as trained", "thick slices", "oblique, permuted, anisotropic"])
def test_a_region_of_interest(model, make_case, grid):
    """Inside, what the model says of the crop; outside, background, on the whole grid."""
    phantom = on_grid(make_case(20)[0], *GRIDS[grid], "linear")
    middle = phantom.affine @ [*((np.array(phantom.shape) - 1) / 2), 1]
    box = Roi(middle[:3], (18.0, 22.0, 16.0), Rotation.from_euler("z", 20, degrees=True).as_matrix())
    result = segment(model, [phantom], roi=box, entropy=True, probabilities=True)
    assert result.labelmap.same_grid(phantom)
    inside = box.contains(phantom)
    found = result.labelmap.array
    assert not found[~inside].any()
    assert set(np.unique(found)) == {0, 1, 2}
    part = box.crop(phantom)
    alone = segment(model, [part], entropy=True, probabilities=True)
    bounds = box.bounds(phantom)
    assert np.array_equal(found[bounds], np.where(box.contains(part), alone.labelmap.array, 0))
    assert np.array_equal(result.entropy.array[bounds], alone.entropy.array)
    np.testing.assert_allclose(result.probabilities.array.sum(axis=0), 1, atol=1e-5)
    assert result.probabilities.array[0][0, 0, 0] == 1
    voxel_ml = np.prod(phantom.spacing) / 1000
    assert result.volumes_ml["front"] == pytest.approx(np.sum(found == 1) * voxel_ml)


def test_a_region_of_interest_outside(model, make_case):
    with pytest.raises(
        LLMBoostError, match=r"region of interest at \(900, 0, 0\) mm \(R, A, S\) lies outside the image"
    ):
        segment(model, [make_case(20)[0]], roi=Roi((-900, 0, 0), (9, 9, 9)))


# memory


MANY_CLASSES = """
import resource, sys
import numpy as np, torch
from llmboost.card import SEGMENTATION, Card, Label, Preprocessing
from llmboost.io.image import Image
from llmboost.model import Model
from llmboost.inference.segment import segment

labels = tuple(Label(n, f"label {n}", (0, 0, 0)) for n in range(1, 101))
steps = Preprocessing(patch_size=(4, 48, 48), spacing=(1.0, 1.0, 1.0))
card = Card("many", "", "", SEGMENTATION, labels, "MRI", steps, {}, {})
model = Model(card, torch.nn.Conv3d(1, 101, 1).eval().requires_grad_(False))
image = Image(np.random.default_rng(0).normal(size=(512, 48, 48)).astype(np.float32), *sys_place)
segment(model, [Image(image.array[:4], *sys_place)])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = segment(model, [image], entropy=True)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * 1024, 101 * image.array.size * 4, len(np.unique(result.labelmap.array)))
"""


def test_the_classes_are_never_all_in_memory():
    """A child process, for the peak of this one may be past."""
    code = MANY_CLASSES.replace("*sys_place", "(1, 1, 1), (0, 0, 0), np.diag([-1, -1, 1])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    extra, all_at_once, found = map(int, done.stdout.split())
    assert found > 1
    assert extra < all_at_once / 4


def test_large_maps_lie_in_a_file(model, make_case, monkeypatch):
    phantom = make_case(25)[0]
    expected = segment(model, [phantom], probabilities=True, entropy=True)
    monkeypatch.setattr("llmboost.inference.canvas.MAPS_IN_MEMORY", 1000)
    result = segment(model, [phantom], probabilities=True, entropy=True)
    assert isinstance(result.probabilities.array, np.memmap)
    assert np.array_equal(result.probabilities.array, expected.probabilities.array)
    assert np.array_equal(result.entropy.array, expected.entropy.array)


def test_no_room_for_large_maps(model, make_case, monkeypatch):
    monkeypatch.setattr("llmboost.inference.canvas.MAPS_IN_MEMORY", 1000)
    monkeypatch.setattr("tempfile.TemporaryFile", functools.partial(open, "/dev/full", "wb", buffering=0))
    with pytest.raises(LLMBoostError, match=r"no room for .* GB of maps .*TMPDIR"):
        segment(model, [make_case(25)[0]], probabilities=True)


# maps


def test_probabilities_and_entropy(model, make_case):
    phantom = on_grid(make_case(25)[0], *GRIDS["oblique, permuted, anisotropic"], "linear")
    result = segment(model, [phantom], probabilities=True, entropy=True)
    chances = result.probabilities.array
    assert chances.shape == (3, *phantom.shape)
    assert chances.min() >= 0
    np.testing.assert_allclose(chances.sum(axis=0), 1, atol=1e-5)
    assert np.array_equal(chances.argmax(axis=0), result.labelmap.array)
    entropy = result.entropy.array
    assert entropy.shape == phantom.shape
    assert entropy.dtype == np.float32
    assert 0 <= entropy.min() < 0.2
    assert 0.5 < entropy.max() <= 1
    expected = sum(entropy_term(p) for p in chances) / np.log(3)
    np.testing.assert_allclose(entropy, expected.clip(0, 1), atol=1e-6)
    assert result.entropy.same_grid(phantom)
    assert result.probabilities.same_grid(phantom)


def test_surprise():
    chances = np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0], [0, 0.25, 0.75]], np.float32)
    expected = [0, np.log(3), np.log(2), 0.25 * np.log(4) + 0.75 * np.log(4 / 3)]
    np.testing.assert_allclose(entropy_term(chances).sum(axis=1), expected, atol=1e-5)
    assert entropy_term(chances).dtype == np.float32


def test_mirroring_where_the_card_allows_it(model, make_case):
    phantom = make_case(26)[0]

    def chances(model, **options):
        return segment(model, [phantom], probabilities=True, **options).probabilities.array

    assert model.card.preprocessing.mirror == (0,)
    plain = chances(model)
    assert np.abs(chances(model, mirror=True) - plain).max() > 1e-3
    sided = with_card(model, preprocessing=dataclasses.replace(model.card.preprocessing, mirror=()))
    assert np.array_equal(chances(sided, mirror=True), plain)


# pieces


def test_the_largest_piece():
    indices = np.zeros((9, 9, 9), int)
    indices[1:3, 1:3, 1:3] = 1  # 8 voxels, and 2 of the other label that touch it at a corner
    indices[3, 3, 3:5] = 2
    indices[6:8, 6:8, 6:8] = 2  # 8 + 1 voxels
    indices[8, 8, 8] = 1
    expected = np.where(np.arange(9)[:, None, None] < 5, indices, 0)
    assert np.array_equal(largest_component(indices), expected)
    assert np.array_equal(largest_component(indices[::-1]), expected[::-1]), "wherever it lies"
    assert np.array_equal(largest_component(expected), expected)
    empty = np.zeros((2, 2, 2), int)
    assert np.array_equal(largest_component(empty), empty)


def test_one_piece_where_the_card_says_so(model, make_case):
    large, small = make_case(27)[0], make_case(28)[0]
    flat = small.array[::2, ::2, ::2].repeat(2, 1).repeat(2, 2)
    image = Image(np.concatenate([large.array, flat]), (1, 1, 1), large.origin, large.direction)

    def pieces(labelmap):
        return ndimage.label(labelmap > 0, np.ones((3, 3, 3)))[1]

    every = segment(model, [image])
    assert pieces(every.labelmap.array) > 1
    one = segment(with_card(model, largest_component=True), [image])
    assert pieces(one.labelmap.array) == 1
    assert np.array_equal(one.labelmap.array, largest_component(every.labelmap.array))
    assert sum(one.volumes_ml.values()) == pytest.approx(np.sum(one.labelmap.array > 0) / 1000)
    assert sum(one.volumes_ml.values()) < sum(every.volumes_ml.values())

    first = segment(with_card(model, one_piece=(1,)), [image]).labelmap.array
    assert pieces(every.labelmap.array == 1) > 1
    assert pieces(first == 1) == 1
    assert np.array_equal(first == 2, every.labelmap.array == 2), "the other label stays as it is drawn"
    assert (first[first == 1] == every.labelmap.array[first == 1]).all()


# progress, refusals, warnings


def tiled(image, times):
    array = np.tile(image.array, times)
    return Image(array, image.spacing, image.origin, image.direction)


def test_progress_and_cancel(model, make_case):
    image = tiled(make_case(29)[0], (2, 1, 1))
    seen = []
    segment(model, [image], watch=Watch(progress=seen.append))
    assert len(seen) > 2
    assert seen == sorted(seen)
    assert seen[-1] == 1
    asked = []
    with pytest.raises(Cancelled):
        segment(model, [image], watch=Watch(cancelled=lambda: asked.append(1) or len(asked) == 2))
    assert len(asked) == 2


@pytest.mark.parametrize("count", [0, 2])
def test_another_number_of_images(model, make_case, count):
    with pytest.raises(LLMBoostError) as refused:
        segment(model, [make_case(30)[0]] * count)
    assert str(refused.value) == f"model 'ellipsoids' takes 1 image(s) a case, {count} given"


def test_a_warning_for_images_of_another_kind(model, make_case):
    phantom = make_case(31)[0]
    for times in ((3, 1, 1), (1, 1, 3)):
        (warning,) = segment(model, [tiled(phantom, times)]).warnings
        assert "much larger" in warning
        assert "24 x 24 x 28 mm" in warning
    # as many voxels, but small ones
    small = tiled(phantom, (3, 1, 1))
    small = Image(small.array, (1 / 3, 1, 1), small.origin, small.direction)
    assert not any("larger" in warning for warning in segment(model, [small]).warnings)


def test_a_warning_for_what_is_not_found(model, make_case):
    result = segment(with_bias(model, 1e4), [make_case(32)[0]])
    assert not result.labelmap.array.any()
    assert result.volumes_ml == {"front": 0, "back": 0}
    assert result.warnings == ("not found: front, back",)


@pytest.mark.parametrize("value", [0, -1000, 1e6])
def test_a_constant_image(model, make_case, value):
    """Such as an empty scan: no crash, and no figures that are not numbers."""
    image = make_case(33)[0]
    result = segment(model, [image.with_array(np.full_like(image.array, value))], probabilities=True)
    assert np.isfinite(result.probabilities.array).all()
