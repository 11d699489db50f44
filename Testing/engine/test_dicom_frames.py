"""Phases, echoes, b-values and kinds of images in one DICOM series: told apart, or told."""

import numpy as np
import pydicom
import pytest
from pydicom import uid as uids

from .dicom_checks import read, read_one, refusal
from .dicom_samples import noise, slice_positions, write_enhanced, write_series

MAGNITUDE, PHASE = ["ORIGINAL", "PRIMARY", "M", "ND"], ["ORIGINAL", "PRIMARY", "P", "ND"]
UIDS = {"SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2.4", "FrameOfReferenceUID": "1.2.5"}


def irregular(k, n):
    """A time at which image n of place k may be made: later ones of one place may come before early ones of another."""
    return 1000 * ((7 * k + 3 * n) % 5) + 10 * k + n


def write_images(folder, images, *, jumbled=None, shift=0.0, size=5):
    """One series of several images, each {keyword: value}, ``shift`` apart; returns their arrays.

    ``jumbled`` is a keyword that says times which go up and down from image to image, differently at each place.
    """
    arrays = [noise((size, 8, 6), seed=n) for n in range(len(images))]
    for n, (elements, array) in enumerate(zip(images, arrays, strict=True)):

        def change(dataset, k, n=n):
            dataset.InstanceNumber = 1 + len(images) * k + n
            if jumbled:
                time = irregular(k, n)
                setattr(dataset, jumbled, f"12{time:04}" if jumbled == "AcquisitionTime" else time)

        positions = slice_positions(size, origin=(0, 0, n * shift))
        write_series(folder, array, positions=positions, name=f"{n}-{{}}", change=change, **UIDS, **elements)
    return arrays


def assert_images(images, arrays, origins=None):
    assert len(images) == len(arrays)
    for n, (image, array) in enumerate(zip(images, arrays, strict=True)):
        np.testing.assert_array_equal(image.array.transpose(), array)
        assert image.spacing == pytest.approx((1, 1, 1))
        assert image.origin[2] == pytest.approx(origins[n] if origins else 0)


KINDS = {
    "EchoTime": [{"EchoTime": t} for t in (4.6, 9.2, 13.8)],
    "InversionTime": [{"InversionTime": t} for t in (100, 180, 260)],
    "FlipAngle": [{"FlipAngle": a} for a in (3, 15)],
    "DiffusionBValue": [{"DiffusionBValue": float(b)} for b in (0, 500, 1000)],
    "ImageType": [{"ImageType": MAGNITUDE}, {"ImageType": PHASE}],
    "ComplexImageComponent": [{"ComplexImageComponent": c} for c in ("IMAGINARY", "MAGNITUDE", "PHASE", "REAL")],
    "ConvolutionKernel": [{"ConvolutionKernel": c} for c in ("B30f", "B70f")],
    "SeriesDescription": [{"SeriesDescription": c} for c in ("arterial", "venous")],
    "CorrectedImage": [{"CorrectedImage": ["DECY"]}, {"CorrectedImage": ["DECY", "ATTN"]}],
    "TemporalPositionIdentifier": [{"TemporalPositionIdentifier": n} for n in (1, 2, 3)],
    "KVP": [{"KVP": 80}, {"KVP": 140}],
}


@pytest.mark.parametrize("jumbled", ["TriggerTime", "AcquisitionTime", "FrameReferenceTime", "AcquisitionNumber"])
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_come_before_irregular_times(tmp_path, kind, jumbled):
    arrays = write_images(tmp_path, KINDS[kind], jumbled=jumbled)
    images, notes = read(tmp_path)
    assert notes == (f"{len(arrays)} images of each place, told apart by {kind}",)
    assert_images(images, arrays)


def test_kinds_within_kinds(tmp_path):
    """Magnitude and phase of two echoes."""
    kinds = [{"ImageType": kind, "EchoTime": echo} for kind in (MAGNITUDE, PHASE) for echo in (5, 10)]
    arrays = write_images(tmp_path, kinds, jumbled="TriggerTime")
    images, (note,) = read(tmp_path)
    assert note == "4 images of each place, told apart by ImageType, EchoTime"
    assert_images(images, arrays)


def test_irregular_times_are_counted_within_each_kind(tmp_path):
    """A cine of flow: magnitude and phase, at times that differ from place to place and even cross over."""
    arrays = {kind: [noise(seed=10 * (kind == "P") + n) for n in range(3)] for kind in "MP"}
    for kind, stack in arrays.items():
        for n, array in enumerate(stack):

            def change(dataset, k, n=n, kind=kind):
                dataset.TriggerTime = 40 * n + 7 * k + (0 if kind == "M" else 90 * (k % 2) - 45)

            image_type = MAGNITUDE if kind == "M" else PHASE
            write_series(tmp_path, array, name=f"{kind}{n}-{{}}", change=change, ImageType=image_type, **UIDS)
    images, (note,) = read(tmp_path)
    assert note == "6 images of each place, told apart by ImageType, TriggerTime"
    assert_images(images, [*arrays["M"], *arrays["P"]])


def test_a_diffusion_series_with_its_derived_map(tmp_path):
    diffusion = ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"]
    kinds = [
        {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], "DiffusionBValue": 0.0},
        {"ImageType": diffusion, "DiffusionBValue": 0.0},
        {"ImageType": diffusion, "DiffusionBValue": 1000.0, "DiffusionGradientOrientation": [0, 0, 1]},
        {"ImageType": diffusion, "DiffusionBValue": 1000.0, "DiffusionGradientOrientation": [1, 0, 0]},
    ]
    arrays = write_images(tmp_path, kinds, jumbled="AcquisitionTime")
    images, (note,) = read(tmp_path)
    assert note.startswith("4 images of each place, told apart by ImageType, DiffusionBValue")
    assert_images(images, arrays)


def test_enhanced_echoes_with_irregular_triggers(tmp_path):
    array = noise((6, 8, 6))

    def change(dataset):
        for n, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            echo, beat = pydicom.Dataset(), pydicom.Dataset()
            echo.EffectiveEchoTime = 10.0 * (1 + n % 2)
            beat.NominalCardiacTriggerDelayTime = float(irregular(n // 2, n % 2))
            frame.MREchoSequence, frame.CardiacSynchronizationSequence = [echo], [beat]

    write_enhanced(tmp_path / "e", array, positions=np.repeat(slice_positions(3), 2, axis=0), change=change)
    images, (note,) = read(tmp_path)
    assert "EffectiveEchoTime" in note
    assert_images(images, [array[::2], array[1::2]])


# ---- images that lie between each other


@pytest.mark.parametrize("shift", [0.5, 0.25, 0.05])
@pytest.mark.parametrize("kind", KINDS)
def test_images_that_lie_between_each_other_are_told_apart_by_their_kind(tmp_path, kind, shift):
    """Such as respiratory phases. Where they are nearly at the same places, they are no stack at all."""
    arrays = write_images(tmp_path, KINDS[kind][:2], shift=shift, jumbled="AcquisitionTime")
    images, notes = read(tmp_path)
    assert notes[0] == f"2 stacks at places of their own, told apart by {kind}"
    assert_images(images, arrays, [0, shift])


@pytest.mark.parametrize("missing", [0, 2, 4])
def test_an_image_with_a_slice_less_is_told_apart_by_its_kind(tmp_path, missing):
    arrays = write_images(tmp_path, [{"EchoTime": 5}, {"EchoTime": 10}])
    (tmp_path / f"1-{missing}").unlink()
    images, notes = read(tmp_path)
    assert notes[0] == "2 stacks at places of their own, told apart by EchoTime"
    np.testing.assert_array_equal(images[0].array.transpose(), arrays[0])
    left = [k for k in range(5) if k != missing]
    kept = images[1].array.transpose()
    kept = kept[left] if missing == 2 else kept  # the one in the middle is interpolated, and said to be
    np.testing.assert_array_equal(kept, arrays[1][left])
    assert images[1].origin[2] == (1 if missing == 0 else 0)


def test_phases_of_several_echoes_that_lie_between_each_other(tmp_path):
    arrays = [noise(seed=n) for n in range(4)]
    for n, array in enumerate(arrays):
        phase, echo = divmod(n, 2)
        elements = UIDS | {"TemporalPositionIdentifier": phase + 1, "EchoTime": 5 * echo + 5}
        positions = slice_positions(5, origin=(0, 0, phase / 2))
        write_series(tmp_path, array, positions=positions, name=f"{n}-{{}}", **elements)
    images, notes = read(tmp_path)
    assert notes[0] == "2 stacks at places of their own, told apart by TemporalPositionIdentifier"
    assert notes[1] == "2 images of each place, told apart by EchoTime"
    assert_images(images, arrays, [0, 0, 0.5, 0.5])


PASSES = {
    "InstanceNumber in blocks": ("InstanceNumber", lambda n, k: 5 * n + k + 1),
    "AcquisitionNumber": ("AcquisitionNumber", lambda n, k: n + 1),
    "AcquisitionTime": ("AcquisitionTime", lambda n, k: f"12{3 * n:02}00"),
    "AcquisitionTime of each slice": ("AcquisitionTime", lambda n, k: f"12{3 * n:02}0{k}.25"),
    "TriggerTime": ("TriggerTime", lambda n, k: 400 * n),
}


@pytest.mark.parametrize("way", PASSES)
@pytest.mark.parametrize("phases", [2, 3])
def test_phases_that_only_a_number_or_a_time_tells_are_said(tmp_path, way, phases):
    keyword, value = PASSES[way]
    for n in range(phases):

        def change(dataset, k, n=n):
            dataset.InstanceNumber = 1
            setattr(dataset, keyword, value(n, k))

        positions = slice_positions(5, origin=(0, 0, n / phases))
        write_series(tmp_path, noise(seed=n), positions=positions, name=f"{n}-{{}}", change=change, **UIDS)
    (_,), (note,) = read(tmp_path)
    assert note.startswith(
        f"slices of several passes alternate, by {keyword}: taken as one image; if these are several"
    )


def test_slices_that_are_excited_in_turn_are_an_ordinary_scan(tmp_path):
    """The odd ones first, then, without a pause, the even ones, as most scans of many slices do it."""
    array = noise((12, 8, 6))

    def change(dataset, k):
        dataset.AcquisitionTime = f"1200{(k // 2 if k % 2 == 0 else 6 + k // 2):02}.5"

    write_series(tmp_path, array, change=change)
    np.testing.assert_array_equal(read_one(tmp_path).array.transpose(), array)


def test_kinds_one_after_the_other_are_one_image_and_said(tmp_path):
    def change(dataset, k):
        dataset.SeriesDescription = "chest" if k < 3 else "abdomen"

    array = noise((6, 8, 6))
    write_series(tmp_path, array, change=change)
    (image,), (note,) = read(tmp_path)
    assert note == "slices of 2 kinds, by SeriesDescription, in one stack: taken as one image"
    np.testing.assert_array_equal(image.array.transpose(), array)


def test_elements_that_differ_from_slice_to_slice_are_no_kinds(tmp_path):
    def change(dataset, k):
        dataset.EchoTime, dataset.FlipAngle, dataset.TriggerTime = 5 + k / 1000, 10 + k, irregular(k, 0)

    array = noise()
    write_series(tmp_path, array, change=change)
    np.testing.assert_array_equal(read_one(tmp_path).array.transpose(), array)


def test_images_that_nothing_tells_apart_are_refused(tmp_path):
    for n in range(2):
        write_series(tmp_path, noise(seed=n), name=f"{n}-{{}}", SOPInstanceUID=uids.generate_uid(), **UIDS)
    assert "another image in the place of" in refusal(tmp_path)
