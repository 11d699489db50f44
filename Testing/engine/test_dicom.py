"""Series of DICOM files as they really are: found, chosen, and brought to voxels, or refused in one line."""

import base64
import io
import shutil
import tempfile
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image as Picture
from pydicom import uid as uids
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from scipy.spatial.transform import Rotation

from llmboost.dicom import Series, choose_series, find_series, read_series
from llmboost.errors import LLMBoostError
from llmboost.image import Image, to_sitk

from .dicom_samples import slice_positions, write_enhanced, write_series

# what OpenJPH makes of HTJ2K_PIXELS, without loss: high-throughput JPEG 2000
HTJ2K_PIXELS = np.arange(192, dtype=np.uint16).reshape(16, 12) * 21
HTJ2K = base64.b64decode(
    "/0//UQApQAAAAAAMAAAAEAAAAAAAAAAAAAAADAAAABAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJCQ"
    "kJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAHoAAf+TwAAmUfYFB3QAAMAAEsAAEwBmAYd0AP7xA4d0AMAAEsAAE4C7AEt0"
    "APqojwDDVADAABUwAAVQXI7j/pfgi3UAbGSDjcApQIy2AMAAK2AAFeAIIYQQQt4KenpwAngA9u3t7e3t/AAY9jGB7LkA/9k="
)
OBLIQUE = Rotation.from_euler("xyz", (0.2, -0.3, 0.4)).as_matrix()
PLACE = {"spacing": (0.7, 0.9, 2.5), "origin": (-31.5, 12.25, 480.0), "direction": OBLIQUE}


def noise(shape=(5, 8, 6), dtype=np.int16, bits=12, seed=0) -> np.ndarray:
    """[k, j, i] integers that use all of their bits."""
    info = np.iinfo(dtype)
    bits = min(bits, info.bits)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if info.min else (0, 2**bits)
    array = np.random.default_rng(seed).integers(low, high, shape).astype(dtype)
    array.flat[:2] = low, high - 1
    return array


def smooth(shape=(12, 40, 36)) -> np.ndarray:
    """[k, j, i] with little change from voxel to voxel, so that lossy compression keeps it nearly."""
    k, j, i = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return (1000 + 600 * np.sin(i / 9) * np.cos(j / 11) + 20 * k).astype(np.uint16)


def read(folder: Path) -> tuple[list[Image], tuple[str, ...]]:
    return read_series(choose_series(find_series(folder), None, folder))


def read_one(folder: Path) -> Image:
    """The image of a series that needs no repair."""
    (image,), notes = read(folder)
    assert notes == ()
    return image


def refusal(folder: Path) -> str:
    """All that is said when the only series of a folder is refused: one line on the folder or a file in it."""
    with warnings.catch_warnings(record=True, action="always") as said, pytest.raises(LLMBoostError) as caught:
        read(folder)
    assert not said
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(folder))
    return message


def assert_as_itk(image: Image, files: list[str]) -> None:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    expected, actual = reader.Execute(), to_sitk(image)
    values, theirs = (sitk.GetArrayViewFromImage(one) for one in (actual, expected))
    assert np.array_equal(values, theirs if values.dtype.kind != "f" else theirs.astype(np.float32))
    np.testing.assert_allclose(actual.GetSpacing(), expected.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(actual.GetOrigin(), expected.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(actual.GetDirection(), expected.GetDirection(), atol=1e-6)


def itk_files(folder: Path) -> list[str]:
    return list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))


def assert_same(actual: Image, expected: Image) -> None:
    np.testing.assert_array_equal(actual.array, expected.array)
    np.testing.assert_allclose(actual.affine, expected.affine, atol=1e-6)


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


# ---- compressions


def _uncompressed(syntax):
    def change(dataset, k):
        _set_syntax(dataset, syntax)
        if syntax == uids.ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()

    return change


def _by_pydicom(syntax, **options):
    def change(dataset, k):
        _set_syntax(dataset, uids.ExplicitVRLittleEndian)
        dataset.compress(syntax, generate_instance_uid=False, **options)

    return change


def _by_gdcm(compressor, syntax):
    def change(dataset, k):
        with tempfile.TemporaryDirectory() as folder:
            writer = sitk.ImageFileWriter()
            writer.SetFileName(f"{folder}/one.dcm")
            writer.SetImageIO("GDCMImageIO")
            writer.UseCompressionOn()
            writer.SetCompressor(compressor)
            writer.Execute(sitk.GetImageFromArray(_stored(dataset)))
            compressed = pydicom.dcmread(f"{folder}/one.dcm")
        assert compressed.file_meta.TransferSyntaxUID == syntax
        _set_syntax(dataset, syntax)
        dataset["PixelData"] = compressed["PixelData"]

    return change


def _by_pillow(kind, syntax, bits, **options):
    def change(dataset, k):
        values = _stored(dataset)[0]
        if bits == 8:
            values = (values // 16).astype(np.uint8)
            dataset.RescaleSlope, dataset.RescaleIntercept = 16, 0
        file = io.BytesIO()
        Picture.fromarray(values).save(file, kind, **options)
        dataset.BitsAllocated = dataset.BitsStored = bits
        dataset.HighBit = bits - 1
        _set_stream(dataset, file.getvalue(), syntax)

    return change


def _stored(dataset) -> np.ndarray:
    shape = (int(dataset.get("NumberOfFrames", 1)), dataset.Rows, dataset.Columns)
    return np.frombuffer(dataset.PixelData, "<u2").reshape(shape)


def _set_syntax(dataset, syntax):
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax


def _set_stream(dataset, stream, syntax):
    _set_syntax(dataset, syntax)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True


JPEG_2000 = _by_gdcm("JPEG2000", uids.JPEG2000Lossless)
COMPRESSIONS = {  # with the largest difference that each may make
    "implicit": (_uncompressed(uids.ImplicitVRLittleEndian), 0),
    "big endian": (_uncompressed(uids.ExplicitVRBigEndian), 0),
    "deflated": (_uncompressed(uids.DeflatedExplicitVRLittleEndian), 0),
    "RLE": (_by_pydicom(uids.RLELossless), 0),
    "JPEG baseline": (_by_pillow("JPEG", uids.JPEGBaseline8Bit, 8, quality=95), 60),
    "JPEG lossless": (_by_gdcm("JPEG", uids.JPEGLosslessSV1), 0),
    "JPEG-LS": (_by_pydicom(uids.JPEGLSLossless), 0),
    "JPEG-LS lossy": (_by_pydicom(uids.JPEGLSNearLossless, jls_error=4), 4),
    "JPEG 2000": (JPEG_2000, 0),
    "JPEG 2000 lossy": (
        _by_pillow("JPEG2000", uids.JPEG2000, 16, irreversible=True, quality_layers=[6], no_jp2=True),
        60,
    ),
}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_every_common_transfer_syntax(tmp_path, name):
    compress, tolerance = COMPRESSIONS[name]
    array = smooth()
    write_series(tmp_path, array, change=compress, **PLACE)
    image = read_one(tmp_path)
    difference = np.abs(image.array.transpose().astype(int) - array).max()
    assert difference <= tolerance
    assert (difference > 0) == (tolerance > 0)  # lossy compression was really at work
    assert_as_itk(image, itk_files(tmp_path))


@pytest.mark.skipif(
    tuple(map(int, sitk.Version.VersionString().split(".")[:3])) < (2, 5, 7), reason="needs SimpleITK 2.5.7"
)
def test_high_throughput_jpeg_2000(tmp_path):
    write_series(
        tmp_path, HTJ2K_PIXELS[None], change=lambda dataset, k: _set_stream(dataset, HTJ2K, uids.HTJ2KLossless)
    )
    np.testing.assert_array_equal(read_one(tmp_path).array[:, :, 0].transpose(), HTJ2K_PIXELS)


@pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPGExtended.dcm", "693_J2KI.dcm", "MR_small_RLE.dcm"])
def test_files_of_other_makers(tmp_path, name):
    """Among them JPEG of 12 bits, which nothing that the tests need can write; pydicom brings these files along."""
    dataset = pydicom.dcmread(get_testdata_file(name, download=False))
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 1
    dataset.NumberOfFrames = 1
    dataset.save_as(tmp_path / name)
    image = read_one(tmp_path)
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name)))
    np.testing.assert_array_equal(image.array, expected.transpose())


def test_negatives_keep_their_values_in_every_compression(tmp_path):
    array = smooth((3, 64, 64))
    for name, change in (("plain", None), ("compressed", JPEG_2000)):
        write_series(tmp_path / name, array, change=change, PhotometricInterpretation="MONOCHROME1")
        (image,), (note,) = read(tmp_path / name)
        assert "MONOCHROME1" in note
        np.testing.assert_array_equal(image.array, array.transpose())


def test_files_without_preamble(tmp_path):
    paths = write_series(tmp_path, noise(), **PLACE)
    expected = read_one(tmp_path)
    for n, path in enumerate(paths):
        length = 132 if n % 2 else 144 + pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength
        path.write_bytes(path.read_bytes()[length:])
    assert_same(read_one(tmp_path), expected)


@pytest.mark.parametrize("syntax", [uids.MPEG2MPML, uids.JPEG2000Lossless, uids.HTJ2KLossless])
def test_what_cannot_be_decoded_is_refused(tmp_path, syntax):
    write_series(tmp_path, noise(), change=lambda dataset, k: _set_stream(dataset, HTJ2K[:40], syntax))
    message = refusal(tmp_path)
    assert syntax.name in message
    assert "pip install -U SimpleITK pydicom" in message


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
    rle = _by_pydicom(uids.RLELossless)
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
