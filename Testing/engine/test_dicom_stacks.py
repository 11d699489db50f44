"""DICOM slices that are no regular stack: brought to one, or refused in one line; and real scans."""

import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom import uid as uids

from llmboost.io.dicom import find_series, read_series
from llmboost.io.image import Image, to_sitk

from .dicom_checks import assert_as_itk, assert_same, read, read_one, refusal
from .dicom_samples import JPEG_2000, OBLIQUE, PLACE, noise, slice_positions, write_enhanced, write_series

# ---- stacks that are not regular


def phantom(points: np.ndarray) -> np.ndarray:
    """Values at LPS positions (..., 3): linear in space, so that linear interpolation is exact."""
    return points @ [3.0, 5.0, 7.0] + 500


def write_phantom(folder: Path, positions: np.ndarray, shape=(40, 30), pixel=(1.0, 1.5), direction=OBLIQUE, **elements):
    """Slices through the phantom, as integers of 0.01."""
    j, i = np.meshgrid(*map(np.arange, shape), indexing="ij")
    offsets = i[..., None] * pixel[0] * direction[:, 0] + j[..., None] * pixel[1] * direction[:, 1]
    array = np.rint(100 * phantom(positions[:, None, None] + offsets)).astype(np.int32)
    elements |= {"RescaleSlope": "0.01", "RescaleIntercept": "0"}
    return write_series(folder, array, spacing=(*pixel, 3), positions=positions, direction=direction, **elements)


def places(image: Image) -> np.ndarray:
    """(I, J, K, 3): the voxels' positions."""
    index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1)
    return index @ image.affine[:3, :3].T + image.origin


def test_jitter_within_a_tenth_of_the_slice_distance_is_no_matter(tmp_path):
    jitter = np.array([0, 0.2, -0.2, 0.25, -0.1, 0])
    depths = 3 * np.arange(6) + jitter
    write_phantom(tmp_path, depths[:, None] * OBLIQUE[:, 2])
    image = read_one(tmp_path)
    assert image.shape == (30, 40, 6)
    assert image.spacing[2] == pytest.approx(3)


def test_missing_slices_are_interpolated(tmp_path):
    depths = 3.0 * np.delete(np.arange(12), [3, 7, 8])
    write_phantom(tmp_path, depths[:, None] * OBLIQUE[:, 2])
    (image,), notes = read(tmp_path)
    assert notes == ("missing slices: 3 interpolated between their neighbors",)
    assert image.shape == (30, 40, 12)
    assert image.spacing == pytest.approx((1, 1.5, 3))
    np.testing.assert_allclose(image.array, phantom(places(image)), atol=0.02)


def test_rounded_positions_hide_no_missing_slice(tmp_path):
    """Slices at every 0.625 mm, as told with two digits, are taken as they are; only the missing one is made."""
    depths = np.delete(np.round(0.625 * np.arange(40), 2), 20)
    write_phantom(tmp_path, depths[:, None] * OBLIQUE[:, 2], shape=(4, 5))
    (image,), notes = read(tmp_path)
    assert notes == ("missing slices: 1 interpolated between their neighbors",)
    assert image.shape[2] == 40
    read_back = phantom(depths[:, None] * OBLIQUE[:, 2])
    np.testing.assert_allclose(np.delete(image.array[0, 0], 20), read_back, atol=0.01)


def test_distances_that_drift_are_uneven(tmp_path):
    """No step is far from its neighbor, yet a regular grid would be millimeters off."""
    depths = np.cumsum(np.linspace(1, 1.2, 60))
    write_phantom(tmp_path, depths[:, None] * OBLIQUE[:, 2], shape=(4, 5))
    (image,), (note,) = read(tmp_path)
    assert note.startswith("uneven slice distances (1.00 to 1.20 mm)")
    np.testing.assert_allclose(image.array, phantom(places(image)), atol=0.02)


def test_uneven_distances_become_even(tmp_path):
    depths = np.r_[np.arange(0, 20, 2), 20, np.arange(23.5, 40, 3.5)]
    write_phantom(tmp_path, depths[:, None] * OBLIQUE[:, 2])
    (image,), (note,) = read(tmp_path)
    assert note.startswith("uneven slice distances (2.00 to 3.50 mm)")
    assert image.spacing[2] == pytest.approx(2, rel=0.05)
    np.testing.assert_allclose(image.affine[:3] @ [0, 0, image.shape[2] - 1, 1], depths[-1] * OBLIQUE[:, 2], atol=1e-4)
    np.testing.assert_allclose(image.array, phantom(places(image)), atol=0.02)


@pytest.mark.parametrize("tilt", [20, -12.5])
@pytest.mark.parametrize("uneven", [False, True])
def test_a_tilted_gantry_is_set_upright(tmp_path, tilt, uneven):
    depths = 3.0 * np.arange(10) if not uneven else np.r_[3.0 * np.arange(6), 15 + 5.0 * np.arange(1, 5)]
    line = OBLIQUE[:, 2] + np.tan(np.deg2rad(tilt)) * OBLIQUE[:, 1]
    paths = write_phantom(tmp_path, depths[:, None] * line)
    (image,), notes = read(tmp_path)
    assert f"gantry tilt of {abs(tilt):.1f}°" in notes[0]
    assert len(notes) == 1 + uneven
    np.testing.assert_allclose(image.direction, OBLIQUE, atol=1e-6)
    # where a slice, or both neighbors of one in between, really had voxels, the phantom is met
    points = places(image)
    depth = points @ OBLIQUE[:, 2]
    down = points @ OBLIQUE[:, 1]
    inside = np.ones(image.shape, bool)
    for side in (-1, 1):
        neighbor = depths[np.clip(np.searchsorted(depths, depth + side * 1e-3, "right") - (side < 0), 0, 9)]
        start = np.tan(np.deg2rad(tilt)) * neighbor
        inside &= (down >= start + 1.6) & (down <= start + 39 * 1.5 - 1.6)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(image.array[inside], phantom(points)[inside], atol=0.1)
    # beyond a slice's edges there is its smallest value
    if not uneven:
        start = np.tan(np.deg2rad(tilt)) * depth
        beyond = (down < start - 1.6) | (down > start + 39 * 1.5 + 1.6)
        assert beyond.any()
        darkest = image.array.min(axis=(0, 1), keepdims=True)
        np.testing.assert_array_equal(image.array[beyond], np.broadcast_to(darkest, image.shape)[beyond])
    # all of every slice is still there
    for path in paths:
        dataset = pydicom.dcmread(path)
        corner = np.array(dataset.ImagePositionPatient, float)
        index = np.linalg.solve(image.affine, [*(corner + 39 * 1.5 * OBLIQUE[:, 1]), 1])[1]
        assert index <= image.shape[1] - 1 + 0.01
        assert np.linalg.solve(image.affine, [*corner, 1])[1] >= -0.01


def test_wide_gaps_are_refused(tmp_path):
    depths = np.r_[np.arange(5), 12.0, 13]
    write_phantom(tmp_path, depths[:, None] * OBLIQUE[:, 2])
    assert "a gap of 8 mm between slices that are 1 mm apart" in refusal(tmp_path)


def test_memory_is_about_twice_the_volume_at_most(tmp_path):
    array = noise((64, 256, 256))
    write_series(tmp_path / "classic", array)
    write_enhanced(tmp_path / "enhanced" / "e", array)
    sheared = slice_positions(64) + np.arange(64)[:, None] * [0, 0.5, 0]
    write_series(tmp_path / "tilted", array, positions=sheared)
    for name in ("classic", "enhanced", "tilted"):
        series = find_series(tmp_path / name)[0]
        tracemalloc.start()
        (image,), _ = read_series(series)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2.3 * image.array.nbytes, name


# ---- refusals


def set_to(**elements):
    return lambda dataset, k: dataset.update(elements)


def without(*keywords):
    def change(dataset, k):
        for keyword in keywords:
            delattr(dataset, keyword)

    return change


def turned(dataset, k):
    if k > 2:
        dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


def smaller(dataset, k):
    if k == 1:
        dataset.Rows, dataset.PixelData = 4, dataset.PixelData[: 4 * 6 * 2]


def side_by_side(dataset, k):
    dataset.ImagePositionPatient = [10 * k, 0, 0]


def scattered(dataset, k):
    dataset.ImagePositionPatient = [50 * k, 0, k]


def color(dataset, k):
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.PixelData = dataset.PixelData * 3


def lookup_table(dataset, k):
    dataset.ModalityLUTSequence = [pydicom.Dataset()]


REFUSALS = {
    "localizer": (set_to(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "a localizer"),
    "secondary capture": (without("ImagePositionPatient", "PixelSpacing"), "has no ImagePositionPatient"),
    "no orientation": (without("ImageOrientationPatient"), "has no ImageOrientationPatient"),
    "no pixel size": (without("PixelSpacing"), "has no PixelSpacing"),
    "zero pixel size": (set_to(PixelSpacing=["0", "1"]), "or PixelSpacing"),
    "out of this world": (set_to(ImagePositionPatient=["1e30", "0", "0"]), "impossible ImagePositionPatient"),
    "skew orientation": (set_to(ImageOrientationPatient=[1, 0, 0, 0.5, 1, 0]), "ImageOrientationPatient"),
    "zero slope": (set_to(RescaleSlope="0"), "impossible RescaleSlope"),
    "no pixels": (without("PixelData"), "without pixels"),
    "no sizes": (without("Rows", "Columns", "PixelData"), "without pixels"),
    "one bit": (set_to(BitsAllocated=1, BitsStored=1, HighBit=0), "1 bits"),
    "color": (color, "a color image (RGB)"),
    "lookup table": (lookup_table, "Modality LUT"),
    "mosaic": (set_to(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "mosaic"),
    "frames without places": (set_to(NumberOfFrames=5), "many frames"),
    "several orientations": (turned, "several orientations"),
    "several sizes": (smaller, "several sizes"),
    "side by side": (side_by_side, "side by side"),
    "scattered": (scattered, "shifted against each other"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_no_volume_is_refused(tmp_path, name):
    change, reason = REFUSALS[name]
    write_series(tmp_path, noise(), change=lambda dataset, k: change(dataset, k))
    assert reason in refusal(tmp_path)


def test_localizers_beside_a_scan_are_left_out(tmp_path):
    series = uids.generate_uid()
    write_series(tmp_path, noise(), SeriesInstanceUID=series, **PLACE)
    expected = read_one(tmp_path)
    scout = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    write_series(tmp_path, noise((1, 20, 20)), name="scout", SeriesInstanceUID=series, ImageType=scout)
    (image,), notes = read(tmp_path)
    assert notes == ("left out 1 localizer image(s)",)
    assert_same(image, expected)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.99])
@pytest.mark.parametrize("compress", [False, True])
def test_truncated_files_are_refused_by_name(tmp_path, part, compress):
    path = write_series(tmp_path, noise((3, 64, 64), np.uint16), change=JPEG_2000 if compress else None)[1]
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    assert refusal(tmp_path).startswith(str(path))


def test_headers_cut_short_are_refused_wherever(tmp_path):
    path = write_series(tmp_path, noise((3, 8, 8)))[1]
    data = path.read_bytes()
    for size in range(133, len(data) - 128, 9):
        path.write_bytes(data[:size])
        assert str(path) in refusal(tmp_path), size


def test_one_slice_without_thickness_is_taken_as_1_mm(tmp_path):
    write_series(tmp_path, noise((1, 8, 6)), change=without("SliceThickness"))
    (image,), (note,) = read(tmp_path)
    assert image.spacing[2] == 1
    assert "1 mm" in note


# ---- real scans


@pytest.fixture
def unzipped(data_root, tmp_path):
    def unzip(name: str) -> Path:
        archive = data_root / "viewer" / "dicom" / f"{name}.zip"
        if not archive.is_file():
            pytest.skip(f"no {archive}")
        with zipfile.ZipFile(archive) as file:
            file.extractall(tmp_path)
        return tmp_path

    return unzip


@pytest.mark.parametrize(
    "name", ["mr_t1_head_studyforrest", "pet_wholebody_qin_headneck_with_seg", "ct_3slice_with_liver_seg_dcmqi"]
)
def test_real_scans_are_as_in_itk(unzipped, name):
    (series,) = find_series(unzipped(name))
    (image,), notes = read_series(series)
    assert notes == ()
    in_order = sorted(series.files, key=lambda path: np.linalg.solve(image.affine, [*position(path), 1])[2])
    assert_as_itk(image, [str(path) for path in in_order])


def position(path: Path) -> list[float]:
    return [float(x) for x in pydicom.dcmread(path, specific_tags=["ImagePositionPatient"]).ImagePositionPatient]


def test_real_jpeg_2000_lies_under_its_segmentation(data_root):
    folder = data_root / "viewer" / "ct_mr_totalsegmentator"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    image = read_one(folder / "example_ct_dicom")
    segmentation = sitk.ReadImage(str(folder / "example_seg_dicom.nii.gz"))
    labels = sitk.GetArrayFromImage(
        sitk.Resample(segmentation, to_sitk(image), sitk.Transform(), sitk.sitkNearestNeighbor)
    )
    values = image.array.transpose()
    assert (labels > 0).mean() == pytest.approx((sitk.GetArrayFromImage(segmentation) > 0).mean(), rel=0.05)
    assert np.median(values[labels > 0]) > -200  # organs, not air
    assert np.median(values[labels == 0]) < -500


def test_a_real_head_from_a_tilted_gantry(unzipped):
    (series,) = find_series(unzipped("ct_head_ge_gantry_tilt"))
    (image,), notes = read_series(series)
    assert "gantry tilt of 18.5°" in notes[0]
    assert "uneven slice distances (1.08 to 7.00 mm): interpolated at every 4.00 mm" in notes[1]
    np.testing.assert_allclose(image.direction.T @ image.direction, np.eye(3), atol=1e-6)
    # each voxel of each slice is found again where the file says that it lies
    differences = []
    for path in series.files:
        slice_ = sitk.ReadImage(str(path))
        again = sitk.Resample(to_sitk(image), slice_, sitk.Transform(), sitk.sitkLinear, -2000.0, sitk.sitkFloat32)
        difference = sitk.GetArrayFromImage(again) - sitk.GetArrayFromImage(slice_)
        differences.append(np.median(np.abs(difference)))
    assert max(differences) < 10
