"""Input that nobody should hand in, and what a user is told about it: one line that names the file and says what to do.

The tables are read as "this file, these words"; each goes through the real command line.
"""

import bz2
import gzip
import io
import json
import os
import pickle
import re
import resource
import socket
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import nibabel
import numpy as np
import PIL.Image
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

import llmboost as package
from llmboost.card import METADATA_KEY
from llmboost.errors import LLMBoostError
from llmboost.io.image import read_image, read_volumes
from llmboost.io.segnrrd import read_segmentation

from .summaries import names

# --- how the files are made ---

IDENTITY = np.eye(4)
VOXELS = np.random.default_rng(0).integers(0, 999, (12, 12, 12)).astype(np.int16)


def nifti(array=VOXELS, *, sform=IDENTITY, kind=nibabel.Nifti1Image, **fields):
    """A NIfTI file's bytes, with fields of the header overwritten behind nibabel's back."""
    image = kind(array, IDENTITY, dtype=array.dtype)
    image.set_sform(sform, code=1)
    image.set_qform(None, code=0)
    data = bytearray(image.to_bytes())
    for name, values in fields.items():
        kind, position = {"pixdim": ("f", 80), "dim": ("h", 40), "vox_offset": ("f", 108), "datatype": ("h", 70)}[name]
        struct.pack_into(f"<{len(values)}{kind}", data, position, *values)
    return bytes(data)


CUBE = b"\1\0" * 64  # 4 x 4 x 4 voxels of 16 bits
MILLIMETERS = "(1,0,0) (0,1,0) (0,0,1)"


def nrrd(data=CUBE, *lines, type="short", sizes="4 4 4", encoding="raw", directions=MILLIMETERS):
    """An NRRD file's bytes; without ``directions`` it lies nowhere in space."""
    head = ["NRRD0004", f"type: {type}", f"dimension: {len(sizes.split())}", f"sizes: {sizes}", "endian: little"]
    if directions:
        head += ["space: left-posterior-superior", f"space directions: {directions}", "space origin: (0,0,0)"]
    return "\n".join([*head, f"encoding: {encoding}", *lines]).encode() + b"\n\n" + data


def mha(data=CUBE, *lines, axes=3, sizes="4 4 4", type="MET_SHORT", file="LOCAL"):
    """A MetaImage file's bytes."""
    head = ["ObjectType = Image", f"NDims = {axes}", *lines, f"DimSize = {sizes}", f"ElementType = {type}"]
    return "\n".join([*head, f"ElementDataFile = {file}", ""]).encode() + data


def zipped_mha(data, size):
    return mha(data, "CompressedData = True", f"CompressedDataSize = {size}")


def picture(array, format, **options):
    file = io.BytesIO()
    PIL.Image.fromarray(array).save(file, format, **options)
    return file.getvalue()


def archive(name, content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr(name, content)
    return file.getvalue()


def dicom_without_pixels():
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.SeriesInstanceUID, data.StudyInstanceUID, data.Modality = generate_uid(), generate_uid(), "CT"
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def sheared():
    sform = np.eye(4)
    sform[0, 1] = 0.5
    return sform


COLORS = np.random.default_rng(1).integers(0, 255, (40, 50, 3)).astype(np.uint8)
PNG, JPEG = picture(COLORS, "PNG"), picture(COLORS, "JPEG")
ZLIB = zlib.compress(CUBE)
FLOATS = np.ones((8, 8, 8), np.float32)
RGB24 = nibabel.Nifti1Image(
    np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), np.eye(4)
).to_bytes()  # fmt: skip
NAN, INFINITY, HUGE = (struct.pack("<f", value) * 64 for value in (np.nan, np.inf, 1e38))

# --- files, and what the one line says ---

FILES = {
    # no image at all
    "notes.txt": (b"hello", "unknown image format; use one of .nii.gz"),
    "empty.nii.gz": (b"", "an empty file"),
    "empty.nrrd": (b"", "an empty file"),
    "text.nii": (b"hello", "not a NIfTI-1 file, or a damaged one; copy or export it again"),
    "text.nii.gz": (b"hello", "not a NIfTI-1 file, or a damaged one"),
    "zipped_text.nii.gz": (gzip.compress(b"hello" * 999), "not a NIfTI-1 file, or a damaged one"),
    "text.nrrd": (b"hello", "not a NRRD file, or a damaged one; copy or export it again"),
    "text.mha": (b"hello", "not a MetaImage file, or a damaged one; copy or export it again"),
    "text.png": (b"hello", "not a PNG or JPEG picture, or a damaged one; copy or export it again"),
    "archive.nii.gz": (archive("a.nii", nifti()), "not a NIfTI-1 file, or a damaged one"),
    "nrrd_inside.nii": (nrrd(), "not a NIfTI-1 file, or a damaged one"),
    "analyze.hdr": (nifti()[:348], "unknown image format; use one of .nii.gz"),
    "pair.nii": (nifti()[:344] + b"ni1\0" + nifti()[348:], "not a NIfTI-1 file"),
    "nifti2.nii": (nifti(kind=nibabel.Nifti2Image)[:-9], "truncated .3447 of 3456 bytes"),
    "nrrd_magic.nrrd": (nrrd().replace(b"NRRD0004", b"NRRD9"), "not a NRRD file, or a damaged one"),
    # truncated or changed on the way
    "header_only.nii": (nifti()[:200], "not a NIfTI-1 file, or a damaged one"),
    "truncated.nii": (nifti()[:2000], r"truncated \(\d+ of 3456 bytes of voxels\); copy or export it again"),
    "truncated.nii.gz": (gzip.compress(nifti())[:2000], "not a NIfTI-1 file, or a damaged one"),
    "checksum.nii.gz": (gzip.compress(nifti())[:-8] + b"\1" * 8, "not a NIfTI-1 file, or a damaged one"),
    "header_only.nrrd": (nrrd()[:60], "not a NRRD file, or a damaged one"),
    "truncated.nrrd": (nrrd(CUBE[:60]), "truncated .60 of 128 bytes"),
    "truncated_gzip.nrrd": (nrrd(gzip.compress(CUBE)[:-9], encoding="gzip"), "not a NRRD file, or a damaged one"),
    "checksum.nrrd": (nrrd(gzip.compress(CUBE)[:-8] + b"\1" * 8, encoding="gzip"), "not a NRRD file, or a damaged"),
    "not_zipped.nrrd": (nrrd(encoding="gzip"), "not a NRRD file, or a damaged one"),
    "truncated.mha": (mha(CUBE[:60]), "truncated .60 of 128 bytes"),
    "truncated_end.mha": (mha(CUBE[:30], "HeaderSize = -1", sizes="9 9 9"), r"truncated .\d+ of 1458 bytes"),
    "truncated_zlib.mha": (zipped_mha(ZLIB[:8], len(ZLIB)), "truncated .8 of"),
    "checksum.mha": (zipped_mha(ZLIB[:-4] + b"\1" * 4, len(ZLIB)), "not a MetaImage file, or a damaged one"),
    "garbage.mha": (zipped_mha(b"garbage" * 9, 63), "not a MetaImage file, or a damaged one"),
    "truncated.png": (PNG[: len(PNG) // 2], "not a PNG or JPEG picture, or a damaged one"),
    "truncated.jpg": (JPEG[: len(JPEG) // 2], "not a PNG or JPEG picture, or a damaged one"),
    # sizes that are not so
    "more_than_said.nii": (nifti(dim=(3, 12, 12, 6)), "holds more voxels than its header says; copy or export"),
    "more_than_said.nrrd": (nrrd(CUBE * 20), "holds more voxels than its header says"),
    "more_than_said.mha": (mha(CUBE * 20), "holds more voxels than its header says"),
    "no_voxels.nii": (nifti(np.zeros((4, 0, 4), np.int16)), "holds no voxels .its header gives the size as 4 x 0 x 4"),
    "no_voxels.nrrd": (nrrd(sizes="4 0 4"), "holds no voxels"),
    "no_voxels.mha": (mha(sizes="4 -4 4"), "holds no voxels"),
    "terabytes.nii": (nifti(dim=(3, 30000, 30000, 30000)), "truncated .* of 54000000000000 bytes"),
    "terabytes.nrrd": (nrrd(sizes="99999 99999 99999"), "truncated .128 of 19"),
    "terabytes_zipped.nrrd": (nrrd(gzip.compress(CUBE), encoding="gzip", sizes="99999 99999 99999"), "truncated .128 "),
    "terabytes.mha": (mha(sizes="4294967296 4294967296 4"), "truncated .128 of"),
    "terabytes_zipped.mha": (zipped_mha(ZLIB, 10**15), "truncated"),
    "eight_axes.nii": (nifti(dim=(8, 12, 12, 12, 1, 1, 1, 1)), "not a NIfTI-1 file, or a damaged one"),
    "many_axes.nrrd": (nrrd(sizes="64" + " 1" * 10, directions=""), "not a NRRD file"),  # crashes ITK
    "long_line.nrrd": (nrrd(CUBE, "kinds: " + "x" * 2000), "not a NRRD file"),  # crashes ITK
    "no_axes.mha": (mha(axes=-3), "not a MetaImage file"),  # ITK never comes back
    "offset.nii": (nifti(vox_offset=(1e30,)), "not a NIfTI-1 file, or a damaged one"),
    "type.nii": (nifti(datatype=(77,)), "not a NIfTI-1 file"),
    "type.mha": (mha(type="MET_STRING"), "not a MetaImage file"),
    # no place in space
    "zero_spacing.nii": (nifti(pixdim=(0, 1, 1)), r"the voxel spacing as \(0, 1, 1\) mm; correct it"),
    "negative_spacing.nii": (nifti(pixdim=(1, -1, 1)), r"the voxel spacing as \(1, -1, 1\) mm"),
    "nan_spacing.nii": (nifti(pixdim=(1, 1, np.nan)), r"the voxel spacing as \(1, 1, nan\) mm"),
    "huge_spacing.nii": (nifti(pixdim=(1e6, 1, 1)), r"the voxel spacing as \(1e\+06, 1, 1\) mm"),
    "tiny_spacing.nrrd": (nrrd(directions="(1e-9,0,0) (0,1,0) (0,0,1)"), r"the voxel spacing as \(1e-09, 1, 1\) mm"),
    "zero_spacing.nrrd": (nrrd(directions="(0,0,0) (0,1,0) (0,0,1)"), "a voxel spacing that is not positive; correct"),
    "nan_spacing.nrrd": (nrrd(CUBE, "spacings: 1 nan 1", directions=""), r"the voxel spacing as \(1, nan, 1\) mm"),
    "zero_spacing.mha": (mha(CUBE, "ElementSpacing = 0 1 1"), "a voxel spacing that is not positive"),
    "nan_spacing.mha": (mha(CUBE, "ElementSpacing = nan 1 1"), "a voxel spacing that is not positive"),
    "nan_direction.nrrd": (nrrd(directions="(nan,0,0) (0,1,0) (0,0,1)"), "damaged"),
    "singular.nrrd": (nrrd(directions="(1,0,0) (1,0,0) (0,0,1)"), "linearly dependent .singular direction"),
    "singular.mha": (mha(CUBE, "TransformMatrix = 1 0 0 1 0 0 0 0 1"), "singular direction"),
    "sheared.nii": (nifti(sform=sheared()), "not perpendicular .sheared sform.; correct the header or resample"),
    "infinite_origin.mha": (mha(CUBE, "Offset = inf 0 0"), "not a MetaImage file, or a damaged one"),
    # voxels that are no intensities
    "nan.nii": (nifti(np.full((4, 4, 4), np.nan)), "holds NaN or infinite voxels; replace them by numbers"),
    "nan.nii.gz": (gzip.compress(nifti(FLOATS * np.nan)), "holds NaN or infinite voxels"),
    "infinite.nii": (nifti(FLOATS * np.inf), "holds NaN or infinite voxels"),
    "nan.nrrd": (nrrd(NAN, type="float"), "holds NaN or infinite voxels"),
    "infinite.mha": (mha(INFINITY, type="MET_FLOAT"), "holds NaN or infinite voxels"),
    "huge_values.nii": (nifti(FLOATS * np.float32(1e38)), r"holds voxels as large as 1e\+38; replace them"),
    "huge_values.nrrd": (nrrd(HUGE, type="float"), r"holds voxels as large as 1e\+38"),
    "huge_values_64.nii": (nifti(np.full((4, 4, 4), 2**62)), r"holds voxels as large as 4.61e\+18"),
    "complex.nii": (nifti(FLOATS.astype(np.complex64)), "complex-valued; give its magnitude image"),
    "vector.nrrd": (nrrd(b"\0" * 192, "kinds: vector domain domain", type="ushort", sizes="3 8 4", directions=""),
                    "a vector image .3 values a voxel"),
    "two_components.nrrd": (nrrd(b"\0" * 64, "kinds: vector domain domain", type="uchar", sizes="2 8 4", directions=""),
                            "a vector image .2 values a voxel"),
    "five_axes.nii": (nifti(np.zeros((4, 4, 4, 2, 2), np.int16)), "more than four axes|a vector image"),
    # stored in ways that are not read
    "bzip2.nrrd": (nrrd(bz2.compress(CUBE), encoding="bzip2"), "not read .bzip2.; open it in 3D Slicer and save it"),
    "encoding.nrrd": (nrrd(encoding="\x1b[31mlzma"), r"not read .\\x1b\[31mlzma."),
    "words.nrrd": (nrrd(b"1 " * 64, encoding="text"), "not read .text"),
    "words.mha": (mha(b"1 " * 64, "BinaryData = False"), "not read .text"),
    "behind.nrrd": (nrrd(b"hello\n" + CUBE, "line skip: 1"), "its voxels lie behind other data; open it in 3D Slicer"),
    # voxels elsewhere: a file from elsewhere must not choose what is opened here
    "absent.nhdr": (nrrd(b"", "data file: absent.raw"), "in another file: .*absent.raw: no such file; keep both"),
    "absent.mhd": (mha(b"", file="absent.raw"), "in another file: .*absent.raw: no such file; keep both"),
    "passwords.nhdr": (nrrd(b"", "data file: /etc/passwd", type="uchar"), "lie in '/etc/passwd', not in one file bes"),
    "passwords.mhd": (mha(b"", file="/etc/passwd", type="MET_UCHAR"), "lie in '/etc/passwd', not in one file beside"),
    "above.nhdr": (nrrd(b"", "data file: ../other.raw"), "lie in '../other.raw', not in one file beside"),
    "device.mhd": (mha(b"", file="/dev/zero"), "lie in '/dev/zero', not in one file beside"),
    "input.nrrd": (nrrd(b"", "data file: -"), "lie in '-', not in one file beside"),
    "pattern.nhdr": (nrrd(b"", "data file: %d%s%s%n%s 1 4 1"), "lie in '%d%s%s%n%s 1 4 1'"),  # a format string to ITK
    "pattern.mhd": (mha(b"", file="%n%n%n%n 1 4 1"), "lie in '%n%n%n%n 1 4 1'"),
    "list.nhdr": (nrrd(b"", "data file: LIST\n/etc/passwd"), "lie in 'LIST', not in one file beside"),
    "list.mhd": (mha(b"a.raw\nb.raw\n", file="LIST"), "lie in 'LIST', not in one file beside"),
    # images, but not for this model
    "one_slice.nii.gz": (gzip.compress(nifti(VOXELS[:, :, 0])), "slice"),
    "one_voxel.nii": (nifti(VOXELS[:1, :1, :1]), "slice"),
    "in_time.nii": (nifti(np.zeros((4, 4, 4, 2), np.int16)), "choose one with --frame|takes 1 image"),
    "picture.png": (PNG, "a color image, but a gray one is needed; convert it"),
    "picture.jpeg": (JPEG, "a color image, but a gray one is needed; convert it"),
    "color.nii": (RGB24, "a color image, but a gray one is needed"),
    # DICOM
    "pixels.dcm": (dicom_without_pixels(), ""),
}  # fmt: skip
READABLE_ALONE = ("one_slice.nii.gz", "one_voxel.nii", "in_time.nii")  # what is wrong shows only with a model


@pytest.fixture
def segmented(llmboost, tiny_model, tmp_path):
    """``segmented(input, ..., option, ...)`` segments with a tiny model into tmp_path/out."""
    return lambda *arguments: llmboost("segment", *arguments, "--model", tiny_model, "--output", tmp_path / "out")


@pytest.fixture
def failure(segmented, tmp_path):
    """``failure(input)``: the one line about a case that fails; nothing is written but the summaries."""

    def run(path):
        done = segmented(path)
        assert done.status == 1, done.err
        (line,) = done.err.splitlines()
        if line.startswith("error: "):  # nothing that could be a case
            assert not (tmp_path / "out").exists()
            return line.removeprefix("error: ")
        assert "0 of 1 cases segmented" in done.out
        assert names(tmp_path / "out") == ["summary.csv", "summary.json"]
        (row,) = json.loads((tmp_path / "out" / "summary.json").read_text())["cases"]
        assert row["status"] == "failed"
        assert line == f"failed: {row['error']}"
        return row["error"]

    return run


def test_the_table_is_long_enough():
    assert len(FILES) >= 40


@pytest.mark.parametrize("name", FILES)
def test_files(failure, tmp_path, name):
    content, text = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    line = failure(path)
    assert line.startswith(f"{path}: ")
    assert re.search(text, line), line
    assert len(line) - len(str(tmp_path)) < 200


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(".dcm")])
def test_libraries_print_nothing_of_their_own(tmp_path, name, capfd):
    path = tmp_path / name
    path.write_bytes(FILES[name][0])
    if name in READABLE_ALONE:
        read_volumes(path)
    else:
        with pytest.raises(LLMBoostError):
            read_volumes(path)
    assert capfd.readouterr().err == ""


# --- things that are no files, and odd names ---


def loop(folder):
    (folder / "a.nii.gz").symlink_to(folder / "b.nii.gz")
    (folder / "b.nii.gz").symlink_to(folder / "a.nii.gz")
    return folder / "a.nii.gz"


def broken_link(folder):
    (folder / "a.nii.gz").symlink_to(folder / "absent.nii.gz")
    return folder / "a.nii.gz"


def pipe(folder):
    os.mkfifo(folder / "a.nii.gz")
    return folder / "a.nii.gz"


def pipe_of_any_name(folder):
    os.mkfifo(folder / "scan")
    return folder / "scan"


def device(folder):
    (folder / "a.nrrd").symlink_to("/dev/zero")
    return folder / "a.nrrd"


def listening(folder):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "a.mha"))
    return folder / "a.mha"


def pipe_of_voxels(folder):
    os.mkfifo(folder / "a.raw")
    (folder / "a.mhd").write_bytes(mha(b"", file="a.raw"))
    return folder / "a.mhd"


def folder_named_as_a_file(folder):
    (folder / "images" / "a.nii.gz").mkdir(parents=True)
    return folder / "images"


def named(name, content=b"hello"):
    def make(folder):
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        with open(path, "wb") as file:
            file.write(content)
        return Path(os.fsdecode(path))

    return make


def empty_folder(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def folder_of_texts(folder):
    (folder / "texts").mkdir()
    (folder / "texts" / "notes.txt").write_text("hello")
    return folder / "texts"


PLACES = {
    "nothing": (lambda folder: folder / "absent.nrrd", "absent.nrrd: no such file"),
    "nothing, a long name": (lambda folder: folder / ("x" * 300 + ".nii.gz"), "cannot be read .File name too long"),
    "below a file": (lambda folder: Path(__file__) / "a.nii.gz", "cannot be read .Not a directory"),
    "a loop of links": (loop, "a.nii.gz: cannot be read .Too many levels of symbolic links"),
    "a broken link": (broken_link, "a.nii.gz: a link to a file that is not there; mend or remove it"),
    "a pipe": (pipe, "a.nii.gz: a pipe or a device, not a file; copy its content into a file"),
    "a pipe of any name": (pipe_of_any_name, "scan: a pipe or a device, not a file"),
    "nothing of any name": (lambda folder: folder / "absent", "absent: no such file"),
    "nothing, a long name of any kind": (lambda folder: folder / ("x" * 300), "cannot be read .File name too long"),
    "a device": (device, "a.nrrd: a pipe or a device, not a file"),
    "a socket": (listening, "a.mha: a pipe or a device, not a file"),
    "voxels in a pipe": (pipe_of_voxels, "a.raw: a pipe or a device, not a file"),
    "a folder named as a file": (folder_named_as_a_file, "a.nii.gz: a folder, but a file is needed here"),
    "an empty folder": (empty_folder, "empty: no images in this folder"),
    "a folder of texts": (folder_of_texts, "texts: no images in this folder"),
    "a line break": (named("a\nb.nii.gz", nifti()), r"a\\nb.nii.gz: a line break or an unreadable character"),
    "colors of a terminal": (named("\x1b[31m.nrrd"), r"\\x1b\[31m.nrrd: a line break or an unreadable"),
    "bytes that are no text": (named(b"caf\xe9.nii.gz"), r"caf\\udce9.nii.gz: a line break or an unreadable"),
    "emoji": (named("\U0001f9e0 \u00fc.nii.gz"), "\U0001f9e0 \u00fc.nii.gz: not a NIfTI-1 file"),
}


@pytest.mark.parametrize("what", PLACES)
def test_places(failure, tmp_path, what):
    make, text = PLACES[what]
    line = failure(make(tmp_path))
    assert re.search(text, line), line


# --- models ---


def card_edit(**fields):
    def edit(data):
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        card = json.loads(header["__metadata__"][METADATA_KEY]) | fields
        header["__metadata__"][METADATA_KEY] = json.dumps(card)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + data[start:]

    return edit


class Malicious:
    """What torch.load would run."""

    def __reduce__(self):
        return (os.mkdir, ("ran",))


def without_card(data):
    start = 8 + int.from_bytes(data[:8], "little")
    header = {key: value for key, value in json.loads(data[8:start]).items() if key != "__metadata__"}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[start:]


MODELS = {
    "empty": (lambda data: b"", "an empty file"),
    "text": (lambda data: b"hello" * 99, r"not a model file .\.safetensors expected"),
    "pickle": (lambda data: pickle.dumps(Malicious()), r"not a model file .\.safetensors expected"),
    "zip": (lambda data: archive("data.pkl", pickle.dumps(Malicious())), r"not a model file"),
    "half a header": (lambda data: data[:99], "not a model file, or a truncated one"),
    "truncated": (lambda data: data[:-99], "damaged model file .* copy it again"),
    "too long": (lambda data: data + b"more", "damaged model file .* copy it again"),
    "a changed weight": (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "its digest does not match its weights"),
    "terabytes of header": (lambda data: b"\xff" * 7 + b"\0" + data[8:], "not a model file"),
    "no card": (without_card, "it carries no card"),
    "a newer card": (card_edit(format=99), "written by a newer LLMBoost .* update the extension"),
    "a card that is none": (card_edit(labels=5), "damaged card"),
    "another network": (card_edit(network={"name": "hybrid-vit", "width": 10**9}), "do not fit the card"),
    "an unknown network": (card_edit(network={"name": "os.system"}), "do not fit the card"),
    "no spacing": (card_edit(preprocessing={"spacing": [0, 1, 1]}), "damaged card"),
}


@pytest.mark.parametrize("what", MODELS)
def test_models(refusal, tiny_model, tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    change, text = MODELS[what]
    tiny_model.write_bytes(change(tiny_model.read_bytes()))
    (tmp_path / "a.nii").write_bytes(nifti())
    line = refusal("segment", tmp_path / "a.nii", "--model", tiny_model, "--output", tmp_path / "out")
    assert line.startswith(f"{tiny_model}: ")
    assert re.search(text, line), line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii", "tiny.safetensors"]


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("nope", "model 'nope': no such file, and no installed model of that name .installed: adrenal, brain"),
        ("x" * 300, "no such file, and no installed model of that name"),
        ("", "model '': no such file, and no installed model of that name"),
        ("a\nb", "no such file, and no installed model of that name"),
        ("{}/loop", "loop: cannot be read .Too many levels of symbolic links"),
        ("{}/pipe", "pipe: a pipe or a device, not a file"),
        ("{}", "no such file, and no installed model of that name"),
    ],
)
def test_names_of_models(refusal, tmp_path, model, text):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.nii").write_bytes(nifti())
    line = refusal("segment", tmp_path / "a.nii", "--model", model.format(tmp_path), "--output", tmp_path / "out")
    assert re.search(text, line), line
    assert refusal("models", "import", tmp_path / "pipe").startswith(f"{tmp_path / 'pipe'}: a pipe or a device")


def test_no_model(llmboost, tmp_path):
    done = llmboost("segment", tmp_path / "a.nii", "--output", tmp_path / "out")
    assert done.status == 2
    assert "Missing option '--model'" in done.err


# --- places for results ---


def test_outputs(refusal, segmented, tiny_model, tmp_path):
    image = tmp_path / "a.nii.gz"
    image.write_bytes(gzip.compress(nifti()))
    before = image.read_bytes()

    def refused(output, *options):
        return refusal("segment", image, "--model", tiny_model, "--output", output, *options)

    assert refused(image).startswith(f"{image}: cannot be made (File exists)")
    assert refused(image / "out").startswith(f"{image / 'out'}: cannot be made (Not a directory)")
    assert refused("/proc/out").startswith("/proc/out: cannot be made")
    assert "would overwrite it" in refused(tmp_path, "--format", "nii.gz")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert refused(tmp_path / "loop").startswith(f"{tmp_path / 'loop'}: cannot be made")
    assert image.read_bytes() == before
    (tmp_path / "out" / "summary.json").mkdir(parents=True)
    assert segmented(image).err.splitlines()[-1].startswith(f"error: {tmp_path / 'out' / 'summary.json'}: cannot be ")


def test_a_name_too_long_for_its_result(segmented, tmp_path):
    (tmp_path / ("x" * 250 + ".nii")).write_bytes(nifti())
    done = segmented(tmp_path / ("x" * 250 + ".nii"))
    assert done.status == 1
    assert ".seg.nrrd: cannot be written (File name too long)" in done.err
    assert names(tmp_path / "out") == ["summary.csv", "summary.json"]


def child(*arguments, **options):
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "llmboost", *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(package.__file__).parents[1]),
            "PYTHONDONTWRITEBYTECODE": "1",  # no full disk for Python's own files, which it would keep damaged
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        **options,
    )


def test_a_full_disk(tiny_model, tmp_path):
    """No file may grow beyond 4 KB: the summary has room, the results have not."""
    noise = np.random.default_rng(0).normal(size=(24, 24, 24)).astype(np.float32)
    (tmp_path / "a.nii").write_bytes(nifti(noise))
    done = child(
        *("segment", tmp_path / "a.nii", "--model", tiny_model, "--output", tmp_path / "out", "--uncertainty"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert done.returncode == 1
    # where coverage is measured, its own file finds no room either, and it says so
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("failed: "))
    assert line.startswith(f"failed: {tmp_path / 'out' / 'a_entropy.nii.gz'}: cannot be written")
    assert line.endswith("check the folder's permissions and free space")
    assert names(tmp_path / "out") == ["summary.csv", "summary.json"]


def test_what_crashes_or_stops_itk_does_neither(tiny_model, tmp_path):
    names = {"a.mhd": "pattern.mhd", "b.nhdr": "pattern.nhdr", "c.mha": "no_axes.mha", "d.nrrd": "many_axes.nrrd"}
    names |= {"e.nrrd": "long_line.nrrd", "f.mha": "terabytes.mha"}
    for name, what in names.items():
        (tmp_path / name).write_bytes(FILES[what][0])
    (tmp_path / "fine.nii").write_bytes(nifti())
    inputs = [tmp_path / name for name in (*names, "fine.nii")]
    done = child("segment", *inputs, "--model", tiny_model, "--output", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert "1 of 7 cases segmented" in done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert len(lines) == 6
    for name, what in names.items():
        (line,) = (line for line in lines if line.startswith(f"failed: {tmp_path / name}: "))
        assert re.search(FILES[what][1], line), line
    assert "Traceback" not in done.stderr


# --- odd, but fine ---

ODD = {
    "constant.nii": nifti(np.full((9, 9, 9), 7, np.int16)),
    "int64.nii": nifti(VOXELS.astype(np.int64)),
    "uint64.nii": nifti(VOXELS.astype(np.uint64)),
    "double.nii": nifti(VOXELS.astype(np.float64)),
    "negative.nrrd": nrrd(b"\0\x80" * 64),
    "big_endian.nii": nibabel.Nifti1Image(VOXELS, np.eye(4)).as_reoriented([[0, 1], [1, 1], [2, 1]]).to_bytes(),
    "big_endian.mha": mha(CUBE, "ElementByteOrderMSB = True"),
    "long.mha": mha(CUBE * 2, type="MET_LONG"),
    "padded.nii": nifti() + b"\0" * 300,
    "one_moment.nii": nifti(VOXELS[..., None]),
    "CAPITALS.NII": nifti(),
    "\U0001f9e0 [brain] \u00fc.nii.gz": gzip.compress(nifti()),
    "gzip.nrrd": nrrd(gzip.compress(CUBE), encoding="gzip"),
    "gzip.mha": zipped_mha(gzip.compress(CUBE), len(gzip.compress(CUBE))),
    "end.mha": mha(b"some more header" + CUBE, "HeaderSize = -1"),
    "skipped.nrrd": nrrd(b"some more header" + CUBE, "byte skip: 16"),
    "end.nrrd": nrrd(b"some more header" + CUBE, "byte skip: -1"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_but_fine(segmented, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(ODD[name])
    done = segmented(path)
    assert done.status == 0, done.err
    (result,) = (tmp_path / "out").glob("*.seg.nrrd")
    labelmap, _ = read_segmentation(result)
    assert labelmap.same_grid(read_image(path))
