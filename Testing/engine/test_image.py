"""Geometry, resampling and files of llmboost.io.image; nibabel and pynrrd are the independent readers."""

import itertools
import os
import struct
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import llmboost as package
from llmboost.errors import LLMBoostError
from llmboost.io.image import (
    Image,
    read_image,
    read_volumes,
    resample,
    resample_to_spacing,
    to_canonical,
    to_sitk,
    write_image,
)

properties = settings(max_examples=50, deadline=None)
spacings = st.tuples(*[st.floats(0.3, 7.0)] * 3)
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@st.composite
def directions(draw):
    """Rotations, oblique or near the axes, times any signed permutation (left-handed grids, too)."""
    angles = draw(st.tuples(*[st.sampled_from([0.0, 1e-9, 0.01, 0.7, np.pi / 4]) | st.floats(-3.2, 3.2)] * 3))
    order = draw(st.permutations(range(3)))
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    return Rotation.from_euler("xyz", angles).as_matrix() @ (np.eye(3)[:, order] * signs)


@st.composite
def images(draw, largest=6):
    shape = draw(st.tuples(*[st.integers(1, largest)] * 3))
    array = np.random.default_rng(draw(st.integers(0, 99))).integers(-900, 900, shape).astype(np.int16)
    return Image(array, draw(spacings), draw(st.tuples(*[st.floats(-200, 200)] * 3)), draw(directions()))


def positions(image):
    """(3, I, J, K): LPS position of each voxel center."""
    index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij")).reshape(3, -1)
    return (image.affine[:3, :3] @ index + image.affine[:3, 3:]).reshape(3, *image.shape)


def reordered(image, axes, flips):
    """The same voxels stored in another order: an independent statement of what a grid means."""
    where = positions(image).transpose(0, *(1 + a for a in axes))
    array = image.array.transpose(axes)
    for axis, flip in enumerate(flips):
        if flip:
            where, array = np.flip(where, 1 + axis), np.flip(array, axis)
    signs = [-1 if flip else 1 for flip in flips]
    spacing = tuple(image.spacing[a] for a in axes)
    return Image(array, spacing, tuple(where[:, 0, 0, 0]), image.direction[:, axes] * signs)


def blob(image, center, sigma):
    """A Gaussian of LPS position, 0 to 1."""
    return np.exp(-((positions(image) - center.reshape(3, 1, 1, 1)) ** 2).sum(0) / (2 * sigma**2))


def center_of_mass(image):
    return (positions(image) * image.array).reshape(3, -1).sum(1) / image.array.sum()


@properties
@given(images())
def test_canonical_keeps_position_and_value_of_each_voxel(image):
    canonical = to_canonical(image)
    cosines = LPS_TO_RAS[:3, :3] @ canonical.direction
    best = max(sum(abs(cosines[w, a]) for w, a in enumerate(p)) for p in itertools.permutations(range(3)))
    assert np.trace(cosines) >= best - 1e-9
    assert np.all(np.diag(cosines) >= 0)
    assert np.shares_memory(canonical.array, image.array)

    def voxels(image):
        rows = np.vstack([positions(image).reshape(3, -1).round(6) + 0.0, image.array.reshape(1, -1)])
        return rows[:, np.lexsort(rows)]

    assert np.allclose(voxels(canonical), voxels(image), atol=1e-5)


@properties
@given(images(), st.sampled_from(["linear", "nearest", "cubic"]))
def test_way_through_canonical_is_exact(image, interpolation):
    there = to_canonical(image)
    back = resample(there, image, interpolation)
    assert np.array_equal(back.array, image.array)
    assert back.array.dtype == (np.int16 if interpolation == "nearest" else np.float32)
    assert back.same_grid(image)
    assert back.origin == image.origin
    assert back.spacing == image.spacing


@properties
@given(images(), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_resample_to_another_storage_order_is_exact(image, axes, flips):
    other = reordered(image, axes, flips)
    assert np.array_equal(resample(image, other, "nearest").array, other.array)
    channels = image.with_array(np.stack([image.array, image.array + 1]))
    assert np.array_equal(resample(channels, other).array, np.stack([other.array, other.array + 1]))


def test_exactly_rotated_axes_become_identity():
    image = Image(np.arange(24).reshape(2, 3, 4), (1, 2, 3), (5, 6, 7), np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]]))
    canonical = to_canonical(image)
    assert np.array_equal(canonical.direction, np.diag([-1, -1, 1]))
    assert canonical.shape == (4, 2, 3)
    assert canonical.spacing == (3, 1, 2)


@properties
@given(images(largest=9), spacings, st.sampled_from(["linear", "nearest", "cubic"]))
def test_spacing_is_as_asked_and_field_of_view_is_kept(image, spacing, interpolation):
    result = resample_to_spacing(image, spacing, interpolation)
    if result is image:
        assert np.allclose(image.spacing, spacing, rtol=1e-3)
        return
    extent = np.array(image.shape) * image.spacing
    assert result.spacing == spacing
    assert min(result.shape) >= 1
    assert np.all(
        np.abs(np.array(result.shape) * spacing - extent)
        <= np.array(spacing) * (0.5 + 1e-9) + (extent < spacing) * spacing
    )
    assert np.allclose(positions(result).reshape(3, -1).mean(1), positions(image).reshape(3, -1).mean(1), atol=1e-6)
    if interpolation != "cubic":
        assert image.array.min() <= result.array.min()
        assert result.array.max() <= image.array.max()
    assert result.array.dtype == (np.int16 if interpolation == "nearest" else np.float32)


@properties
@given(directions(), st.tuples(*[st.floats(0.7, 1.6)] * 3), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_blob_survives_the_way_to_model_spacing_and_back(direction, spacing, axes, flips):
    grid = Image(np.zeros((24, 22, 26), np.float32), spacing, (-10, 20, 5), direction)
    center = positions(grid).reshape(3, -1).mean(1) + 0.6
    image = grid.with_array(blob(grid, center, sigma=3.0).astype(np.float32))
    other = reordered(image, axes, flips)
    centers = []
    for source in (image, other):
        work = resample_to_spacing(to_canonical(source), (1.0, 1.2, 1.0))
        probabilities = work.with_array(np.stack([1 - work.array, work.array]))
        back = resample(probabilities, source)
        assert back.array.shape == (2, *source.shape)
        assert back.array.dtype == np.float32
        assert back.origin == source.origin
        assert back.spacing == source.spacing
        assert np.array_equal(back.direction, source.direction)
        assert np.allclose(back.array.sum(0), 1, atol=1e-5)
        assert np.abs(back.array[1] - source.array).max() < 0.12
        centers += [center_of_mass(work), center_of_mass(back.with_array(back.array[1]))]
    # At an angle of 45 degrees two canonical orders are equally good: the center agrees, the arrays need not.
    assert np.allclose(centers, center_of_mass(image), atol=0.05)


@properties
@given(directions(), st.tuples(*[st.floats(0.5, 3.0)] * 3), st.sampled_from(["linear", "cubic"]))
def test_ramp_is_reproduced_inside(direction, spacing, interpolation):
    grid = Image(np.zeros((20, 20, 20), np.float32), spacing, (3, -4, 5), direction)
    ramp = grid.with_array((positions(grid) * np.reshape([0.5, -1.0, 2.0], (3, 1, 1, 1))).sum(0))
    result = resample_to_spacing(ramp, (1.4, 1.0, 2.0), interpolation)
    expected = (positions(result) * np.reshape([0.5, -1.0, 2.0], (3, 1, 1, 1))).sum(0)
    margin = tuple(
        slice(int(6 * max(s, t) / t) + 1, -int(6 * max(s, t) / t) - 1)
        for s, t in zip(spacing, result.spacing, strict=True)
    )
    assert np.allclose(result.array[margin], expected[margin], atol=0.05)


def test_denormal_cosines():
    """ITK's inverse of this direction matrix is wrong, with no error."""
    direction = np.array(
        [[-0.99995, 0.00999983333, -2.2e-311], [-0.00999983333, -0.99995, 2.2e-309], [0, -2.2e-309, -1]]
    )
    grid = Image(np.zeros((9, 8, 7), np.float32), (1, 1, 1), (0, 0, 0), direction)
    ramp = grid.with_array(positions(grid)[0])
    result = resample_to_spacing(ramp, (0.5, 0.5, 0.5))
    assert np.allclose(result.array[1:-1, 1:-1, 1:-1], positions(result)[0, 1:-1, 1:-1, 1:-1], atol=1e-4)


def test_down_sampling_does_not_alias():
    stripes = Image(np.tile([0.0, 100.0], 32).reshape(64, 1, 1), (1, 1, 1), (0, 0, 0), np.eye(3))
    result = resample_to_spacing(stripes, (3.0, 1, 1)).array
    assert np.ptp(result[2:-2]) < 10
    assert abs(result.mean() - 50) < 3
    labels = stripes.with_array((stripes.array > 0).astype(np.uint8))
    assert set(np.unique(resample_to_spacing(labels, (3.0, 1, 1), "nearest").array)) <= {0, 1}


def test_outside_takes_the_nearest_value_or_the_fill():
    image = Image(np.array([1.0, 2.0, 3.0], np.float32).reshape(3, 1, 1), (1, 1, 1), (0, 0, 0), np.eye(3))
    wide = Image(np.zeros((7, 3, 3)), (1, 1, 1), (-2, -1, -1), np.eye(3))
    assert resample(image, wide).array[:, 0, 2].tolist() == [1, 1, 1, 2, 3, 3, 3]
    assert resample(image, wide, fill=-1).array[:, 1, 1].tolist() == [-1, -1, 1, 2, 3, -1, -1]
    assert resample(image, wide, "cubic").array.shape == (7, 3, 3)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float16, np.float64])
def test_nearest_keeps_the_type(dtype):
    image = Image(np.arange(8).reshape(2, 2, 2).astype(dtype), (1, 1, 1), (0, 0, 0), np.eye(3))
    result = resample_to_spacing(image, (0.5, 0.5, 0.5), "nearest").array
    assert result.dtype == dtype
    assert np.array_equal(result[::2, ::2, ::2], image.array)


def test_programming_errors_are_value_errors(tmp_path):
    image = Image(np.zeros((2, 3, 4)), (1, 1, 1), (0, 0, 0), np.eye(3))
    with pytest.raises(ValueError, match="does not fit"):
        image.with_array(np.zeros((2, 3, 5)))
    with pytest.raises(ValueError, match="3 axes"):
        Image(np.zeros((2, 3)), (1, 1, 1), (0, 0, 0), np.eye(3))
    with pytest.raises(ValueError, match="channel"):
        write_image(image.with_array(np.zeros((2, 2, 3, 4))), tmp_path / "a.nrrd")
    assert not image.same_grid(Image(image.array, (1, 1, 1.01), (0, 0, 0), np.eye(3)))


def test_distance_of_grids_in_voxels():
    image = Image(np.zeros((11, 5, 4)), (2, 1, 1), (0, 0, 0), np.eye(3))
    assert image.grid_distance(image) == 0
    assert image.grid_distance(replace(image, origin=(0.1, 0, 0))) == pytest.approx(0.05)
    assert image.grid_distance(replace(image, spacing=(2.01, 1, 1))) == pytest.approx(0.05)  # at the far end
    turned = np.array([[1, -0.01, 0], [0.01, 1, 0], [0, 0, 1]])  # the far end moves by 20 mm times 0.01
    assert image.grid_distance(replace(image, direction=turned)) == pytest.approx(0.2)
    assert image.grid_distance(image.with_array(np.zeros((2, 11, 5, 4)))) == 0
    assert image.grid_distance(replace(image, array=np.zeros((11, 5, 5)))) == np.inf


# --- files ---


def sample(dtype=np.int16):
    direction = Rotation.from_euler("xyz", [0.3, -0.2, 0.5]).as_matrix() * [1, -1, 1]
    array = np.random.default_rng(1).integers(0, 200, (5, 6, 7)).astype(dtype)
    return Image(array, (0.7, 1.1, 2.5), (-12.5, 30.25, 7.125), direction)


@pytest.mark.parametrize("name", ["a.nii.gz", "A.NII", "a.b.nrrd", "a.mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, bool, np.float16])
def test_written_files_read_back(tmp_path, name, dtype):
    image = sample(dtype)
    write_image(image, tmp_path / name)
    back = read_image(tmp_path / name)
    assert np.array_equal(back.array, image.array)
    assert back.same_grid(image)
    assert back.array.dtype == {bool: np.uint8, np.float16: np.float32}.get(dtype, dtype)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
def test_nifti_agrees_with_nibabel(tmp_path, name):
    image = sample()
    write_image(image, tmp_path / name)
    other = nibabel.load(tmp_path / name)
    assert np.allclose(other.affine, LPS_TO_RAS @ image.affine, atol=1e-5)
    assert np.array_equal(np.asarray(other.dataobj), image.array)

    nibabel.save(nibabel.Nifti1Image(image.array, LPS_TO_RAS @ image.affine), tmp_path / f"other_{name}")
    back = read_image(tmp_path / f"other_{name}")
    assert np.array_equal(back.array, image.array)
    assert back.same_grid(image)


def test_nrrd_agrees_with_pynrrd(tmp_path):
    image = sample()
    write_image(image, tmp_path / "a.nrrd")
    array, header = nrrd.read(str(tmp_path / "a.nrrd"))
    assert np.array_equal(array, image.array)
    assert header["space"] == "left-posterior-superior"
    assert header["encoding"] == "gzip"
    assert np.allclose(header["space directions"].T, image.affine[:3, :3])
    assert np.allclose(header["space origin"], image.origin)


def test_flat_images_become_volumes(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((5, 6), np.int16), np.diag([2.0, 3, 1, 1])), tmp_path / "2d.nii")
    assert read_image(tmp_path / "2d.nii").shape == (5, 6, 1)
    assert read_image(tmp_path / "2d.nii").spacing[:2] == (2, 3)
    nrrd.write(str(tmp_path / "2d.nrrd"), np.ones((5, 6), np.int16))
    assert read_image(tmp_path / "2d.nrrd").shape == (5, 6, 1)
    stack = sitk.JoinSeries([sitk.Image(4, 5, 6, sitk.sitkUInt8)])
    sitk.WriteImage(stack, str(tmp_path / "4d.nrrd"))
    assert read_image(tmp_path / "4d.nrrd").shape == (4, 5, 6)


def test_a_sheared_grid_goes_to_nrrd_only(tmp_path):
    sheared = Image(
        np.zeros((2, 3, 4), np.int16), (1, 1, 1), (0, 0, 0), np.array([[1, 0.5, 0], [0, 0.75**0.5, 0], [0, 0, 1]])
    )
    with pytest.raises(LLMBoostError, match=r"choose \.nrrd"):
        write_image(sheared, tmp_path / "a.nii.gz")
    write_image(sheared, tmp_path / "a.nrrd")
    assert read_image(tmp_path / "a.nrrd").same_grid(sheared)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("offset", [352, 353, 1003])
def test_one_bad_voxel_in_a_nifti_is_found_wherever_it_lies(tmp_path, dtype, offset):
    """The file is read in pieces, whose ends need not be the ends of voxels; what surrounds the voxels is no matter."""
    order, kind = (dtype[0], {"4": 16, "8": 64}[dtype[2]])
    voxels = np.ones((130, 100, 90), dtype)
    header = bytearray(nibabel.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4)).to_bytes()[:348])
    if order == ">":
        header = bytearray(nibabel.Nifti1Header(bytes(header)).as_byteswapped(">").binaryblock)
    struct.pack_into(f"{order}8h", header, 40, 3, *voxels.shape, 1, 1, 1, 1)
    struct.pack_into(f"{order}2h", header, 70, kind, 8 * voxels.itemsize)
    struct.pack_into(f"{order}3f", header, 108, offset, np.nan, 0)  # a slope of NaN means none

    def read(position, value):
        voxels.flat[position] = value
        content = bytes(header) + b"\0" * 4 + b"\xff" * (offset - 352) + voxels.tobytes() + b"\xff" * 20
        voxels.flat[position] = 1
        (tmp_path / "a.nii").write_bytes(content)
        return read_image(tmp_path / "a.nii").array

    assert (read(0, 1) == 1).all()
    across = (2**22 + 348 - offset) // voxels.itemsize  # the voxel that two pieces share, where they do
    for position, value in [(0, np.inf), (across, np.nan), (voxels.size - 1, -np.inf)]:
        with pytest.raises(LLMBoostError, match="NaN or infinite"):
            read(position, value)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
@pytest.mark.parametrize("compress", [False, True])
def test_what_itk_writes_passes_the_checks(tmp_path, name, compress):
    kinds = (sitk.sitkInt8, sitk.sitkUInt16, sitk.sitkInt32, sitk.sitkInt64, sitk.sitkFloat32, sitk.sitkFloat64)
    for kind in kinds:
        stored = sitk.Cast(to_sitk(sample()), kind)
        sitk.WriteImage(stored, str(tmp_path / name), useCompression=compress)
        back = read_image(tmp_path / name)
        assert np.array_equal(back.array, sitk.GetArrayFromImage(stored).transpose())
        assert back.same_grid(sample())


def test_volumes_along_a_fourth_axis(tmp_path):
    array = np.random.default_rng(2).integers(-99, 99, (4, 5, 6, 3)).astype(np.int16)
    affine = np.array([[0, 2, 0, 5], [0, 0, 3, 6], [1, 0, 0, 7], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "a.nii.gz")
    volumes = read_volumes(tmp_path / "a.nii.gz")
    assert np.array_equal(np.stack([volume.array for volume in volumes], axis=-1), array)
    assert all(np.allclose(volume.affine, LPS_TO_RAS @ affine) for volume in volumes)
    with pytest.raises(LLMBoostError, match="3 volumes in one file"):
        read_image(tmp_path / "a.nii.gz")
    with pytest.raises(LLMBoostError, match="not a color image"):
        read_volumes(tmp_path / "a.nii.gz", color=True)


COLORS = np.random.default_rng(3).integers(0, 256, (7, 6, 5, 3)).astype(np.uint8)  # i, j, k, component


def test_colors_of_a_volume(tmp_path):
    voxels = np.ascontiguousarray(COLORS).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    nibabel.save(nibabel.Nifti1Image(voxels, LPS_TO_RAS), tmp_path / "rgb.nii")
    nrrd.write(str(tmp_path / "rgb.nrrd"), np.moveaxis(COLORS, -1, 0), {"kinds": ["RGB-color", *["domain"] * 3]})
    rgba = np.concatenate([COLORS, COLORS[..., :1]], axis=-1)
    stored = sitk.GetImageFromArray(rgba.transpose(2, 1, 0, 3), isVector=True)
    sitk.WriteImage(stored, str(tmp_path / "rgba.mha"))
    for path in tmp_path.iterdir():
        red, green, blue = read_volumes(path, color=True)
        assert np.array_equal(np.stack([red.array, green.array, blue.array], axis=-1), COLORS), path
        assert np.array_equal(red.affine, np.eye(4))
        with pytest.raises(LLMBoostError, match=f"{path.name}: a color image, but a gray one is needed"):
            read_volumes(path)
        with pytest.raises(LLMBoostError, match="a color image"):
            read_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.jpg", "a.JPEG"])
def test_pictures_lie_as_itk_reads_them(tmp_path, name):
    lossless = name.lower().endswith("png")
    PIL.Image.fromarray(COLORS[:, :, 0]).save(tmp_path / name, dpi=(300, 300), subsampling=0)
    colors = read_volumes(tmp_path / name, color=True)
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name)))
    for image, component in zip(colors, stored.transpose(), strict=True):
        assert image.shape == (6, 7, 1)
        assert np.abs(image.array[:, :, 0].astype(int) - component).max() <= (0 if lossless else 3)
        assert np.array_equal(image.affine, np.eye(4))
    with pytest.raises(LLMBoostError, match="a color image, but a gray one is needed"):
        read_volumes(tmp_path / name)


def test_gray_pictures(tmp_path):
    gray = COLORS[:, :, 0, 0]
    PIL.Image.fromarray(gray).save(tmp_path / "8.png")
    PIL.Image.fromarray(gray * np.uint16(257)).save(tmp_path / "16.png")
    PIL.Image.fromarray(gray > 99).save(tmp_path / "1.png")
    PIL.Image.fromarray(np.stack([gray, 255 - gray], axis=-1)).save(tmp_path / "alpha.png")
    expected = {"8.png": gray, "16.png": gray * 257.0, "1.png": 255 * (gray > 99), "alpha.png": gray}
    for name, values in expected.items():
        assert np.array_equal(read_image(tmp_path / name).array[:, :, 0].T, values), name
        with pytest.raises(LLMBoostError, match="not a color image, but one is needed"):
            read_volumes(tmp_path / name, color=True)


def test_gray_pictures_stored_in_colors(tmp_path):
    gray = COLORS[:, :, 0, 0]
    rgb = PIL.Image.fromarray(np.stack([gray] * 3, axis=-1))
    rgb.save(tmp_path / "rgb.png")
    rgb.save(tmp_path / "rgb.jpg", quality=95)
    rgb.convert("RGBA").save(tmp_path / "rgba.png")
    PIL.Image.fromarray(gray).convert("P").save(tmp_path / "palette.png")
    for path in tmp_path.iterdir():
        image = read_image(path)
        assert image.shape == (6, 7, 1)
        assert np.abs(image.array[:, :, 0].T.astype(int) - gray).max() <= (20 if path.suffix == ".jpg" else 0), path
    almost = np.stack([gray] * 3, axis=-1)
    almost[3, 3, 1] ^= 1
    PIL.Image.fromarray(almost).save(tmp_path / "rgb.png")
    with pytest.raises(LLMBoostError, match="a color image"):
        read_image(tmp_path / "rgb.png")
    cmyk = PIL.Image.fromarray(np.repeat(255 - COLORS[:, :, 0, 0][..., None], 4, axis=-1) // 2, "CMYK")
    cmyk.save(tmp_path / "cmyk.jpg", quality=100)
    assert len(read_volumes(tmp_path / "cmyk.jpg", color=True)) == 3


# where each corner of the stored picture (rows from the top) is to be seen, by the EXIF standard (tag 0x0112)
UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[:, ::-1],
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: p.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_photographs_are_turned_upright(tmp_path, name, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    for pixels in (COLORS[:, :, 0], COLORS[:, :, 0, 0], COLORS[:, :, 0, 0] * np.uint16(257), COLORS[:, :, 0, 0] > 99):
        if name == "a.jpg" and pixels.dtype != np.uint8:
            continue
        PIL.Image.fromarray(pixels).save(tmp_path / name, exif=exif, quality=100, subsampling=0)
        images = read_volumes(tmp_path / name, color=pixels.ndim == 3)
        found = np.stack([image.array[:, :, 0].T for image in images], axis=-1).astype(float)
        expected = UPRIGHT[orientation](pixels) * (255.0 if pixels.dtype == bool else 1.0)
        assert np.abs(found - expected.reshape(found.shape)).max() <= (8 if name == "a.jpg" else 0)
        assert (images[0].notes != ()) == (orientation != 1)


def test_an_orientation_that_is_none(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 99
    PIL.Image.fromarray(COLORS[:, :, 0]).save(tmp_path / "a.png", exif=exif)
    (red, _, _) = read_volumes(tmp_path / "a.png", color=True)
    assert np.array_equal(red.array[:, :, 0].T, COLORS[:, :, 0, 0])
    PIL.Image.fromarray(COLORS[:, :, 0]).save(tmp_path / "b.jpg", exif=b"Exif\0\0MM\0*garbage" + b"\xff" * 40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_volumes(tmp_path / "b.jpg", color=True)) == 3


def test_an_animated_picture_is_refused(tmp_path):
    frames = [PIL.Image.fromarray(COLORS[:, :, n]) for n in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(LLMBoostError, match=r"a\.png: an animated picture; save the one that is meant"):
        read_volumes(tmp_path / "a.png", color=True)


def test_a_picture_of_more_pixels_than_anybody_looks_at(tmp_path, monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1000)
    for size in (40, 50):  # where Pillow warns, and where it refuses
        PIL.Image.new("L", (size, size)).save(tmp_path / "a.png")
        with pytest.raises(LLMBoostError, match=rf"too large a picture .*{size**2} pixels.*crop it"):
            read_image(tmp_path / "a.png")


PEAK = """
import resource, sys
from llmboost.io.image import read_volumes

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = peak()
size = sum(image.array.nbytes for image in read_volumes(sys.argv[1]))
print((peak() - before) / size)
"""


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha"])
def test_reading_takes_twice_an_image(tmp_path, name):
    stored = sitk.Image([256, 256, 512], sitk.sitkInt16)
    sitk.WriteImage(stored, str(tmp_path / name), useCompression=True)
    environment = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])}
    child = [sys.executable, "-c", PEAK, tmp_path / name]
    done = subprocess.run(child, env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2.5


@pytest.mark.parametrize("extension", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, extension, monkeypatch):
    """A full disk: the file ends early, and ITK's NIfTI writer does not say so."""
    path = tmp_path / f"a{extension}"
    write_image(sample(), path)
    old = path.read_bytes()
    real = sitk.WriteImage

    def cut_short(image, name, **options):
        real(image, name, **options)
        with open(name, "r+b") as file:
            file.truncate(450)

    monkeypatch.setattr(sitk, "WriteImage", cut_short)
    with pytest.raises(LLMBoostError, match="free space"):
        write_image(sample(), path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_places(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LLMBoostError, match="cannot be written"):
        write_image(sample(), tmp_path / "file" / "a.nii.gz")
    with pytest.raises(LLMBoostError, match="unknown image format"):
        write_image(sample(), tmp_path / "a.png")
    (tmp_path / "taken.nrrd").mkdir()
    with pytest.raises(LLMBoostError, match="cannot be written"):
        write_image(sample(), tmp_path / "taken.nrrd")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken.nrrd"]
