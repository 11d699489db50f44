"""NIfTI: which of a header's forms places the image, what is told of it, and what is written for it; nibabel is the
independent reader, ITK the one whose rule is followed."""

import gzip
import struct
import subprocess
import warnings
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from llmboost.errors import LLMBoostError
from llmboost.inference.roi import Roi
from llmboost.io.image import Image, read_image, read_volumes, resample_to_spacing, to_canonical, write_image

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SHAPE = (5, 6, 7)
VOXELS = np.random.default_rng(0).integers(-99, 999, SHAPE).astype(np.int16)
TURNED = np.eye(4)
TURNED[:3, :3] = Rotation.from_euler("xyz", [0.2, -0.1, 0.3]).as_matrix() * [0.7, 1.1, 2.5]
TURNED[:3, 3] = -12, 30, 7
SHIFTED = TURNED + np.array([[0, 0, 0, 2.8]] + [[0] * 4] * 3)
FLIPPED = TURNED @ np.diag([-1, 1, 1, 1])
BESIDE = FLIPPED + np.array([[0, 0, 0, 3]] + [[0] * 4] * 3)
SHEARED = TURNED @ np.array([[1, 0.25, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def write(path, qform, sform, voxels=VOXELS, kind=nibabel.Nifti1Image, units="mm", **fields):
    """``qform`` and ``sform`` are (matrix, code); fields overwrite those of the header."""
    image = kind(voxels, None)
    image.header.set_qform(*qform)
    image.header.set_sform(*sform)
    image.header.set_xyzt_units(units)
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def ras(image):
    return LPS @ image.affine


def said(path):
    return "; ".join(read_image(path).notes)


@pytest.mark.parametrize("codes", [(q, s) for q in range(5) for s in range(5)])
@pytest.mark.parametrize(
    "sform", [TURNED, SHIFTED, FLIPPED, BESIDE, SHEARED], ids=["same", "shift", "flip", "l", "shear"]
)
def test_an_image_lies_as_itk_reads_it_and_the_note_tells_the_truth(tmp_path, codes, sform):
    path = write(tmp_path / "a.nii", (TURNED, codes[0]), (sform, codes[1]))
    try:
        stored = sitk.ReadImage(str(path), imageIO="NiftiImageIO")
    except RuntimeError:
        with pytest.raises(LLMBoostError, match="not perpendicular"):
            read_image(path)
        assert sform is SHEARED
        assert codes[0] == 0
        return
    image = read_image(path)
    assert image.spacing == stored.GetSpacing()
    assert image.origin == stored.GetOrigin()
    assert tuple(image.direction.ravel()) == stored.GetDirection()
    assert np.array_equal(image.array, VOXELS)
    text = "; ".join(image.notes)
    if codes == (0, 0):
        assert "orientation unknown" in text
        assert not image.sides_known
        return
    assert image.sides_known
    if 0 in codes or sform is TURNED:
        assert not text
        return
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in SHAPE], [1])).reshape(4, -1)
    apart = np.linalg.norm(((sform - TURNED) @ corners), axis=0).max()
    assert f"sform and qform differ by up to {apart:.1f} mm" in text
    used = [name for name, form in (("sform", sform), ("qform", TURNED)) if np.allclose(ras(image), form, atol=1e-4)]
    assert f"the {used[0]} (code {codes[used[0] == 'sform']}" in text
    assert ("disagree about left and right" in text) == any(sform is one for one in (FLIPPED, BESIDE))


@pytest.mark.parametrize("codes", [(q, s) for q in range(3) for s in (0, 1, 4)])
@pytest.mark.parametrize("sform", [TURNED, SHIFTED, BESIDE, SHEARED], ids=["same", "shift", "beside", "shear"])
def test_the_rule_holds_in_what_itk_does_not_read(tmp_path, codes, sform):
    """NIfTI-2, and compressed files whose name does not say so; and what comes out must lie where the scan does."""
    path = write(tmp_path / "a.nii", (TURNED, codes[0]), (sform, codes[1]))
    write(tmp_path / "b.nii", (TURNED, codes[0]), (sform, codes[1]), kind=nibabel.Nifti2Image)
    (tmp_path / "c.nii").write_bytes(gzip.compress(path.read_bytes()))
    for other in (tmp_path / "b.nii", tmp_path / "c.nii"):
        if sform is SHEARED and codes[0] == 0 and codes[1]:
            with pytest.raises(LLMBoostError, match="sheared"):
                read_image(other)
            continue
        wanted, image = read_image(path), read_image(other)
        assert np.allclose(image.affine, wanted.affine, atol=1e-5)
        assert (image.notes, image.sides_known) == (wanted.notes, wanted.sides_known)
        write_image(image, tmp_path / "d.nii.gz")
        assert np.allclose(read_image(tmp_path / "d.nii.gz").affine, wanted.affine, atol=1e-5)


def test_forms_less_than_a_tenth_of_a_voxel_apart_need_no_word(tmp_path):
    near, far = TURNED.copy(), TURNED.copy()
    near[:3, 3] += TURNED[:3, 0] * 0.09
    far[:3, 3] += TURNED[:3, 0] * 0.11
    assert not said(write(tmp_path / "a.nii", (TURNED, 1), (near, 2)))
    assert "differ by up to 0.1 mm: the qform" in said(write(tmp_path / "a.nii", (TURNED, 1), (far, 2)))


@pytest.mark.parametrize(("units", "mm"), [("meter", 1000.0), ("micron", 0.001), ("mm", 1.0), ("unknown", 1.0)])
def test_units_of_space(tmp_path, units, mm):
    scale = np.diag([*[1 / mm] * 3, 1.0])
    path = write(tmp_path / "a.nii", (scale @ TURNED, 1), (scale @ SHIFTED, 2), units=units)
    image = read_image(path)
    assert np.allclose(ras(image), TURNED, atol=1e-3)
    assert "differ by up to 2.8 mm: the qform" in "; ".join(image.notes)
    write_image(image, tmp_path / "b.nii.gz")
    header = nibabel.load(tmp_path / "b.nii.gz").header
    assert header.get_xyzt_units()[0] == units
    assert np.allclose(header.get_qform(), scale @ TURNED, rtol=1e-5)


@pytest.mark.parametrize("name", ["b.nii", "b.nii.gz"])
@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 2), (1, 1), (2, 4), (3, 1), (1, 5)])
@pytest.mark.parametrize("sform", [TURNED, SHIFTED, FLIPPED])
def test_what_is_written_carries_both_forms_of_the_input(tmp_path, name, codes, sform):
    path = write(tmp_path / "a.nii.gz", (TURNED, codes[0]), (sform, codes[1]))
    image = read_image(path)
    for dtype in (np.uint8, np.uint16, np.float32, bool, np.float16):
        write_image(image.with_array((VOXELS > 0).astype(dtype)), tmp_path / name)
        there, back = (nibabel.load(file).header for file in (path, tmp_path / name))
        for field in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y"):
            assert there[field].tobytes() == back[field].tobytes(), field
        for field in ("qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"):
            assert there[field].tobytes() == back[field].tobytes(), field
        assert there["pixdim"][:4].tobytes() == back["pixdim"][:4].tobytes()
        assert np.array_equal(nibabel.load(tmp_path / name).affine, nibabel.load(path).affine)
        assert np.array_equal(np.asarray(nibabel.load(tmp_path / name).dataobj), VOXELS > 0)
        assert np.array_equal(read_image(tmp_path / name).affine, image.affine)
        known = {bool: np.uint8, np.float16: np.float32}
        assert read_image(tmp_path / name).array.dtype == known.get(dtype, dtype)
    subprocess.run(["gzip", "-t", tmp_path / name], check=name.endswith(".gz"), capture_output=True)


def test_another_grid_does_not_carry_them(tmp_path):
    image = read_image(write(tmp_path / "a.nii", (TURNED, 1), (SHIFTED, 2)))
    assert image.forms
    half = Roi(image.affine[:3, :3] @ [3, 3, 3] + image.origin, (1, 3, 6))
    for other in (to_canonical(image), resample_to_spacing(image, (1, 1, 1)), half.crop(image)):
        write_image(other, tmp_path / "b.nii")
        header = nibabel.load(tmp_path / "b.nii").header
        assert np.allclose(header.get_qform(), ras(other), atol=1e-4)
        assert np.allclose(header.get_sform(), ras(other), atol=1e-4)
    unknown = read_image(write(tmp_path / "a.nii", (TURNED, 0), (TURNED, 0)))
    for other in (to_canonical(unknown), resample_to_spacing(unknown, (1, 1, 1)), unknown.with_array(VOXELS)):
        assert not other.sides_known


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_nifti_2(tmp_path, order, name, dtype):
    voxels = np.abs(VOXELS % 100).astype(dtype)
    header = nibabel.Nifti2Header(endianness=order)
    header.set_data_dtype(header.get_data_dtype().newbyteorder(order))
    image = nibabel.Nifti2Image(voxels.astype(order + dtype), None, header, dtype=order + dtype)
    image.header.set_qform(TURNED, 1)
    image.header.set_sform(SHIFTED, 4)
    nibabel.save(image, tmp_path / name)
    assert nibabel.load(tmp_path / name).header.sizeof_hdr == 540
    back = read_image(tmp_path / name)
    assert np.array_equal(back.array, voxels)
    assert back.array.dtype == np.dtype(dtype)
    assert np.allclose(ras(back), TURNED, atol=1e-5)
    assert "differ by up to 2.8 mm: the qform" in "; ".join(back.notes)
    write_image(back, tmp_path / "b.nii")
    assert np.allclose(nibabel.load(tmp_path / "b.nii").header.get_sform(), SHIFTED, atol=1e-5)


@pytest.mark.parametrize(
    ("slope", "intercept", "meaning"),
    [
        (2, 10, (2, 10)),
        (0, 7, (1, 0)),
        (np.nan, 7, (1, 0)),
        (np.inf, 7, (1, 0)),
        (1, -1024, (1, -1024)),
        (-1, 0, (-1, 0)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_scaling(tmp_path, slope, intercept, meaning, dtype, kind):
    """Of a slope of 0, the standard says that nothing is scaled: an intercept beside it counts for nothing."""
    voxels = np.abs(VOXELS % 100).astype(dtype)
    raw = bytearray(kind(voxels, TURNED, dtype=dtype).to_bytes())
    struct.pack_into(*(("<2f", raw, 112) if kind is nibabel.Nifti1Image else ("<2d", raw, 176)), slope, intercept)
    (tmp_path / "a.nii").write_bytes(raw)
    image = read_image(tmp_path / "a.nii")
    assert np.array_equal(image.array, voxels.astype(float) * meaning[0] + meaning[1])
    assert np.array_equal(image.array, np.asarray(nibabel.load(tmp_path / "a.nii").dataobj))
    assert image.array.dtype == (dtype if meaning == (1, 0) or voxels.dtype.kind == "f" else np.float32)


def test_scaled_values_are_those_of_itk(tmp_path):
    raw = bytearray(nibabel.Nifti1Image(VOXELS, TURNED).to_bytes())
    struct.pack_into("<2f", raw, 112, 0.37, -3.3)
    (tmp_path / "a.nii").write_bytes(raw)
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nii"))).T
    assert np.array_equal(read_image(tmp_path / "a.nii").array, stored)


def test_files_with_the_other_name_and_bytes_behind(tmp_path):
    plain = nibabel.Nifti1Image(VOXELS, TURNED).to_bytes()
    zipped, half = gzip.compress(plain), len(plain) // 2
    parts = gzip.compress(plain[:100]) + gzip.compress(plain[100:half]) + gzip.compress(plain[half:])
    for name, content in {
        "plain.nii.gz": plain,
        "zipped.nii": zipped,
        "parts.nii.gz": parts,
        "zeros.nii.gz": zipped + bytes(600),
        "one.nii.gz": zipped + b"\x1f",
        "more.nii.gz": zipped + b"trailing garbage" * 99,
    }.items():
        (tmp_path / name).write_bytes(content)
        image = read_image(tmp_path / name)
        assert np.array_equal(image.array, VOXELS), name
        assert np.allclose(ras(image), TURNED, atol=1e-5)


def damage(path, **fields):
    raw = bytearray(path.read_bytes())
    places = {"quatern_b": 256, "qoffset_x": 268, "srow_x": 280}
    for name, value in fields.items():
        struct.pack_into("<f", raw, places[name], value)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("damaged", [{"quatern_b": np.nan}, {"quatern_b": 3}, {"qoffset_x": np.nan}])
def test_a_damaged_qform_is_not_used_without_a_word(tmp_path, damaged):
    for codes in ((1, 0), (1, 2)):
        path = damage(write(tmp_path / "a.nii", (TURNED, codes[0]), (TURNED, codes[1])), **damaged)
        with pytest.raises(LLMBoostError, match=r"a\.nii: .*a damaged qform.*correct it"):
            read_image(path)
    path = damage(write(tmp_path / "a.nii", (TURNED, 2), (TURNED, 1)), **damaged)
    assert np.allclose(ras(read_image(path)), TURNED, atol=1e-4)
    assert "the sform (code 1, scanner) was used" in said(path)


def test_a_damaged_sform(tmp_path):
    path = damage(write(tmp_path / "a.nii", (TURNED, 1), (TURNED, 2)), srow_x=np.nan)
    assert np.allclose(ras(read_image(path)), TURNED, atol=1e-4)
    assert "the qform (code 1, scanner) was used" in said(path)
    with pytest.raises(LLMBoostError, match="damaged sform"):
        read_image(damage(write(tmp_path / "a.nii", (TURNED, 0), (TURNED, 2)), srow_x=np.nan))


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_headers_of_other_numbers_are_read_or_refused_and_nothing_is_printed(tmp_path, kind):
    plain, random = kind(VOXELS, TURNED, dtype=np.int16).to_bytes(), np.random.default_rng(0)
    ends = [b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", struct.pack("<f", 1e30), b"\xff" * 4, bytes(4)]
    read = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(300):
            raw = bytearray(plain)
            for place in random.integers(0, (348, 540)[kind is nibabel.Nifti2Image] // 4, random.integers(1, 4)) * 4:
                raw[place : place + 4] = ends[random.integers(len(ends))]
            (tmp_path / "a.nii").write_bytes(raw)
            try:
                read += np.isfinite(read_image(tmp_path / "a.nii").affine).all()
            except LLMBoostError as error:
                assert len(str(error).splitlines()) == 1  # noqa: PT017
    assert read > 30


def test_voxel_sizes_that_are_not_those_of_the_sform_are_told(tmp_path):
    path = write(tmp_path / "a.nii", (np.eye(4), 0), (np.diag([2.0, 2, 2, 1]), 1))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<3f", raw, 80, 1, 1, 1)
    path.write_bytes(raw)
    assert read_image(path).spacing == (1, 1, 1)
    assert "other voxel sizes than pixdim, which were used: voxels differ by up to 8.8 mm" in said(path)


def test_several_volumes_and_slices_keep_the_forms(tmp_path):
    path = write(tmp_path / "a.nii", (TURNED, 1), (SHIFTED, 2), np.stack([VOXELS, VOXELS + 1], -1))
    for volume in read_volumes(path):
        assert "differ" in "; ".join(volume.notes)
        write_image(volume, tmp_path / "b.nii")
        back = nibabel.load(tmp_path / "b.nii")
        assert back.shape == SHAPE
        assert np.array_equal(back.header.get_sform(), nibabel.load(path).header.get_sform())
    flat = np.diag([2.0, 3, 4, 1])
    flat[:3, 3] = 5, 6, 7
    path = write(tmp_path / "a.nii", (flat, 1), (flat, 1), VOXELS[:, :, 0])
    slice = read_image(path)
    write_image(slice, tmp_path / "b.nii")
    assert nibabel.load(tmp_path / "b.nii").shape == SHAPE[:2]
    assert np.array_equal(nibabel.load(tmp_path / "b.nii").affine, nibabel.load(path).affine)
    assert np.array_equal(read_image(tmp_path / "b.nii").affine, slice.affine)


def test_more_voxels_along_an_axis_than_nifti_holds(tmp_path):
    image = read_image(write(tmp_path / "a.nii", (TURNED, 1), (TURNED, 1)))
    with pytest.raises(LLMBoostError, match=r"b\.nii: .*40000 voxels along an axis; choose \.nrrd"):
        write_image(replace(image, array=np.zeros((40000, 1, 1), np.uint8)), tmp_path / "b.nii")
    assert not (tmp_path / "b.nii").exists()


def test_a_written_image_is_whole_or_not_there(tmp_path, monkeypatch):
    image = read_image(write(tmp_path / "a.nii.gz", (TURNED, 1), (TURNED, 1)))
    write_image(image, tmp_path / "b.nii.gz")
    old = (tmp_path / "b.nii.gz").read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gzip.GzipFile, "write", full)
    with pytest.raises(LLMBoostError, match=r"No space left on device.*free space"):
        write_image(image, tmp_path / "b.nii.gz")
    assert (tmp_path / "b.nii.gz").read_bytes() == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz"]


def test_vectors_and_further_axes_are_told(tmp_path):
    vectors = nibabel.Nifti1Image(np.zeros((4, 4, 4, 1, 3), np.float32), TURNED)
    vectors.header.set_intent("vector")
    nibabel.save(vectors, tmp_path / "vector.nii")
    with pytest.raises(LLMBoostError, match=r"a vector image \(3 values a voxel\)"):
        read_image(tmp_path / "vector.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 2, 3), np.float32), TURNED), tmp_path / "five.nii")
    with pytest.raises(LLMBoostError, match="more than four axes"):
        read_image(tmp_path / "five.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 1, 1), np.float32), TURNED), tmp_path / "one.nii")
    assert read_image(tmp_path / "one.nii").shape == (4, 4, 4)


def test_an_image_of_no_file_is_written_as_ever(tmp_path):
    image = Image(VOXELS, (1, 2, 3), (4, 5, 6), np.eye(3))
    write_image(image, tmp_path / "a.nii")
    header = nibabel.load(tmp_path / "a.nii").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
    assert np.allclose(nibabel.load(tmp_path / "a.nii").affine, ras(image))
