"""How pixels are laid down in a DICOM file: read as meant, or refused; and files that are attacks on memory."""

import struct
import tracemalloc
import zlib

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom import uid as uids
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames

from llmboost.io.dicom import find_series, read_pictures

from .dicom_checks import read_one, refusal
from .dicom_samples import JPEG_2000, by_gdcm, by_pydicom, noise, set_syntax, write_enhanced, write_series

COMPRESSIONS = {
    "RLE": by_pydicom(uids.RLELossless),
    "JPEG-LS": by_pydicom(uids.JPEGLSLossless),
    "JPEG 2000": JPEG_2000,
    "JPEG lossless": by_gdcm("JPEG", uids.JPEGLosslessSV1),
}


def raw_element(path, value, vr=b"OB", length=None):
    """Replace the pixel data, the last element, by bytes, whatever pydicom thinks of them."""
    data = path.read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00O")
    path.write_bytes(data[:at] + b"\xe0\x7f\x10\x00" + vr + struct.pack("<HI", 0, length or len(value)) + value)


def relabel(path, syntax):
    """Put another transfer syntax into the file meta information; None for none at all."""
    dataset = pydicom.dcmread(path)
    body = path.read_bytes()
    at = body.index(b"\x08\x00\x08\x00CS")  # ImageType, the first element of the data set
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    with path.open("wb") as file:
        file.write(b"\0" * 128 + b"DICM")
        if syntax is not None:
            meta.TransferSyntaxUID = syntax
            pydicom.filewriter.write_file_meta_info(file, meta)
        file.write(body[at:])


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("end", [b"", b"\xfe\xff\xdd\xe0\0\0\0\0", b"\0\0"])
def test_compressed_pixels_of_defined_length_are_decoded(tmp_path, name, end):
    """noise() is hardly compressed: fragments are longer than the pixels, and were read as such."""
    array = noise((3, 16, 12), np.uint16, 16)
    for path in write_series(tmp_path, array, change=COMPRESSIONS[name]):
        raw_element(path, pydicom.dcmread(path).PixelData + end)
        assert pydicom.dcmread(path)["PixelData"].is_undefined_length is False
    np.testing.assert_array_equal(read_one(tmp_path).array.transpose(), array)


@pytest.mark.parametrize("syntax", [uids.ExplicitVRLittleEndian, None])
@pytest.mark.parametrize("defined", [False, True])
def test_compressed_pixels_that_claim_to_be_plain_are_refused(tmp_path, syntax, defined):
    array = noise((3, 16, 12), np.uint16, 16)
    for path in write_series(tmp_path, array, change=COMPRESSIONS["JPEG-LS"]):
        if defined:
            raw_element(path, pydicom.dcmread(path).PixelData)
        relabel(path, syntax)
    message = refusal(tmp_path)
    assert "its pixels are compressed, and its transfer syntax" in message


def test_a_bare_stream_is_no_pixels(tmp_path):
    for syntax in (uids.JPEGLSLossless, uids.ExplicitVRLittleEndian):
        folder = tmp_path / syntax
        for path in write_series(folder, noise((2, 16, 12), np.uint16, 16), change=COMPRESSIONS["JPEG-LS"]):
            raw_element(path, next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)))
            relabel(path, syntax)
        assert "compressed" in refusal(folder)


@pytest.mark.parametrize("syntax", [uids.RLELossless, uids.JPEG2000Lossless, uids.JPEGBaseline8Bit])
def test_plain_pixels_that_claim_to_be_compressed_are_refused(tmp_path, syntax):
    for path in write_series(tmp_path, noise()):
        relabel(path, syntax)
    message = refusal(tmp_path)
    assert f"its pixels are not compressed, and its transfer syntax ({syntax.name}) says otherwise" in message


def test_unknown_transfer_syntaxes_are_refused(tmp_path):
    """GE's 1.2.840.113619.5.2 has little endian headers and big endian pixels."""
    for path in write_series(tmp_path, noise()):
        relabel(path, "1.2.840.113619.5.2")
    assert "unknown transfer syntax (1.2.840.113619.5.2)" in refusal(tmp_path)


@pytest.mark.parametrize("claimed", [uids.ExplicitVRLittleEndian, None])
def test_implicit_files_that_claim_to_be_explicit_or_nothing(tmp_path, claimed):
    array = noise()
    for path in write_series(
        tmp_path, array, change=lambda dataset, k: set_syntax(dataset, uids.ImplicitVRLittleEndian)
    ):
        data = path.read_bytes()
        if claimed is None:
            at = data.index(b"\x08\x00\x08\x00")
            path.write_bytes(b"\0" * 128 + b"DICM" + data[at:])
        else:
            old = b"1.2.840.10008.1.2\0"
            at = data.index(old) - 8
            meta = data[at : at + 8][:6] + struct.pack("<H", 20) + claimed.encode() + b"\0"
            path.write_bytes(data[:at] + meta + data[at + 8 + len(old) :])
            assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == claimed
    np.testing.assert_array_equal(read_one(tmp_path).array.transpose(), array)


@pytest.mark.parametrize("labeled", [True, False])
@pytest.mark.parametrize("vr", ["OB", "OW"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_big_endian_with_and_without_a_label(tmp_path, labeled, vr, dtype):
    array = noise((3, 8, 6), dtype)
    if dtype == np.int16 and vr == "OB":
        pytest.skip("words are no bytes")

    def change(dataset, k):
        set_syntax(dataset, uids.ExplicitVRBigEndian)
        values = array[k].astype(array.dtype.newbyteorder(">")).tobytes()
        if dtype == np.uint8 and vr == "OW":  # two pixels a word (PS3.5, D.2)
            values = np.frombuffer(values, "<u2").astype(">u2").tobytes()
        dataset.add_new("PixelData", vr, values)

    for path in write_series(tmp_path, array, change=change):
        np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array, array[int(path.stem)])
        if not labeled:
            data = path.read_bytes()
            path.write_bytes(b"\0" * 128 + b"DICM" + data[data.index(b"\x00\x08\x00\x08CS") :])
    np.testing.assert_array_equal(read_one(tmp_path).array.transpose(), array)


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("way", ["no offsets", "offsets", "extended offsets", "several fragments", "trailing bytes"])
def test_fragments_however_they_are_cut(tmp_path, name, way):
    array = noise((4, 16, 12), np.uint16, 16)
    if name == "RLE" and way == "several fragments":
        pytest.skip("the standard has one fragment a frame for RLE")
    streams = []
    for path in write_series(tmp_path / "single", array, change=COMPRESSIONS[name]):
        single = pydicom.dcmread(path)
        streams += generate_frames(single.PixelData, number_of_frames=1)

    def change(dataset):
        set_syntax(dataset, single.file_meta.TransferSyntaxUID)
        if way == "extended offsets":
            data, offsets, lengths = encapsulate_extended(streams)
            dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets, lengths
        elif way == "several fragments":
            data = encapsulate(streams, fragments_per_frame=3, has_bot=True)
        else:
            parts = [stream + b"\0" * 6 for stream in streams] if way == "trailing bytes" else streams
            data = encapsulate(parts, has_bot=way == "offsets")
        dataset.PixelData = data
        dataset["PixelData"].is_undefined_length = True

    write_enhanced(tmp_path / "many" / "e", array, change=change)
    np.testing.assert_array_equal(read_one(tmp_path / "many").array.transpose(), array)


def test_fewer_frames_than_told_are_refused(tmp_path):
    def change(dataset):
        dataset.PixelData = dataset.PixelData[: 3 * 16 * 12 * 2]
        dataset.NumberOfFrames = 3
        set_syntax(dataset, uids.ExplicitVRLittleEndian)
        dataset.compress(uids.RLELossless)
        dataset.NumberOfFrames = 4

    write_enhanced(tmp_path / "e", noise((4, 16, 12), np.uint16), change=change)
    assert "damaged" in refusal(tmp_path)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(("signed", "bits", "high"), [(0, 12, 11), (1, 12, 11), (1, 10, 9), (0, 12, 15), (0, 10, 12)])
def test_only_the_stored_bits_are_values(tmp_path, compress, signed, bits, high):
    """Other bits are set at random, as by overlays."""
    words = np.random.default_rng(0).integers(0, 2**16, (3, 16, 12)).astype(np.uint16)
    elements = {"BitsStored": bits, "HighBit": high, "PixelRepresentation": signed}

    def change(dataset, k):
        set_syntax(dataset, uids.ExplicitVRLittleEndian)
        if compress:
            dataset.BitsStored, dataset.HighBit = 16, 15  # pydicom would refuse the spare bits
            dataset.compress(uids.RLELossless, generate_instance_uid=False)
            dataset.BitsStored, dataset.HighBit = bits, high

    write_series(tmp_path, words, change=change, **elements)
    values = (words.astype(np.int64) >> (high + 1 - bits)) & (2**bits - 1)
    if signed:
        values = np.where(values >= 2 ** (bits - 1), values - 2**bits, values)
    np.testing.assert_array_equal(read_one(tmp_path).array.transpose(), values)


@pytest.mark.parametrize("frames", [0, ""])
def test_no_number_of_frames_is_one_frame(tmp_path, frames):
    array = noise()
    write_series(tmp_path, array, NumberOfFrames=frames)
    np.testing.assert_array_equal(read_one(tmp_path).array.transpose(), array)


def test_more_bytes_than_pixels_are_no_matter_and_fewer_are_refused(tmp_path):
    array = noise()
    for path in write_series(tmp_path, array):
        raw_element(path, pydicom.dcmread(path).PixelData + b"\xab" * 10, b"OW")
    np.testing.assert_array_equal(read_one(tmp_path).array.transpose(), array)
    raw_element(path, pydicom.dcmread(path).PixelData[:-14], b"OW")
    assert "truncated" in refusal(tmp_path)


def test_floats_of_other_sizes_are_refused(tmp_path):
    def change(dataset, k):
        dataset.FloatPixelData = array[k].tobytes()
        del dataset.PixelData

    array = np.zeros((2, 8, 6), np.float32)
    write_series(tmp_path, noise((2, 8, 6)), change=change)
    assert "FloatPixelData of 16 bits is not readable; export it with 32" in refusal(tmp_path)


@pytest.mark.parametrize("allocated", [1, 12])
def test_packed_bits_are_refused(tmp_path, allocated):
    elements = {"BitsAllocated": allocated, "BitsStored": allocated, "HighBit": allocated - 1}
    write_series(tmp_path, noise(), **elements)
    assert f"pixels of {allocated} bits in {allocated} are not readable" in refusal(tmp_path)


# ---- attacks on memory


def deflate(path, before_pixels=0, pixels=0):
    """Deflate a file, with so many zeros in a private element before its pixels, and so many more pixels."""
    data = path.read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00O")
    start = data.index(b"\x08\x00\x08\x00CS")
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)

    def zeros(n):
        block = bytes(2**20)
        return b"".join(packer.compress(block[: min(n - done, 2**20)]) for done in range(0, n, 2**20))

    parts = [packer.compress(data[start:at])]
    if before_pixels:
        parts.append(packer.compress(b"\x09\x7f\x10\x10OB\0\0" + struct.pack("<I", before_pixels)))
        parts.append(zeros(before_pixels))
    size = len(data) - at - 12
    parts.append(packer.compress(data[at : at + 8] + struct.pack("<I", size + pixels) + data[at + 12 :]))
    parts += [zeros(pixels), packer.flush()]
    relabel(path, uids.DeflatedExplicitVRLittleEndian)
    head = path.read_bytes()
    path.write_bytes(head[: head.index(b"\x08\x00\x08\x00CS")] + b"".join(parts))


def peak(function):
    tracemalloc.start()
    function()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_deflated_files_are_read(tmp_path):
    array = noise((3, 64, 64))
    for path in write_series(tmp_path, array):
        deflate(path, before_pixels=3 * 2**20)
        np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array, array[int(path.stem)])
    np.testing.assert_array_equal(read_one(tmp_path).array.transpose(), array)


def test_deflated_bombs_take_no_memory(tmp_path):
    size = 400 * 2**20
    (pixels,) = write_series(tmp_path / "pixels", noise((1, 64, 64)))
    deflate(pixels, pixels=size)
    assert pixels.stat().st_size < 2**20
    assert peak(lambda: find_series(pixels)) < 8 * 2**20  # its header is short
    assert peak(lambda: refusal(pixels)) < 200 * 2**20
    assert "inflates to more than the 64 MB" in refusal(pixels)
    (header,) = write_series(tmp_path / "header", noise((1, 64, 64)))
    deflate(header, before_pixels=size)
    assert peak(lambda: refusal(header)) < 200 * 2**20
    assert "inflates to more than the 64 MB" in refusal(header)
    without_mark = header.read_bytes()[132:]
    header.write_bytes(without_mark)
    assert peak(lambda: find_series(header)) < 200 * 2**20


@pytest.mark.parametrize("compress", [False, True])
def test_pixels_that_a_file_cannot_hold_are_refused(tmp_path, compress):
    def claim(dataset, k):
        if compress:
            COMPRESSIONS["JPEG-LS"](dataset, k)
        dataset.Rows = dataset.Columns = 65535

    (path,) = write_series(tmp_path, noise((1, 16, 12), np.uint16), change=claim)
    assert peak(lambda: refusal(path)) < 2**24
    assert "says that it holds 65535 x 65535 pixels in 1 frame(s), more than such a small file can" in refusal(path)


def with_size(stream, marker, offset, size):
    """A stream with another size in its header."""
    start = stream.index(marker) + offset
    return stream[:start] + size + stream[start + len(size) :]


@pytest.mark.parametrize("name", ["JPEG 2000", "JPEG lossless", "JPEG-LS"])
def test_streams_that_say_more_than_the_file_are_not_decoded(tmp_path, name, monkeypatch):
    """What decodes JPEG takes the memory that a stream says: 16 GB for 65,000 x 65,000 pixels."""
    wide, long = struct.pack(">HH", 65000, 65000), struct.pack(">II", 40000, 40000)
    change = {"JPEG 2000": (b"\xff\x51", 6, long), "JPEG lossless": (b"\xff\xc3", 5, wide)}.get(
        name, (b"\xff\xf7", 5, wide)
    )
    for path in write_series(tmp_path, noise((1, 16, 12), np.uint16), change=COMPRESSIONS[name]):
        dataset = pydicom.dcmread(path)
        (stream,) = generate_frames(dataset.PixelData, number_of_frames=1)
        dataset.PixelData = encapsulate([with_size(stream, *change)])
        dataset.save_as(path)
    decoded = []
    monkeypatch.setattr(sitk, "ReadImage", lambda *args, **options: decoded.append(args))
    assert "its pixels are damaged" in refusal(tmp_path)
    assert not decoded


def test_long_elements_before_the_pixels_cost_a_listing_nothing(tmp_path):
    def change(dataset, k):
        dataset.private_block(0x0009, "TEST", create=True).add_new(1, "OB", bytes(40 * 2**20))

    (path,) = write_series(tmp_path, noise((1, 16, 12)), change=change)
    assert peak(lambda: find_series(path)) < 2**22
    data = path.read_bytes()  # an element that claims 4 GB
    at = data.index(b"TEST") + 4
    path.write_bytes(data[: at + 8] + b"\xf0\xff\xff\xff" + data[at + 12 : at + 1000])
    assert "damaged" in refusal(path) or "without pixels" in refusal(path)


def test_pictures_are_guarded_alike(tmp_path):
    (path,) = write_series(tmp_path, noise((1, 64, 64)))
    deflate(path, pixels=100 * 2**20)
    with pytest.raises(Exception, match="inflates to more than"):
        read_pictures(path, color=False)
