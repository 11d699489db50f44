"""What is one DICOM series: what one patient, study, frame of reference and series UID say together."""

import numpy as np
import pytest
from pydicom import uid as uids

from llmboost.errors import LLMBoostError
from llmboost.io.dicom import choose_series, find_series, read_series

from .dicom_checks import read, read_one, refusal
from .dicom_samples import PLACE, noise, slice_positions, write_series

ONE = {"StudyInstanceUID": "1.2.1", "FrameOfReferenceUID": "1.2.2", "PatientID": "A7", "PatientName": "Roe^Jane"}
OTHERS = {
    "PatientID": ({"PatientID": "B8"}, "patient 1 of 2"),
    "PatientName": ({"PatientName": "Poe^John", "PatientID": ""}, "patient 1 of 2"),
    "PatientName beside a dummy PatientID": ({"PatientName": "Poe^John"}, "patient 1 of 2"),
    "PatientBirthDate": ({"PatientBirthDate": "19700101"}, "patient 1 of 2"),
    "StudyInstanceUID": ({"StudyInstanceUID": "1.2.3.4"}, "study 1 of 2"),
    "StudyDate": ({"StudyDate": "20210101"}, "study 1 of 2"),
    "FrameOfReferenceUID": ({"FrameOfReferenceUID": "1.2.3.4"}, "frame of reference 1 of 2"),
    "SeriesNumber": ({"SeriesNumber": 2}, "series number 1 of 2"),
    "Modality": ({"Modality": "MR"}, "modality 1 of 2"),
}


def write_two(folder, uid, other, first=None):
    """Two stacks under one series UID, the second half a slice away: by their places, they would be one."""
    arrays = noise(seed=1), noise(seed=2)
    for n, array in enumerate(arrays):
        elements = ONE | {"PatientBirthDate": "19690101"} | (first or {}) | (other if n else {})
        write_series(
            folder,
            array,
            positions=slice_positions(5, origin=(0, 0, n / 2)),
            name=f"{n}-{{}}.dcm",
            SeriesInstanceUID=uid,
            **elements,
        )
    return arrays


@pytest.mark.parametrize("uid", ["1.2.840.1", "1.2.3", "0", ""])
@pytest.mark.parametrize("name", OTHERS)
def test_one_uid_of_two(tmp_path, name, uid):
    other, told = OTHERS[name]
    first = {"PatientID": ""} if name == "PatientName" else None
    arrays = write_two(tmp_path, uid, other, first)
    found = find_series(tmp_path)
    assert [len(series.files) for series in found] == [5, 5]
    assert {series.uid for series in found} == {uid}
    images = [read_series(series) for series in found]
    assert all(notes == () and len(volumes) == 1 for volumes, notes in images)
    for array in arrays:
        assert any(np.array_equal(volumes[0].array, array.transpose()) for volumes, _ in images)
    message = refusal(tmp_path)
    assert "holds 2 series" in message
    assert told in message
    for secret in ("A7", "B8", "Roe", "Poe", "1969", "1970"):
        assert secret not in message
    for series in found:
        assert choose_series(found, f"{uid}#{series.part}", tmp_path) is series
    if uid:
        with pytest.raises(LLMBoostError, match=f"several series fit --series {uid}; .*{uid}#1.*{uid}#2"):
            choose_series(found, uid, tmp_path)


def test_two_patients_with_copies_of_all_uids(tmp_path):
    """As after careless anonymization: instances have equal UIDs, numbers and places, too; they are no copies."""
    same = {"SeriesInstanceUID": "1.2.3", "SOPInstanceUID": "1.2.3"}
    arrays = noise(seed=1), noise(seed=2)
    for n, array in enumerate(arrays):
        write_series(tmp_path / f"{n}", array, **(ONE | same | {"PatientID": f"P{n}"}))
    found = find_series(tmp_path)
    assert len(found) == 2
    for series, array in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(read_series(series)[0][0].array.transpose(), array)


def test_three_patients_of_two_studies_each(tmp_path):
    for n in range(6):
        elements = ONE | {"PatientID": f"P{n // 2}", "StudyInstanceUID": f"1.2.{n}"}
        write_series(tmp_path, noise(seed=n), name=f"{n}-{{}}", SeriesInstanceUID="1.2.3", **elements)
    found = find_series(tmp_path)
    assert [series.part for series in found] == [1, 2, 3, 4, 5, 6]
    assert found[3].apart == "patient 2 of 3, study 2 of 2"


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "StudyInstanceUID", "PatientID"])
def test_a_slice_that_lost_what_the_others_have_is_neither_dropped_nor_trusted(tmp_path, keyword):
    def lose(dataset, k):
        if k == 2:
            setattr(dataset, keyword, "")

    write_series(tmp_path, noise(), change=lose, **ONE)
    (series,) = find_series(tmp_path)
    assert len(series.files) == 5
    assert f"1 of 5 files have no {keyword}" in refusal(tmp_path)


def test_what_all_files_lack_is_no_matter(tmp_path):
    names = ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "FrameOfReferenceUID", "StudyDate")
    write_series(tmp_path, noise(), **dict.fromkeys(names, ""), **PLACE)
    np.testing.assert_array_equal(read_one(tmp_path).array.transpose(), noise())


def test_names_written_in_two_ways_are_one_patient(tmp_path):
    def write_otherwise(dataset, k):
        dataset.PatientName = "ROE^JANE^^" if k % 2 else "Roe^Jane"

    write_series(tmp_path, noise(), change=write_otherwise)
    assert read_one(tmp_path).shape == (6, 8, 5)


def test_long_lists_end(tmp_path):
    for n in range(60):
        write_series(tmp_path, noise((1, 4, 4)), name=f"{n}", FrameOfReferenceUID=uids.generate_uid())
    message = refusal(tmp_path)
    assert "holds 60 series" in message
    assert message.endswith("; and 10 more")


def test_text_of_files_cannot_confuse_a_terminal(tmp_path):
    for n in range(2):
        write_series(tmp_path, noise((1, 4, 4)), name=f"{n}", SeriesDescription="\x1b[2J\x1b]0;owned\x07 T1")
    message = refusal(tmp_path)
    assert "\x1b" not in message
    assert "\x07" not in message


@pytest.mark.parametrize("uid", ["1.2.3", ""])
def test_nothing_but_the_numbers_tells_two_stacks_of_one_series(tmp_path, uid):
    """Two of the same patient, study and frame of reference: read, and said."""
    write_two(tmp_path, uid, {})
    (image,), (note,) = read(tmp_path)
    assert image.shape == (6, 8, 10)
    assert note.startswith("several slices have the same InstanceNumber: taken as one image; if these are several")
