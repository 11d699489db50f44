"""DICOM in every common compression: the voxels that were compressed, or one line that names what is missing."""

import base64
import io

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image as Picture
from pydicom import uid as uids
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate

from .dicom_checks import assert_as_itk, assert_same, itk_files, read, read_one, refusal
from .dicom_samples import JPEG_2000, PLACE, by_gdcm, by_pydicom, noise, set_syntax, stored, write_series

# what OpenJPH makes of HTJ2K_PIXELS, without loss: high-throughput JPEG 2000
HTJ2K_PIXELS = np.arange(192, dtype=np.uint16).reshape(16, 12) * 21
HTJ2K = base64.b64decode(
    "/0//UQApQAAAAAAMAAAAEAAAAAAAAAAAAAAADAAAABAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJCQ"
    "kJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAHoAAf+TwAAmUfYFB3QAAMAAEsAAEwBmAYd0AP7xA4d0AMAAEsAAE4C7AEt0"
    "APqojwDDVADAABUwAAVQXI7j/pfgi3UAbGSDjcApQIy2AMAAK2AAFeAIIYQQQt4KenpwAngA9u3t7e3t/AAY9jGB7LkA/9k="
)


def smooth(shape=(12, 40, 36)) -> np.ndarray:
    """[k, j, i] with little change from voxel to voxel, so that lossy compression keeps it nearly."""
    k, j, i = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return (1000 + 600 * np.sin(i / 9) * np.cos(j / 11) + 20 * k).astype(np.uint16)


def _uncompressed(syntax):
    def change(dataset, k):
        set_syntax(dataset, syntax)
        if syntax == uids.ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()

    return change


def _by_pillow(kind, syntax, bits, **options):
    def change(dataset, k):
        values = stored(dataset)[0]
        if bits == 8:
            values = (values // 16).astype(np.uint8)
            dataset.RescaleSlope, dataset.RescaleIntercept = 16, 0
        file = io.BytesIO()
        Picture.fromarray(values).save(file, kind, **options)
        dataset.BitsAllocated = dataset.BitsStored = bits
        dataset.HighBit = bits - 1
        _set_stream(dataset, file.getvalue(), syntax)

    return change


def _set_stream(dataset, stream, syntax):
    set_syntax(dataset, syntax)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True


COMPRESSIONS = {  # with the largest difference that each may make
    "implicit": (_uncompressed(uids.ImplicitVRLittleEndian), 0),
    "big endian": (_uncompressed(uids.ExplicitVRBigEndian), 0),
    "deflated": (_uncompressed(uids.DeflatedExplicitVRLittleEndian), 0),
    "RLE": (by_pydicom(uids.RLELossless), 0),
    "JPEG baseline": (_by_pillow("JPEG", uids.JPEGBaseline8Bit, 8, quality=95), 60),
    "JPEG lossless": (by_gdcm("JPEG", uids.JPEGLosslessSV1), 0),
    "JPEG-LS": (by_pydicom(uids.JPEGLSLossless), 0),
    "JPEG-LS lossy": (by_pydicom(uids.JPEGLSNearLossless, jls_error=4), 4),
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
