"""Series of DICOM files as they really are: found, chosen, and brought to voxels."""

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid as uids
from pydicom.dataset import FileMetaDataset

from llmboost.errors import LLMBoostError
from llmboost.io.dicom import Series, choose_series, find_series
from llmboost.io.image import Image

from .dicom_checks import assert_as_itk, assert_same, itk_files, read, read_one, refusal
from .dicom_samples import OBLIQUE, PLACE, by_pydicom, noise, slice_positions, write_enhanced, write_series

# ---- finding and choosing


def test_finds_each_series_in_mixed_and_nested_folders(tmp_path):
    write_series(tmp_path / "a" / "b", noise(), name="IM{:04}", SeriesNumber=7, SeriesDescription="Thorax")
    write_series(tmp_path, noise((3, 4, 4)), name="z{}", SeriesNumber=2, Modality="MR")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty").touch()
    (tmp_path / "a" / "picture").write_bytes(b"\x08\x00" + bytes(range(200)))

    mr, ct = find_series(tmp_path)

    assert (mr.number, mr.modality, len(mr.files)) == (2, "MR", 3)
    assert (ct.number, ct.modality, ct.description, len(ct.files)) == (7, "CT", "Thorax", 5)
    assert ct.files == tuple(sorted((tmp_path / "a" / "b").iterdir()))
    assert ct.uid == pydicom.dcmread(ct.files[0]).SeriesInstanceUID


def test_passes_over_dicom_that_is_no_image(tmp_path):
    write_series(tmp_path, noise())
    for n, sop_class in enumerate(
        (
            uids.SegmentationStorage,
            uids.RTDoseStorage,
            uids.RTStructureSetStorage,
            uids.ComprehensiveSRStorage,
            uids.KeyObjectSelectionDocumentStorage,
            uids.GrayscaleSoftcopyPresentationStateStorage,
            uids.MediaStorageDirectoryStorage,
        )
    ):

        def change(dataset, k, sop_class=sop_class):
            dataset.SOPClassUID = sop_class
            if sop_class not in (uids.SegmentationStorage, uids.RTDoseStorage):
                del dataset.PixelData, dataset.Rows

        write_series(tmp_path, noise((1, 8, 6)), name=f"other{n}", change=change, Modality="OT")

    (series,) = find_series(tmp_path)
    assert len(series.files) == 5


def test_copies_of_an_image_count_once(tmp_path):
    paths = write_series(tmp_path, noise(), **PLACE)
    expected = read_one(tmp_path)
    shutil.copytree(tmp_path, tmp_path / "copy")
    (series,) = find_series(tmp_path)
    assert len(series.files) == len(paths)
    assert_same(read_one(tmp_path), expected)


def test_a_copy_that_was_stored_again_counts_once(tmp_path):
    """In another transfer syntax, with another header, but with the same pixels."""
    paths = write_series(tmp_path / "one", noise(), **PLACE)
    expected = read_one(tmp_path)
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.StationName = "archive"
        dataset.file_meta.TransferSyntaxUID = uids.DeflatedExplicitVRLittleEndian
        (tmp_path / "other").mkdir(exist_ok=True)
        dataset.save_as(tmp_path / "other" / path.name)
    (series,) = find_series(tmp_path)
    assert len(series.files) == len(paths)
    assert_same(read_one(tmp_path), expected)


def test_other_pixels_under_the_same_uid_are_no_copy(tmp_path):
    """As after an edit that kept the header: which of the two is meant, nobody knows."""
    paths = write_series(tmp_path / "one", noise(), **PLACE)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    dataset = pydicom.dcmread(tmp_path / "two" / paths[2].name)
    dataset.PixelData = bytes(reversed(dataset.PixelData))
    dataset.save_as(tmp_path / "two" / paths[2].name)
    assert "another image in the place of" in refusal(tmp_path)


def test_slices_are_no_copies_where_an_anonymizer_gave_all_one_uid_or_none(tmp_path):
    write_series(tmp_path / "one", noise(), SOPInstanceUID="1.2.3")

    def without(dataset, k):
        dataset.SOPInstanceUID = uids.generate_uid()

    for path in write_series(tmp_path / "none", noise(), change=without):
        dataset = pydicom.dcmread(path)
        for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "InstanceNumber"):
            delattr(dataset, keyword)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
        dataset.save_as(path)
    for name in ("one", "none"):
        assert read_one(tmp_path / name).shape == (6, 8, 5)


def test_a_single_file_and_a_dicomdir_are_fine_as_input(tmp_path):
    paths = write_series(tmp_path, noise(), **PLACE)
    image = read_one(paths[2])
    whole = read_one(tmp_path)
    (tmp_path / "DICOMDIR").write_bytes(b"")
    assert find_series(tmp_path / "DICOMDIR") == find_series(tmp_path)
    assert image.spacing[2] == 2.5  # its thickness
    assert_same(image, Image(whole.array[:, :, 2:3], whole.spacing, whole.affine[:3] @ [0, 0, 2, 1], OBLIQUE))


def test_links_that_lead_in_circles_end(tmp_path):
    write_series(tmp_path / "a", noise())
    for n in range(3):  # whoever follows them gets 3 ** 40 folders, the system's limit of links being 40
        (tmp_path / "a" / f"up{n}").symlink_to(tmp_path)
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (series,) = find_series(tmp_path)
    assert len(series.files) == 5


def test_several_series_are_listed_and_one_is_chosen():
    found = [
        Series("1.2.30.4", 3, "Thorax", "CT", (Path("a"), Path("b"))),
        Series("1.2.31.5", 4, "", "MR", (Path("c"),)),
        Series("1.9.31.4", None, "Late", "MR", (Path("d"),)),
    ]
    with pytest.raises(LLMBoostError, match="3 series") as caught:
        choose_series(found, None, "folder")
    for part in ("folder", "--series", "3: CT 'Thorax', 2 files, 1.2.30.4", "4: MR '', 1 file, 1.2.31.5", "-: MR"):
        assert part in str(caught.value)
    for uid, index in (("1.2.31.5", 1), ("1.9", 2), ("31.5", 1), ("3", 0), ("4", 1)):
        assert choose_series(found, uid, "folder") is found[index]
    assert choose_series(found[:1], None, "folder") is found[0]
    with pytest.raises(LLMBoostError, match=r"folder: several series fit --series 1\.2"):
        choose_series(found, "1.2", "folder")
    with pytest.raises(LLMBoostError, match="no series fits --series 8"):
        choose_series(found, "8", "folder")
    with pytest.raises(LLMBoostError, match="folder: holds no DICOM images"):
        choose_series([], None, "folder")


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(LLMBoostError, match="nowhere: no such file or folder"):
        find_series(tmp_path / "nowhere")


# ---- values and geometry


@pytest.mark.parametrize(
    ("dtype", "bits", "slope", "intercept", "expected"),
    [
        (np.uint8, 8, 1, 0, np.uint8),
        (np.int8, 8, 1, 0, np.int16),
        (np.int16, 16, 1, 0, np.int16),
        (np.uint16, 16, 1, 0, np.uint16),
        (np.uint16, 16, 1, -1024, np.int32),
        (np.uint16, 12, 1, -1024, np.int16),
        (np.int16, 12, -2, 5, np.int16),
        (np.int16, 16, 2.0222414, 0, np.float32),
        (np.uint16, 12, 1, -0.5, np.float32),
    ],
)
def test_values_and_geometry_are_those_of_itk(tmp_path, dtype, bits, slope, intercept, expected):
    rescale = {"RescaleSlope": slope, "RescaleIntercept": intercept, "BitsStored": bits, "HighBit": bits - 1}
    write_series(tmp_path, noise(dtype=dtype, bits=bits), **PLACE, **rescale)
    image = read_one(tmp_path)
    assert image.array.dtype == expected
    assert_as_itk(image, itk_files(tmp_path))


def test_files_are_ordered_by_place_not_by_name_or_number(tmp_path):
    array = noise()
    write_series(tmp_path, array, name="{}", **PLACE)
    expected = read_one(tmp_path)

    def renumber(dataset, k):
        dataset.InstanceNumber = 5 - k

    positions = slice_positions(5, PLACE["spacing"], PLACE["origin"], OBLIQUE)
    shuffled = [3, 0, 4, 1, 2]
    write_series(tmp_path / "new", array[shuffled], positions=positions[shuffled], change=renumber, **PLACE)
    assert_same(read_one(tmp_path / "new"), expected)
    np.testing.assert_array_equal(expected.array, array.transpose())


def test_each_slice_has_its_own_slope_as_in_pet(tmp_path):
    array = noise(dtype=np.uint16, bits=15)

    def scale(dataset, k):
        dataset.RescaleSlope, dataset.RescaleIntercept = str(0.25 + k), "0"

    write_series(tmp_path, array, change=scale)
    image = read_one(tmp_path)
    expected = array * (0.25 + np.arange(5))[:, None, None]
    assert image.array.dtype == np.float32
    np.testing.assert_allclose(image.array.transpose(), expected, rtol=1e-6)


@pytest.mark.parametrize("signed", [0, 1])
def test_overlays_in_the_spare_bits_are_no_values(tmp_path, signed):
    array = noise(dtype=np.int16 if signed else np.uint16)
    overlaid = (array.astype(np.uint16) & 0x0FFF) | 0x5000
    write_series(tmp_path, overlaid, BitsStored=12, HighBit=11, PixelRepresentation=signed)
    np.testing.assert_array_equal(read_one(tmp_path).array, array.transpose())


def test_floating_pixels(tmp_path):
    array = np.random.default_rng(0).normal(size=(3, 4, 4)).astype(np.float32)

    def floating(dataset, k):
        dataset.FloatPixelData = array[k].tobytes()
        for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            delattr(dataset, keyword)
        dataset.BitsAllocated = 32

    write_series(tmp_path / "a", noise((3, 4, 4)), change=floating)
    np.testing.assert_array_equal(read_one(tmp_path / "a").array, array.transpose())
    array[1, 2, 3] = np.nan
    write_series(tmp_path / "b", noise((3, 4, 4)), change=floating)
    assert "NaN" in refusal(tmp_path / "b")


# ---- multi-frame


def test_enhanced_multi_frame_equals_the_classic_series(tmp_path):
    array, shuffled = noise(), [3, 0, 4, 1, 2]
    positions = slice_positions(5, PLACE["spacing"], PLACE["origin"], OBLIQUE)
    write_series(tmp_path / "classic", array, **PLACE)
    write_enhanced(tmp_path / "enhanced" / "e", array[shuffled], positions=positions[shuffled], **PLACE)
    assert_same(read_one(tmp_path / "enhanced"), read_one(tmp_path / "classic"))


def test_enhanced_multi_frame_by_highdicom(tmp_path):
    legacy = pytest.importorskip("highdicom").legacy
    paths = write_series(tmp_path / "classic", noise(), **PLACE, RescaleSlope=1, RescaleIntercept=-1024)
    converted = legacy.LegacyConvertedEnhancedCTImage(
        [pydicom.dcmread(path) for path in paths], uids.generate_uid(), 1, uids.generate_uid(), 1
    )
    (tmp_path / "enhanced").mkdir()
    converted.save_as(tmp_path / "enhanced" / "one.dcm")
    assert_same(read_one(tmp_path / "enhanced"), read_one(tmp_path / "classic"))


@pytest.mark.parametrize("compress", [False, True])
def test_each_frame_has_its_own_slope(tmp_path, compress):
    array, slopes = noise(dtype=np.uint16, bits=15), [0.5, 1, 2, 4, 8.25]
    rle = by_pydicom(uids.RLELossless)
    change = (lambda dataset: rle(dataset, 0)) if compress else None
    rescale = [(slope, 3) for slope in slopes]
    write_enhanced(tmp_path / "e", array, rescale=rescale, change=change, RescaleSlope="9")  # of no frame
    expected = array * np.array(slopes)[:, None, None] + 3
    np.testing.assert_allclose(read_one(tmp_path).array.transpose(), expected, rtol=1e-6)


def test_several_times_in_one_enhanced_file(tmp_path):
    array = noise((6, 8, 6))
    positions = np.repeat(slice_positions(3), 2, axis=0)

    def times(dataset):
        for n, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            frame.FrameContentSequence = [pydicom.Dataset()]
            frame.FrameContentSequence[0].TemporalPositionIndex = 2 - n % 2

    write_enhanced(tmp_path / "e", array, positions=positions, change=times)
    images, (note,) = read(tmp_path)
    assert "2 images of each place" in note
    assert "TemporalPositionIndex" in note
    for image, frames in zip(images, (array[1::2], array[::2]), strict=True):
        np.testing.assert_array_equal(image.array.transpose(), frames)


# ---- several images at one place


@pytest.mark.parametrize("element", ["TemporalPositionIdentifier", "TriggerTime", "AcquisitionNumber", "EchoTime"])
def test_time_frames_are_told_apart(tmp_path, element):
    series, arrays = uids.generate_uid(), [noise(seed=n) for n in range(3)]
    for n, array in enumerate(arrays):

        def at_time(dataset, k, n=n):
            setattr(dataset, element, 40 * n + k % 2)  # which differs from slice to slice, as trigger times do

        write_series(tmp_path, array, name=f"{2 - n}-{{}}", SeriesInstanceUID=series, change=at_time, **PLACE)
    images, (note,) = read(tmp_path)
    assert note == f"3 images of each place, told apart by {element}"
    for image, array in zip(images, arrays, strict=True):
        np.testing.assert_array_equal(image.array.transpose(), array)
        np.testing.assert_array_equal(image.affine, images[0].affine)


@pytest.mark.parametrize("twice", [slice(1, 3), slice(0, 5)])
def test_equal_slices_at_one_place_are_left_out(tmp_path, twice):
    array, series = noise(), uids.generate_uid()
    write_series(tmp_path, array, SeriesInstanceUID=series, **PLACE)
    expected = read_one(tmp_path)
    again = slice_positions(5, PLACE["spacing"], PLACE["origin"], OBLIQUE)[twice]
    write_series(tmp_path, array[twice], name="again{}", positions=again, SeriesInstanceUID=series, **PLACE)
    (image,), notes = read(tmp_path)
    assert notes == (f"left out {len(again)} duplicate slice(s)",)
    assert_same(image, expected)


def test_different_slices_at_one_place_are_refused(tmp_path):
    series = uids.generate_uid()
    write_series(tmp_path, noise(), SeriesInstanceUID=series)
    write_series(
        tmp_path, noise(seed=1)[1:3], name="again{}", positions=slice_positions(3)[1:], SeriesInstanceUID=series
    )
    message = refusal(tmp_path)
    assert "001.dcm: another image in the place of" in message or "again0: another image in the place of" in message
