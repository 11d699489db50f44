"""What ITK does not heed of NRRD and MetaImage headers; the right places are derived by hand, from the affine."""

import gzip
import zlib

import numpy as np
import pytest

from llmboost.errors import LLMBoostError
from llmboost.io.image import read_image, read_volumes
from llmboost.io.segnrrd import read_segmentation, write_segmentation

SIZES = (4, 5, 6)
VOXELS = np.arange(120, dtype="<i2").reshape(SIZES, order="F")
DATA = VOXELS.tobytes(order="F")
DIRECTIONS = "space directions: (0,1.5,0) (0,0,2) (0.5,0,0)"
ORIGIN = "space origin: (10,20,30)"
STEPS = np.array([[0, 0, 0.5, 10], [1.5, 0, 0, 20], [0, 2, 0, 30], [0, 0, 0, 1]])  # what these two say


def nrrd(path, *lines, sizes=SIZES, encoding="raw", data=DATA):
    head = [
        "NRRD0005",
        "type: short",
        f"dimension: {len(sizes)}",
        f"sizes: {' '.join(map(str, sizes))}",
        "endian: little",
        f"encoding: {encoding}",
        *lines,
    ]
    path.write_bytes("\n".join([*head, "", ""]).encode("utf-8") + data)
    return path


def meta(path, *lines, data=DATA, file="LOCAL", sizes=SIZES):
    head = [
        "ObjectType = Image",
        f"NDims = {len(sizes)}",
        f"DimSize = {' '.join(map(str, sizes))}",
        "ElementType = MET_SHORT",
        *lines,
        f"ElementDataFile = {file}",
        "",
    ]
    path.write_bytes("\n".join(head).encode() + data)
    return path


META = ("ElementSpacing = 1.5 2 0.5", "Offset = 10 20 30", "TransformMatrix = 0 1 0 0 0 1 1 0 0")  # STEPS again


def said(image):
    return "; ".join(image.notes)


@pytest.mark.parametrize(
    ("units", "mm"),
    [
        *((name, 1) for name in ("mm", "", "Millimeters", "MM")),
        *((name, 1e-3) for name in ("um", "\u00b5m", "\u03bcm", "microns")),
        *(("cm", 10), ("centimetre", 10), ("m", 1e3), ("meters", 1e3), ("nm", 1e-6), ("in", 25.4), ("inches", 25.4)),
    ],
)
def test_units_of_nrrd(tmp_path, units, mm):
    steps = np.diag([*[1 / mm] * 3, 1]) @ STEPS  # the same place, told in these units
    columns = " ".join(f"({x!r},{y!r},{z!r})" for x, y, z in steps[:3, :3].T.tolist())
    origin = ",".join(map(repr, steps[:3, 3].tolist()))
    path = nrrd(
        tmp_path / "a.nrrd",
        "space: left-posterior-superior",
        f"space directions: {columns}",
        f"space origin: ({origin})",
        f'space units: "{units}" "{units}" "{units}"',
    )
    image = read_image(path)
    assert np.allclose(image.affine, STEPS, rtol=1e-6)
    assert ("converted to mm" in said(image)) == (mm != 1)
    plain = " ".join(repr(step / mm) for step in (1.5, 2, 0.5))
    path = nrrd(tmp_path / "a.nrrd", f"spacings: {plain}", f'units: "{units}" "{units}" "{units}"')
    assert np.allclose(read_image(path).spacing, (1.5, 2, 0.5))


def test_units_that_differ_by_axis_of_space(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", "space: RAS", DIRECTIONS, ORIGIN, 'space units: "cm" "mm" "um"')
    expected = np.diag([-10, -1, 1e-3, 1]) @ STEPS
    assert np.allclose(read_image(path).affine, expected)
    assert read_image(path).spacing == pytest.approx((1.5, 2e-3, 5))


@pytest.mark.parametrize(
    ("space", "turn", "sides"),
    [
        ("left-posterior-superior", (1, 1, 1), True),
        ("LPS", (1, 1, 1), True),
        ("right-anterior-superior", (-1, -1, 1), True),
        ("RAS", (-1, -1, 1), True),
        ("left-anterior-superior", (1, -1, 1), True),
        ("LAS", (1, -1, 1), True),
        ("scanner-xyz", (1, 1, 1), False),
        ("3D-right-handed", (1, 1, 1), False),
        ("3D-left-handed", (1, 1, 1), False),
        ("", (1, 1, 1), False),
    ],
)
def test_spaces_of_nrrd(tmp_path, space, turn, sides):
    named = f"space: {space}" if space else "space dimension: 3"
    image = read_image(nrrd(tmp_path / "a.nrrd", named, DIRECTIONS, ORIGIN))
    assert np.allclose(image.affine, np.diag([*turn, 1]) @ STEPS)
    assert image.sides_known == sides
    assert ("orientation unknown" in said(image)) == (not sides)


@pytest.mark.parametrize(
    ("space", "turn", "sides"),
    [
        ("RAST", (-1, -1, 1), True),
        ("left-anterior-superior-time", (1, -1, 1), True),
        ("LPST", (1, 1, 1), True),
        ("scanner-xyz-time", (1, 1, 1), False),
    ],
)
def test_spaces_with_time(tmp_path, space, turn, sides):
    directions = "space directions: (0,1.5,0,0) (0,0,2,0) (0.5,0,0,0) (0,0,0,7)"
    path = nrrd(tmp_path / "a.nrrd", f"space: {space}", directions, "space origin: (10,20,30,0)", sizes=(4, 5, 3, 2))
    volumes = read_volumes(path)
    assert len(volumes) == 2
    for volume in volumes:
        assert np.allclose(volume.affine, np.diag([*turn, 1]) @ STEPS)
        assert volume.sides_known == sides


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (("space: LPS", DIRECTIONS, ORIGIN, 'space units: "ell" "ell" "ell"'), "'ell', which is not known; convert"),
        (("space: RPS", DIRECTIONS, ORIGIN), "its space is rps, which is not known"),
        (("space: LPS", "spacings: 1 2 3", ORIGIN), "spacings beside a space; write them as space directions"),
        (("space: LPS", DIRECTIONS, ORIGIN, 'units: "cm" "cm" "cm"'), "units beside a space"),
        (("space: LPS", "space directions: (1,0,0) (0,2,0) none", ORIGIN), "where an axis in space lies"),
        (("axis mins: 0 0 0", "axis maxs: 4 10 18"), "axis mins and maxs; write them as spacings"),
    ],
)
def test_what_nrrd_itk_would_misread_is_refused(tmp_path, lines, text):
    with pytest.raises(LLMBoostError, match=rf"a\.nrrd: .*{text}"):
        read_image(nrrd(tmp_path / "a.nrrd", *lines))


@pytest.mark.parametrize("lines", [(), ("thicknesses: 1 2 3",)])
def test_voxel_sizes_that_no_header_tells(tmp_path, lines):
    assert "no voxel sizes: 1 mm" in said(read_image(nrrd(tmp_path / "a.nrrd", *lines)))
    assert "no voxel sizes: 1 mm" in said(read_image(meta(tmp_path / "a.mha")))
    assert not said(read_image(nrrd(tmp_path / "a.nrrd", sizes=(10, 12))))  # a picture


def test_a_segmentation_in_other_units_lies_where_it_should(tmp_path):
    image = read_image(nrrd(tmp_path / "a.nrrd", "space: LPS", DIRECTIONS, ORIGIN))
    write_segmentation(image.with_array(image.array * 0), [], tmp_path / "a.seg.nrrd")
    content = (
        (tmp_path / "a.seg.nrrd").read_bytes().replace(b"\nspace dir", b'\nspace units: "cm" "cm" "cm"\nspace dir', 1)
    )
    (tmp_path / "b.seg.nrrd").write_bytes(content)
    assert np.allclose(read_segmentation(tmp_path / "b.seg.nrrd")[0].affine, np.diag([10, 10, 10, 1]) @ STEPS)


@pytest.mark.parametrize("encoding", ["gzip", "gz"])
def test_bytes_behind_compressed_voxels_of_nrrd(tmp_path, encoding):
    for rest in (b"", bytes(99), b"garbage"):
        path = nrrd(tmp_path / "a.nrrd", "space: LPS", DIRECTIONS, encoding=encoding, data=gzip.compress(DATA) + rest)
        assert np.array_equal(read_image(path).array, VOXELS)


@pytest.mark.parametrize(("name", "fine"), [("det.raw", True), ("./det.raw", True), ("../a/det.raw", False)])
@pytest.mark.parametrize("write", [nrrd, meta])
def test_voxels_in_a_file_beside_the_header(tmp_path, name, fine, write):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "det.raw").write_bytes(DATA)
    if write is nrrd:
        path = nrrd(tmp_path / "a" / "a.nhdr", "space: LPS", DIRECTIONS, ORIGIN, f"data file: {name}", data=b"")
    else:
        path = meta(tmp_path / "a" / "a.mhd", *META, file=name, data=b"")
    if fine:
        assert np.array_equal(read_image(path).array, VOXELS)
        return
    with pytest.raises(LLMBoostError, match="not in one file beside it"):
        read_image(path)


@pytest.mark.parametrize("name", ["././det.raw", ".//det.raw", "./../a/det.raw", "./", "./LIST", "./%03d.raw"])
def test_no_other_way_to_a_file(tmp_path, name):
    for file in ("det.raw", "LIST"):
        (tmp_path / file).write_bytes(DATA)
    with pytest.raises(LLMBoostError):
        read_image(meta(tmp_path / "a.mhd", *META, file=name, data=b""))


@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress])
@pytest.mark.parametrize("rest", [b"", bytes(99), b"garbage"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_compressed_voxels_of_unknown_size(tmp_path, compress, rest, order):
    """ITK then leaves in memory what was there, and says nothing."""
    data = compress(VOXELS.astype(f"{order}i2").tobytes(order="F")) + rest
    lines = (*META, "CompressedData = True", f"ElementByteOrderMSB = {order == '>'}")
    image = read_image(meta(tmp_path / "a.mha", *lines, data=data))
    assert np.array_equal(image.array, VOXELS)
    assert np.allclose(image.affine, STEPS)
    series = meta(tmp_path / "b.mha", *lines[3:], data=data, sizes=(4, 5, 3, 2))
    assert np.array_equal(read_volumes(series)[1].array, in_time(1))
    with pytest.raises(LLMBoostError, match=r"damaged|truncated"):
        read_image(meta(tmp_path / "a.mha", *lines, data=data[: len(data) // 2 - len(rest)]))


def in_time(volume):
    return np.frombuffer(DATA, "<i2").reshape((4, 5, 3, 2), order="F")[..., volume]


@pytest.mark.parametrize(("units", "mm"), [("mm", 1), ("?", 1), ("cm", 10), ("um", 1e-3)])
def test_units_of_metaimage(tmp_path, units, mm):
    image = read_image(meta(tmp_path / "a.mha", *META, f"DistanceUnits = {units}"))
    assert np.allclose(image.affine, np.diag([mm, mm, mm, 1]) @ STEPS)
    assert ("converted to mm" in said(image)) == (mm != 1)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ((*META, "DistanceUnits = ell"), "'ell', which is not known"),
        ((*META, "Position = 1 2 3"), "Offset and Position differ"),
        ((*META, "Rotation = 1 0 0 0 1 0 0 0 1"), "TransformMatrix and Rotation differ"),
        (("elementspacing = 1 2 3", *META[1:]), "elementspacing where ElementSpacing is meant"),
        (("ElementSpacing = 2", *META[1:]), "ElementSpacing does not fit 3 axes"),
        ((META[0], "Offset = 10 20", META[2]), "Offset does not fit 3 axes"),
        ((*META, "ElementToIntensityFunctionSlope = 0"), "no scale"),
        ((*META, "ElementToIntensityFunctionOffset = nan"), "no scale"),
        ((*META, "ElementToIntensityFunctionSlope = two"), "damaged header"),
        ((*META, "CenterOfRotation = a b c"), "damaged header"),
    ],
)
def test_what_metaimage_itk_would_misread_is_refused(tmp_path, lines, text):
    with pytest.raises(LLMBoostError, match=rf"a\.mha: .*{text}"):
        read_image(meta(tmp_path / "a.mha", *lines))


def test_what_metaimage_says_besides(tmp_path):
    twice = (*META[:2], "TransformMatrix = 0 2 0 0 0 2 2 0 0")
    image = read_image(meta(tmp_path / "a.mha", *twice))
    assert np.allclose(image.affine[:3, :3], 2 * STEPS[:3, :3])
    assert image.spacing == pytest.approx((3, 4, 1))
    scaled = meta(
        tmp_path / "a.mha", *META, "ElementToIntensityFunctionSlope = 2", "ElementToIntensityFunctionOffset = 5"
    )
    assert np.array_equal(read_image(scaled).array, VOXELS * 2.0 + 5)
    assert "scaled by 2, offset 5" in said(read_image(scaled))
    straight = (*META[:2], "TransformMatrix = 1 0 0 0 1 0 0 0 1")
    for letters, told in (("RAI", False), ("RAS", False), ("LPS", True), ("???", False)):
        image = read_image(meta(tmp_path / "a.mha", *straight, f"AnatomicalOrientation = {letters}"))
        assert ("disagree about left and right" in said(image)) == told
        assert image.sides_known
        image = read_image(meta(tmp_path / "a.mha", *META[:2], f"AnatomicalOrientation = {letters}"))
        assert image.sides_known == (letters == "RAI")
        assert ("orientation unknown" in said(image)) == (letters != "RAI")
    assert "CenterOfRotation" in said(read_image(meta(tmp_path / "a.mha", *META, "CenterOfRotation = 1 2 3")))
    assert not said(read_image(meta(tmp_path / "a.mha", *META, "CenterOfRotation = 0 0 0")))
