"""DICOM segmentations, as highdicom, dcmqi (DCMTK and ITK) and dciodvfy read them."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from llmboost.card import SEGMENTATION, Card, Code, Label, Preprocessing
from llmboost.errors import LLMBoostError
from llmboost.io.dicom import Series, find_series, read_series, write_dicom_seg
from llmboost.io.image import Image, image_from_sitk, resample

from .dicom_samples import slice_positions, write_enhanced, write_series

SPACING = (0.7, 0.8, 2.5)
ORIGIN = (-12.5, 30.25, -101.0)
SHAPE = (11, 9, 7)  # nine rows of eleven: frames that do not end at a byte
DIRECTIONS = {
    "axial": np.eye(3),
    "sagittal": np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]]),
    "oblique": Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix(),
}
LEFT = Code("SCT", "7771000", "Left")
LABELS = (
    Label(5, "kidney", (230, 159, 0), type=Code("SCT", "64033007", "Kidney"), modifier=LEFT),
    Label(2, "liver", (86, 180, 233), type=Code("SCT", "10200004", "Liver")),
    Label(300, "spleen", (0, 158, 115), type=Code("SCT", "78961009", "Spleen")),
)
CARD = Card(
    name="organs",
    title="Organs of the belly",
    description="For tests",
    task=SEGMENTATION,
    labels=LABELS,
    modality="CT",
    preprocessing=Preprocessing(),
    network={},
    booster={},
    version="2.3",
    digest="0123456789abcdef" * 4,
)

PASSED_ON = (
    *("PatientName", "PatientID", "PatientSex", "PatientAge"),
    *("AccessionNumber", "StudyDescription", "StudyInstanceUID", "StudyDate"),
    *("FrameOfReferenceUID",),
)
# by anonymizers
REMOVED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber"),
    *(
        "ReferringPhysicianName",
        "SliceThickness",
        "SeriesNumber",
        "FrameOfReferenceUID",
    ),
)


def labelmap(direction: np.ndarray = DIRECTIONS["axial"]) -> Image:
    """Kidney and liver at random voxels of all slices but the first and the fourth; no spleen."""
    array = np.random.default_rng(0).choice([0, 0, 2, 5], SHAPE).astype(np.uint16)
    array[:, :, [0, 3]] = 0
    return Image(array, SPACING, ORIGIN, direction)


def header(file: Path) -> pydicom.FileDataset:
    return pydicom.dcmread(file, stop_before_pixels=True)


def series_of(files: list[Path]) -> Series:
    return Series(header(files[0]).SeriesInstanceUID, 1, "Sample", "CT", tuple(files))


@pytest.fixture
def make_series(tmp_path):
    """``make_series(direction, **options of write_series)``: the series that ``labelmap(direction)`` was drawn on."""

    def make(direction: np.ndarray = DIRECTIONS["axial"], **options) -> Series:
        pixels = np.zeros(SHAPE[::-1], np.int16)
        options = {"spacing": SPACING, "origin": ORIGIN, "direction": direction} | options
        return series_of(write_series(tmp_path / "series", pixels, **options))

    return make


@pytest.fixture
def write(tmp_path):
    """``write(labelmap, series, card)`` gives the file."""

    def write_one(image: Image, series: Series, card: Card = CARD) -> Path:
        path = tmp_path / "result.dcm"
        write_dicom_seg(image, card, series, path)
        return path

    return write_one


def read_back(path: Path, like: Image, values: tuple[int, ...] = (2, 5, 300)) -> np.ndarray:
    """The label map as highdicom reads it, on the grid of ``like``; ``values`` are the labels of segments 1, 2, ..."""
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True, allow_missing_positions=True)
    axes = volume.affine[:3, :3]
    image = Image(volume.array, volume.spacing, tuple(volume.affine[:3, 3]), axes / np.linalg.norm(axes, axis=0))
    return np.array([0, *values])[resample(image, like, "nearest", fill=0).array]


def source_of(frame: Dataset) -> Dataset:
    ((source,),) = [derivation.SourceImageSequence for derivation in frame.DerivationImageSequence]
    return source


def assert_refers_to_slices(path: Path, series: Series) -> None:
    """Each frame has the position of the very instance that it names."""
    positions = {source.SOPInstanceUID: source.ImagePositionPatient for source in map(header, series.files)}
    for frame in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        source = source_of(frame)
        assert source.SpatialLocationsPreserved == "YES"
        assert frame.PlanePositionSequence[0].ImagePositionPatient == positions[source.ReferencedSOPInstanceUID]


def referenced(path: Path) -> set[str]:
    (series,) = pydicom.dcmread(path).ReferencedSeriesSequence
    return {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}


def uids(series: Series) -> set[str]:
    return {source.SOPInstanceUID for source in map(header, series.files)}


def test_segments_say_what_they_are_and_who_drew_them(make_series, write, recwarn):
    stored = pydicom.dcmread(write(labelmap(), make_series()))
    assert not recwarn.list
    liver, kidney, spleen = stored.SegmentSequence  # by ascending value
    assert [segment.SegmentNumber for segment in (liver, kidney, spleen)] == [1, 2, 3]
    assert [segment.SegmentLabel for segment in (liver, kidney, spleen)] == ["liver", "kidney", "spleen"]
    (category,), (kind,) = kidney.SegmentedPropertyCategoryCodeSequence, kidney.SegmentedPropertyTypeCodeSequence
    (modifier,) = kind.SegmentedPropertyTypeModifierCodeSequence
    assert [(code.CodingSchemeDesignator, code.CodeValue, code.CodeMeaning) for code in (category, kind, modifier)] == [
        ("SCT", "123037004", "Anatomical Structure"),
        ("SCT", "64033007", "Kidney"),
        ("SCT", "7771000", "Left"),
    ]
    assert "SegmentedPropertyTypeModifierCodeSequence" not in liver.SegmentedPropertyTypeCodeSequence[0]
    color = highdicom.color.CIELabColor.from_dicom_value(kidney.RecommendedDisplayCIELabValue)
    np.testing.assert_allclose(color.to_rgb(), (230, 159, 0), atol=1)
    assert (kidney.SegmentAlgorithmType, kidney.SegmentAlgorithmName) == ("AUTOMATIC", "LLMBoost organs")
    (algorithm,) = kidney.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmVersion == "2.3"
    assert CARD.digest in algorithm.AlgorithmParameters
    assert stored.ContentQualification == "RESEARCH"
    assert "Not for clinical use" in stored.ImageComments
    assert "Organs of the belly" in stored.SeriesDescription
    assert (stored.Modality, stored.SegmentationType, stored.SegmentsOverlap) == ("SEG", "BINARY", "NO")


def test_a_part_of_a_region_is_told(make_series, write):
    organ, front, side = Code("SCT", "1", "Organ"), Code("SCT", "2", "Front"), Code("SCT", "3", "Left")
    part = Label(2, "part", (1, 2, 3), type=organ, modifier=side, region=organ, region_modifier=front)
    path = write(labelmap(), make_series(), dataclasses.replace(CARD, labels=(part, LABELS[0], LABELS[2])))
    (region,) = pydicom.dcmread(path).SegmentSequence[0].AnatomicRegionSequence
    (modifier,) = region.AnatomicRegionModifierSequence
    assert [region.CodeMeaning, modifier.CodeMeaning] == ["Organ", "Front"]
    assert highdicom.seg.segread(path).get_segment_description(1).anatomic_regions[0].value == "1"


def test_codes_that_were_guessed_say_so(make_series, write):
    first, *others = LABELS
    path = write(
        labelmap(), make_series(), dataclasses.replace(CARD, labels=(dataclasses.replace(first, guessed=True), *others))
    )
    told = [segment.get("SegmentDescription", "") for segment in pydicom.dcmread(path).SegmentSequence]
    assert sorted(told) == ["", "", "Codes guessed from the name"]


def test_patient_study_and_space_are_those_of_the_series(make_series, write):
    series = make_series(
        PatientName="Ямада^太郎",
        PatientID="P/7",
        PatientSex="F",
        PatientAge="061Y",
        AccessionNumber="A1",
        StudyDescription="Żołądek",
        SpecificCharacterSet="ISO_IR 192",
    )
    source, stored = pydicom.dcmread(series.files[0]), pydicom.dcmread(write(labelmap(), series))
    for keyword in PASSED_ON:
        assert stored[keyword].value == source[keyword].value, keyword
    assert stored.SeriesInstanceUID != source.SeriesInstanceUID
    assert stored.SeriesNumber != source.SeriesNumber


def test_texts_in_another_character_set_stay_the_same(make_series, write):
    procedure = Dataset()
    procedure.CodeValue, procedure.CodingSchemeDesignator, procedure.CodeMeaning = "1", "99LOCAL", "CT Schädel"
    texts = {"PatientName": "Müller^Jürgen", "ProcedureCodeSequence": [procedure]}
    stored = pydicom.dcmread(write(labelmap(), make_series(SpecificCharacterSet="ISO_IR 100", **texts)))
    assert stored.PatientName == "Müller^Jürgen"
    assert stored.ProcedureCodeSequence[0].CodeMeaning == "CT Schädel"


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
@pytest.mark.parametrize(
    ("axes", "flips"), [((0, 1, 2), (0, 0, 0)), ((0, 1, 2), (0, 1, 1)), ((2, 0, 1), (1, 0, 1))], ids=str
)
def test_voxels_and_references_whatever_the_axes(make_series, write, reordered, direction, axes, flips):
    series = make_series(direction)
    image = reordered(labelmap(direction), axes, flips)
    path = write(image, series)
    np.testing.assert_array_equal(read_back(path, image), image.array)
    assert_refers_to_slices(path, series)
    assert referenced(path) == uids(series)


def test_frames_lie_on_the_instances_that_they_name(make_series, write):
    image = labelmap()
    # stored from the top to the bottom, in files whose names say otherwise
    series = make_series(positions=slice_positions(7, SPACING, ORIGIN)[::-1])
    by_position = sorted(map(header, series.files), key=lambda source: source.ImagePositionPatient[2])
    found = highdicom.seg.segread(write(image, series)).get_pixels_by_source_instance(
        [source.SOPInstanceUID for source in by_position],
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_array_equal(np.array([0, 2, 5])[found], image.array.transpose(2, 1, 0))


def test_positions_that_were_rounded_are_taken_over(make_series, write):
    """The image is read on an even grid; its segmentation must lie on the slices as they are stored."""
    positions = slice_positions(7, SPACING, ORIGIN)
    positions[1::2] += 0.15, -0.1, 0.2

    def round_orientation(dataset: Dataset, k: int) -> None:
        dataset.ImageOrientationPatient = [1, k * 1e-6, 0, 0, 1, 0]

    series = make_series(positions=positions, change=round_orientation)
    path = write(labelmap(), series)
    assert_refers_to_slices(path, series)


def test_localizers_are_no_sources(tmp_path, write):
    same = {"SeriesInstanceUID": "1.2.4", "StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.5"}
    scouts = {
        "direction": DIRECTIONS["sagittal"],
        "name": "000_{}.dcm",
        "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"],
    }
    write_series(tmp_path / "series", np.zeros((2, 20, 20), np.int16), **scouts, **same)
    slices = write_series(tmp_path / "series", np.zeros(SHAPE[::-1], np.int16), spacing=SPACING, origin=ORIGIN, **same)
    (series,) = find_series(tmp_path / "series")
    (read,), _ = read_series(series)
    path = write(read.with_array(labelmap().array), series)
    assert_refers_to_slices(path, series)
    assert referenced(path) == uids(series_of(slices))


def vendor_style(dataset: Dataset) -> None:
    """Orientation and measures told of each frame again, as some scanners do."""
    (shared,) = dataset.SharedFunctionalGroupsSequence
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        frame.PlaneOrientationSequence = shared.PlaneOrientationSequence
        frame.PixelMeasuresSequence = shared.PixelMeasuresSequence
    del shared.PlaneOrientationSequence, shared.PixelMeasuresSequence


@pytest.mark.parametrize("change", [None, vendor_style], ids=["shared", "per frame"])
def test_a_multi_frame_image_is_referred_to_frame_by_frame(tmp_path, write, change):
    direction, image = DIRECTIONS["oblique"], labelmap(DIRECTIONS["oblique"])
    positions = slice_positions(7, SPACING, ORIGIN, direction)[::-1]
    options = {"spacing": SPACING, "direction": direction, "positions": positions, "change": change}
    file = write_enhanced(tmp_path / "image.dcm", np.zeros(SHAPE[::-1], np.int16), **options)
    path = write(image, series_of([file]))
    np.testing.assert_array_equal(read_back(path, image), image.array)
    for frame in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        position = positions[source_of(frame).ReferencedFrameNumber - 1]
        np.testing.assert_allclose(frame.PlanePositionSequence[0].ImagePositionPatient, position, atol=1e-6)


@pytest.mark.parametrize("maker", [write_series, write_enhanced])
def test_both_times_of_a_place_are_sources(tmp_path, write, maker):
    same = {"SeriesInstanceUID": "1.2.4", "StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.5"}
    same |= {"spacing": SPACING, "origin": ORIGIN}
    for time in (1, 2):
        maker(tmp_path / "series" / f"{time}", np.zeros(SHAPE[::-1], np.int16), AcquisitionNumber=time, **same)
    (series,) = find_series(tmp_path / "series")
    image = labelmap()
    path = write(image, series)
    np.testing.assert_array_equal(read_back(path, image), image.array)
    for frame in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        assert len(frame.DerivationImageSequence[0].SourceImageSequence) == 2
    assert referenced(path) == uids(series)


@pytest.mark.parametrize("repair", ["gantry tilt", "missing slice"])
def test_a_repaired_series_gets_a_segmentation_on_a_grid_of_its_own(tmp_path, write, repair):
    positions = slice_positions(8, SPACING, ORIGIN)
    if repair == "gantry tilt":
        positions[:, 1] += np.arange(8) * 0.5
    else:
        positions = np.delete(positions, 4, axis=0)
    pixels = np.zeros((len(positions), 9, 11), np.int16)
    write_series(tmp_path / "series", pixels, spacing=SPACING, positions=positions)
    (series,) = find_series(tmp_path / "series")
    (read,), notes = read_series(series)
    assert notes, "the sample is not what this test is about"
    image = read.with_array(np.random.default_rng(1).choice([0, 2, 5], read.shape).astype(np.uint8))
    path = write(image, series)
    np.testing.assert_array_equal(read_back(path, image), image.array)
    assert referenced(path) == uids(series)
    stored = pydicom.dcmread(path)
    assert stored.FrameOfReferenceUID == pydicom.dcmread(series.files[0]).FrameOfReferenceUID
    for frame in stored.PerFrameFunctionalGroupsSequence:
        for derivation in frame.DerivationImageSequence:
            assert {source.SpatialLocationsPreserved for source in derivation.SourceImageSequence} == {"NO"}


def test_a_part_of_the_grid(make_series, write):
    image = labelmap()
    part = dataclasses.replace(image, array=image.array[:8, :5, 1:])
    part = dataclasses.replace(part, origin=tuple(slice_positions(2, SPACING, ORIGIN)[1]))
    path = write(part, make_series())
    np.testing.assert_array_equal(read_back(path, part), part.array)


def test_an_absent_label_is_a_segment_without_frames(make_series, write):
    path = write(labelmap(), make_series())
    stored = pydicom.dcmread(path)
    numbers = [
        f.SegmentIdentificationSequence[0].ReferencedSegmentNumber for f in stored.PerFrameFunctionalGroupsSequence
    ]
    assert set(numbers) == {1, 2}
    assert stored.NumberOfFrames == len(numbers) == 10  # five slices hold both


def test_nothing_found_is_a_valid_result(make_series, write, caplog):
    nothing = labelmap().with_array(np.zeros(SHAPE, np.uint8))
    series = make_series()
    path = write(nothing, series)
    stored = pydicom.dcmread(path)
    assert [segment.SegmentLabel for segment in stored.SegmentSequence] == ["liver", "kidney", "spleen"]
    assert stored.NumberOfFrames == 3
    assert not stored.pixel_array.any()
    middle = slice_positions(7, SPACING, ORIGIN)[3]
    for frame in stored.PerFrameFunctionalGroupsSequence:
        np.testing.assert_allclose(frame.PlanePositionSequence[0].ImagePositionPatient, middle)
    assert_refers_to_slices(path, series)
    assert not caplog.records
    assert not read_back(path, nothing).any()
    assert errors_of(path) == []


def test_a_single_slice(make_series, write):
    image = dataclasses.replace(labelmap(), array=labelmap().array[:, :, 1:2])
    series = make_series()
    path = write(image, series)
    assert pydicom.dcmread(path).NumberOfFrames == 2


def test_headers_that_anonymization_emptied(make_series, write):
    def strip(dataset: Dataset, k: int) -> None:
        for keyword in REMOVED:
            delattr(dataset, keyword)
        dataset.StudyInstanceUID = ""

    image = labelmap()
    path = write(image, make_series(change=strip))
    np.testing.assert_array_equal(read_back(path, image), image.array)
    assert pydicom.dcmread(path).StudyInstanceUID
    assert errors_of(path) == []


@pytest.mark.parametrize(
    ("keyword", "value"), [("PatientBirthDate", "00000000"), ("StudyTime", "10:46:07"), ("PatientSex", "X")]
)
def test_impossible_values_become_empty(make_series, write, keyword, value):
    path = write(labelmap(), make_series(change=lambda dataset, k: dataset.add(raw(keyword, value))))
    assert not pydicom.dcmread(path)[keyword].value
    assert errors_of(path) == []


def raw(keyword: str, value: str) -> pydicom.DataElement:
    """An element whose value is not checked."""
    tag = pydicom.datadict.tag_for_keyword(keyword)
    vr = pydicom.datadict.dictionary_VR(tag)
    return pydicom.DataElement(tag, vr, value, validation_mode=pydicom.config.IGNORE)


def test_texts_are_made_to_fit(make_series, write):
    odd = Label(1, "back\\slash\n" + "long " * 20, (1, 2, 3), type=Code("99LOCAL", "x", "meaning " * 20))
    card = dataclasses.replace(CARD, labels=(odd,), title="t" * 100, name="n" * 100, digest="")
    image = labelmap().with_array(np.ones(SHAPE, np.uint8))
    path = write(image, make_series(), card)
    (segment,) = pydicom.dcmread(path).SegmentSequence
    assert segment.SegmentLabel.startswith("back slash long")
    assert len(segment.SegmentLabel) <= 64
    assert errors_of(path) == []


def test_a_value_without_a_label_is_a_defect(make_series, write):
    with pytest.raises(ValueError, match="without a label"):
        write(labelmap().with_array(np.full(SHAPE, 7, np.uint8)), make_series())


def test_headers_that_do_not_suffice(make_series, write):
    def strip(dataset: Dataset, k: int) -> None:
        del dataset.PixelSpacing

    with pytest.raises(LLMBoostError, match=r"series.*PixelSpacing.*write \.seg\.nrrd instead"):
        write(labelmap(), make_series(change=strip))


def test_memory_does_not_grow_with_the_labels(tmp_path, write):
    shape, count = (512, 512, 16), 24
    pixels = np.broadcast_to(np.int16(0), shape[::-1])
    series = series_of(write_series(tmp_path / "series", pixels))
    array = np.random.default_rng(0).integers(1, count + 1, shape, np.uint8)
    image = Image(array, (1, 1, 1), (0, 0, 0), np.eye(3))
    card = dataclasses.replace(CARD, labels=tuple(Label(n, str(n), (9, 9, 9)) for n in range(1, count + 1)))
    tracemalloc.start()
    try:
        path = write(image, series, card)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert header(path).NumberOfFrames == 16 * count
    # the copy of the map, the frames (a bit a voxel) twice, and what is said of each: far less than a map a label
    assert peak < count * array.nbytes / 2


def test_without_highdicom(make_series, write, monkeypatch):
    series = make_series()
    monkeypatch.setattr(highdicom, "__version__", "0.26.1")
    with pytest.raises(LLMBoostError, match=r'pip install "highdicom>=0\.27" "pydicom>=3"'):
        write(labelmap(), series)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(LLMBoostError, match=r'pip install "highdicom>=0\.27" "pydicom>=3"'):
        write(labelmap(), series)


def test_a_file_that_cannot_be_written_leaves_nothing_behind(make_series, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    series = make_series()
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "result.dcm").write_text("older")
    monkeypatch.setattr(highdicom.seg.Segmentation, "save_as", fail)
    with pytest.raises(LLMBoostError, match="No space left on device"):
        write_dicom_seg(labelmap(), CARD, series, folder / "result.dcm")
    assert [file.read_text() for file in folder.iterdir()] == ["older"]


def errors_of(path: Path) -> list[str]:
    """What the validator dciodvfy (Debian package dicom3tools) has against a file."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("no dciodvfy: install the package dicom3tools to check conformance")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, timeout=60, check=False)
    lines = done.stderr.splitlines()
    assert "Segmentation" in lines, done.stderr
    return [line for line in lines if line.startswith("Error")]


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_conforms_to_the_standard(make_series, write, direction):
    assert errors_of(write(labelmap(direction), make_series(direction))) == []


def read_by_dcmqi(path: Path, folder: Path) -> tuple[sitk.Image, list[dict]]:
    """The label map (segment numbers) and the segments as dcmqi reads them: C++ on DCMTK and ITK."""
    dcmqi = pytest.importorskip("dcmqi", reason="no dcmqi: pip install dcmqi to test with an independent reader")
    program = Path(dcmqi.__file__).parent / "bin" / "segimage2itkimage"
    folder.mkdir()
    command = [program, "--inputDICOM", path, "--outputDirectory", folder, "--prefix", "s", "--mergeSegments"]
    subprocess.run([*map(str, command), "--outputType", "nrrd"], check=True, capture_output=True, timeout=120)
    described = json.loads((folder / "s-meta.json").read_text(encoding="utf-8"))["segmentAttributes"]
    return sitk.ReadImage(folder / "s-1.nrrd"), [segment for group in described for segment in group]


def assert_dcmqi_agrees(path: Path, image: Image, labels: tuple[Label, ...], folder: Path) -> None:
    merged, segments = read_by_dcmqi(path, folder)
    labels = tuple(sorted(labels, key=lambda label: label.value))
    numbers = resample(image_from_sitk(merged, folder / "s-1.nrrd"), image, "nearest", fill=0).array
    np.testing.assert_array_equal(np.array([0, *(label.value for label in labels)])[numbers], image.array)
    for segment in segments:
        label = labels[segment["labelID"] - 1]
        assert segment["SegmentLabel"] == label.name
        assert segment["SegmentedPropertyTypeCodeSequence"]["CodeValue"] == label.type.value
        np.testing.assert_allclose(segment["recommendedDisplayRGBValue"], label.color, atol=1)


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_an_independent_reader_agrees(make_series, write, tmp_path, direction):
    image = labelmap(direction)
    assert_dcmqi_agrees(write(image, make_series(direction)), image, LABELS, tmp_path / "dcmqi")


def real_series(data_root: Path, name: str, folder: Path) -> Series:
    source = data_root / "viewer" / name
    if source.suffix == ".zip":
        with zipfile.ZipFile(source) as archive:
            archive.extractall(folder)
        source = folder
    (series,) = find_series(source)
    return series


@pytest.mark.parametrize(
    ("name", "own_grid"),
    [
        ("dicom/ct_3slice_with_liver_seg_dcmqi.zip", False),
        ("dicom/pet_wholebody_qin_headneck_with_seg.zip", False),
        ("dicom/ct_head_ge_gantry_tilt.zip", True),
        ("ct_mr_totalsegmentator/example_ct_dicom", False),
    ],
)
def test_real_series(data_root, tmp_path, write, name, own_grid):
    series = real_series(data_root, name, tmp_path / "source")
    (read, *_), _ = read_series(series)
    middle, bright = np.quantile(read.array[::4, ::4], [0.9, 0.97])
    image = read.with_array(np.where(read.array > bright, 5, np.where(read.array > middle, 2, 0)).astype(np.uint8))
    path = write(image, series)
    np.testing.assert_array_equal(read_back(path, image), image.array)
    assert referenced(path) == {str(header(file).file_meta.MediaStorageSOPInstanceUID) for file in series.files}
    for frame in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        assert bool(frame.DerivationImageSequence) is not own_grid
    assert_dcmqi_agrees(path, image, LABELS, tmp_path / "dcmqi")


def test_many_real_segments(data_root, tmp_path, write):
    """31 structures that another program drew on a CT whose instances were emptied of their identifiers."""
    series = real_series(data_root, "ct_mr_totalsegmentator/example_ct_dicom", tmp_path)
    drawn = data_root / "viewer/ct_mr_totalsegmentator/example_seg_dicom.nii.gz"
    image = image_from_sitk(sitk.ReadImage(str(drawn), sitk.sitkUInt8), drawn)
    labels = tuple(Label(int(v), f"structure {v}", (int(v), 99, 255 - int(v))) for v in np.unique(image.array) if v)
    path = write(image, series, dataclasses.replace(CARD, labels=labels))
    assert errors_of(path) == []
    assert_dcmqi_agrees(path, image, labels, tmp_path / "dcmqi")


def test_the_same_as_dcmqi_writes_of_a_real_case(data_root, tmp_path, write):
    series = real_series(data_root, "dicom/ct_3slice_with_liver_seg_dcmqi.zip", tmp_path)
    (theirs,) = tmp_path.rglob("liver.dcm")
    liver, (segment,) = read_by_dcmqi(theirs, tmp_path / "theirs")
    image = image_from_sitk(liver, tmp_path / "theirs" / "s-1.nrrd")
    label = Label(1, segment["SegmentLabel"], tuple(segment["recommendedDisplayRGBValue"]))
    path = write(image, series, dataclasses.replace(CARD, labels=(label,)))
    assert_dcmqi_agrees(path, image, (label,), tmp_path / "ours")
    old, new = pydicom.dcmread(theirs), pydicom.dcmread(path)
    for keyword in ("PatientID", "PatientAge", "StudyInstanceUID", "FrameOfReferenceUID", "NumberOfFrames", "Rows"):
        assert new[keyword].value == old[keyword].value, keyword

    def sources(segmentation: Dataset) -> dict[float, str]:
        frames = segmentation.PerFrameFunctionalGroupsSequence
        return {
            round(float(frame.PlanePositionSequence[0].ImagePositionPatient[2]), 2): source_of(
                frame
            ).ReferencedSOPInstanceUID
            for frame in frames
        }

    assert sources(new) == sources(old)
