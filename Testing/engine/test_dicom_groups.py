"""Enhanced multi-frame DICOM: only the public functional groups tell geometry and values, whatever else is there."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from .dicom_checks import assert_same, read, read_one, refusal
from .dicom_samples import OBLIQUE, PLACE, noise, slice_positions, write_enhanced, write_series

LIES = {
    "ImagePositionPatient": [11, 22, 33],
    "ImageOrientationPatient": [0, 1, 0, 0, 0, -1],
    "PixelSpacing": [3, 4],
    "SliceThickness": 9,
    "SpacingBetweenSlices": 9,
    "RescaleSlope": 7,
    "RescaleIntercept": -7,
    "Rows": 3,
    "Columns": 3,
    "BitsStored": 5,
    "NumberOfFrames": 2,
    "PhotometricInterpretation": "MONOCHROME1",
    "FrameType": ["ORIGINAL", "PRIMARY", "LOCALIZER"],
}
MAKERS = {"SIEMENS MED SD": 0x0021, "Philips MR Imaging DD 001": 0x2005, "GEMS_PARM_01": 0x0043, "TOSHIBA": 0x0029}
MACROS = [
    *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"),
    *("PixelValueTransformationSequence", "FrameContentSequence"),
]


def lies() -> Dataset:
    """What is said of another image: bare, and once more within macros of the usual names."""
    item = Dataset()
    for keyword, value in LIES.items():
        setattr(item, keyword, value)
    nested = Dataset()
    nested.update(item)
    for name in MACROS:
        setattr(nested, name, [item])
    return nested


def add_private(dataset: Dataset, maker: str) -> None:
    """Two private sequences of two items each, before or after the public ones as the maker's group has it."""
    block = dataset.private_block(MAKERS[maker], maker, create=True)
    for number in (0x01, 0xFE):
        block.add_new(number, "SQ", Sequence([lies(), lies()]))


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("where", ["root", "shared", "frames", "macros"])
def test_private_sequences_tell_nothing(tmp_path, maker, where):
    rescale = [(0.5 + k, 3 - k) for k in range(5)]

    def change(dataset):
        shared, frames = dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence
        groups = [*shared, *frames]
        macros = [element.value[0] for group in groups for element in group]
        for place in {"root": [dataset], "shared": shared, "frames": frames, "macros": macros}[where]:
            add_private(place, maker)

    write_enhanced(tmp_path / "plain" / "e", noise(), rescale=rescale, **PLACE)
    write_enhanced(tmp_path / "private" / "e", noise(), rescale=rescale, change=change, **PLACE)
    image = read_one(tmp_path / "private")
    assert_same(image, read_one(tmp_path / "plain"))
    np.testing.assert_allclose(image.spacing, PLACE["spacing"], rtol=1e-6)
    np.testing.assert_allclose(image.origin, PLACE["origin"], atol=1e-6)
    np.testing.assert_allclose(image.direction, OBLIQUE, atol=1e-6)
    slope, intercept = np.array(rescale).T[:, :, None, None]
    np.testing.assert_allclose(image.array.transpose(), noise() * slope + intercept, rtol=1e-6)


PUBLIC = [  # sequences that tell of other images, or of other uses of the values
    *("DerivationImageSequence", "ReferencedImageSequence", "SourceImageSequence", "OriginalAttributesSequence"),
    *("RealWorldValueMappingSequence", "FrameVOILUTSequence", "ConversionSourceAttributesSequence"),
    *("UnassignedPerFrameConvertedAttributesSequence", "PlanePositionSlideSequence", "MRSpatialSaturationSequence"),
]


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.parametrize("enhanced", [False, True])
def test_sequences_of_other_images_tell_nothing(tmp_path, name, enhanced):
    if enhanced:

        def change(dataset):
            for group in (dataset, *dataset.SharedFunctionalGroupsSequence, *dataset.PerFrameFunctionalGroupsSequence):
                setattr(group, name, [lies()])

        write_enhanced(tmp_path / "lies" / "e", noise(), change=change, **PLACE)
    else:
        write_series(tmp_path / "lies", noise(), change=lambda dataset, k: setattr(dataset, name, [lies()]), **PLACE)
    write_series(tmp_path / "plain", noise(), **PLACE)
    assert_same(read_one(tmp_path / "lies"), read_one(tmp_path / "plain"))


def test_macros_at_the_root_of_classic_files_tell_nothing(tmp_path):
    def change(dataset, k):
        for name in MACROS:
            setattr(dataset, name, [lies()])

    write_series(tmp_path / "lies", noise(), change=change, **PLACE)
    write_series(tmp_path / "plain", noise(), **PLACE)
    assert_same(read_one(tmp_path / "lies"), read_one(tmp_path / "plain"))


def test_a_frame_holds_before_what_is_shared_and_that_before_the_root(tmp_path):
    def item(**elements):
        dataset = Dataset()
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        return dataset

    def change(dataset):
        shared, frames = dataset.SharedFunctionalGroupsSequence[0], dataset.PerFrameFunctionalGroupsSequence
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
            setattr(dataset, keyword, LIES[keyword])
        shared.PlanePositionSequence = [item(ImagePositionPatient=[7, 7, 7])]
        shared.PixelValueTransformationSequence = [item(RescaleSlope=3, RescaleIntercept=5)]
        for k, frame in enumerate(frames):
            # what is empty tells nothing
            frame.PlaneOrientationSequence = []
            frame.PixelMeasuresSequence = [item(PixelSpacing="")]
            if k == 1:
                frame.PixelValueTransformationSequence = [item(RescaleSlope="", RescaleIntercept="")]
            elif k == 2:
                frame.PixelValueTransformationSequence = [item(RescaleSlope=2, RescaleIntercept=0)]
            else:
                del frame.PixelValueTransformationSequence

    array = noise()
    write_enhanced(tmp_path / "e", array, change=change, **PLACE)
    image = read_one(tmp_path)
    np.testing.assert_allclose(image.spacing, PLACE["spacing"], rtol=1e-6)
    np.testing.assert_allclose(image.origin, PLACE["origin"], atol=1e-6)
    slopes, intercepts = np.array([3, 3, 2, 3, 3]), np.array([5, 5, 0, 5, 5])
    expected = array.astype(int) * slopes[:, None, None] + intercepts[:, None, None]
    np.testing.assert_array_equal(image.array.transpose(), expected)


def test_philips_private_scale_slope_is_no_rescale_slope(tmp_path):
    def change(dataset, k):
        block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0E, "FL", 0.0123)
        block.add_new(0x0D, "FL", 99.0)

    write_series(tmp_path, noise(), change=change, RescaleSlope="2", RescaleIntercept="1")
    np.testing.assert_array_equal(read_one(tmp_path).array.transpose(), noise() * 2 + 1)


def test_frames_are_told_apart_by_the_elements_of_their_own_macros(tmp_path):
    """Echoes in the public macro; private ones say the opposite."""
    array = noise((6, 8, 6))
    positions = np.repeat(slice_positions(3), 2, axis=0)

    def change(dataset):
        for n, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            echo, private = Dataset(), Dataset()
            echo.EffectiveEchoTime = 20.0 - 10 * (n % 2)
            private.EffectiveEchoTime = 10.0 + 10 * (n % 2)
            frame.MREchoSequence = [echo]
            block = frame.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
            block.add_new(0x0F, "SQ", Sequence([private]))

    write_enhanced(tmp_path / "e", array, positions=positions, change=change)
    images, (note,) = read(tmp_path)
    assert "EffectiveEchoTime" in note
    for image, frames in zip(images, (array[1::2], array[::2]), strict=True):
        np.testing.assert_array_equal(image.array.transpose(), frames)


def test_frames_without_a_position_of_their_own_are_refused(tmp_path):
    def change(dataset):
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            del frame.PlanePositionSequence
            add_private(frame, "SIEMENS MED SD")

    write_enhanced(tmp_path / "e", noise(), change=change)
    assert "has no ImagePositionPatient" in refusal(tmp_path)


def test_deeply_nested_sequences_end_in_one_line(tmp_path):
    """Nested so deep that whoever follows them by calling itself runs out of stack."""
    path = write_enhanced(tmp_path / "e", noise((1, 4, 4)))
    data = path.read_bytes()
    shared = pydicom.dcmread(path)
    assert shared.SharedFunctionalGroupsSequence
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    sequence = b"\x40\x00\x75\x02SQ\x00\x00\xff\xff\xff\xff"
    at = data.index(b"\x00\x52\x29\x92SQ")
    path.write_bytes(data[:at] + (sequence + item) * 20000 + data[at:])
    assert "damaged" in refusal(tmp_path)
