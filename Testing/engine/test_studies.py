"""Exports of many studies of several series, DICOM and BIDS: what is found, taken, left and told."""

import json
import shutil
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.fileset import FileSet

from llmboost.batch import SegmentOptions, segment_cases
from llmboost.card import Normalization, Preprocessing, read_card
from llmboost.errors import LLMBoostError
from llmboost.io.cases import find_cases
from llmboost.io.dicom import find_studies
from llmboost.io.image import write_image
from llmboost.library import find as find_model
from llmboost.model import load_model
from llmboost.studies import Selection

from .dicom_samples import write_enhanced, write_series
from .study_samples import write_bids, write_study


@pytest.fixture(scope="module")
def card():
    return read_card(find_model("brain-1mm"))


@pytest.fixture
def told():
    return []


@pytest.fixture
def find(card, told):
    """``find(path, ..., series="auto")``: cases by id; what is told goes into ``told``."""

    def run(*paths, series="auto", of=card):
        told.clear()
        return find_cases(paths, of.preprocessing, Selection.of(series, of), told.append)

    return run


def taken(cases):
    """The number of each case's series, by id."""
    return {id: case.series and case.series.number for id, case in cases.items()}


# ---- DICOM


def test_one_series_of_each_study_wherever_its_files_lie(find, told, tmp_path):
    """In folders of their own, or the files of all series mixed in others: the UIDs alone count."""
    apart, mixed = tmp_path / "apart", tmp_path / "mixed"
    for n in (1, 2, 3):
        written = write_study(apart / "DICOM", n)
        files = sorted(path for paths in written.values() for path in paths)
        for k, path in enumerate(files):
            (mixed / f"{k % 7:02X}").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, mixed / f"{k % 7:02X}" / path.name)
    (mixed / "00" / "LOCKFILE").touch()
    cases = find(apart)
    assert taken(cases) == {"DICOM_000003D1": 3, "DICOM_000007A2": 3, "DICOM_00000B73": 3}
    assert all(len(case.files) == 12 and not case.problem and not case.notes for case in cases.values())
    assert len(told) == 3
    assert told[0] == (
        "DICOM_000003D1: took 3: MR 't1_mprage_sag_iso', sagittal, 12 slices of 1 mm, of 8 series; left"
        " 1: MR 'localizer' (a localizer); 2: MR 'T1 SE SAG' (12 mm, the model works at 1 mm);"
        " 4: MR 'T2 TSE AX' (5 mm, the model works at 1 mm); 5: MR 'FLAIR 3D' (FLAIR, the model's card names T1 first);"
        " 6: MR 't1_mprage_MPR_tra' (reformatted); 98: MR 'Sample' (in color; a single slice);"
        " 99: SR 'Report' (no image (Comprehensive SR))"
    )
    assert sorted(taken(find(mixed)).values()) == [3, 3, 3]
    assert all(id.startswith("MR-BRAIN_") for id in taken(find(mixed)))


def test_what_was_left_and_why_is_kept_with_the_case(find, tmp_path):
    write_study(tmp_path / "anna", 1)
    (case,) = find(tmp_path / "anna").values()
    assert case.id == "anna", "one study is named after the folder that was named"
    assert case.chosen["taken"] == ["3: MR 't1_mprage_sag_iso', sagittal, 12 slices of 1 mm"]
    assert [one["series"].split(":")[0] for one in case.chosen["left"]] == ["1", "2", "4", "5", "6", "98", "99"]
    assert {"series": "6: MR 't1_mprage_MPR_tra', axial, 12 slices of 1 mm", "why": "reformatted"} in case.chosen[
        "left"
    ]
    assert "SECRET" not in json.dumps(case.chosen)
    assert "1.2.7" not in json.dumps(case.chosen)


def test_a_folder_with_one_series_is_taken_whatever_it_is(find, told, tmp_path):
    """Who names it wants it; a report beside it changes nothing."""
    write_series(tmp_path / "ct", np.zeros((4, 8, 8), np.int16), Modality="CT")
    assert taken(find(tmp_path / "ct")) == {"ct": 1}
    assert told == []
    write_series(tmp_path / "both" / "ct", np.zeros((4, 8, 8), np.int16), Modality="CT")
    write_study(tmp_path / "both" / "mr", 1)
    cases = find(tmp_path / "both")
    assert taken(cases) == {"ct": None, "mr_000003D1": 3}
    assert cases["ct"].problem.startswith(f"{tmp_path / 'both' / 'ct'}: of 1 series, none suits model 'brain-1mm'")
    assert "CT, the model takes MR" in cases["ct"].problem


def test_all_a_number_a_uid_and_a_rule(find, told, tmp_path):
    for n in (1, 2):
        write_study(tmp_path, n)
    assert list(find(tmp_path, series="all"))[:5] == [
        "000003D1_2_T1-SE-SAG",
        "000003D1_3_t1_mprage_sag_iso",
        "000003D1_4_T2-TSE-AX",
        "000003D1_5_FLAIR-3D",
        "000003D1_6_t1_mprage_MPR_tra",
    ]
    assert taken(find(tmp_path, series="4")) == {"000003D1": 4, "000007A2": 4}
    assert taken(find(tmp_path, series="1.2.7.2.5")) == {tmp_path.name: 5}
    assert taken(find(tmp_path, series="description~t1 & thickness>2")) == {"000003D1": 2, "000007A2": 2}
    nothing = find(tmp_path, series="description~pet")
    assert all("none suits" in case.problem and "not as the rule wants" in case.problem for case in nothing.values())
    with pytest.raises(LLMBoostError, match=r"no series fits --series 9\.9"):
        find(tmp_path, series="9.9")


def test_a_series_that_only_some_studies_have_is_told(find, told, tmp_path):
    for n in (1, 2, 3):
        written = write_study(tmp_path, n)
        if n == 3:
            shutil.rmtree(written[4][0].parent)
    assert taken(find(tmp_path, series="4")) == {"000003D1": 4, "000007A2": 4}
    assert told[0] == f"{tmp_path}: left out 1 of 3 studies, which have no series 4"


def test_a_repeated_scan_is_a_doubt_that_is_told(find, tmp_path):
    write_study(tmp_path, 1)
    write_series(
        tmp_path / "again",
        np.ones((12, 40, 30), np.int16),
        direction=np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]]),
        Modality="MR",
        SeriesNumber=7,
        SeriesDescription="t1_mprage_sag_iso",
        StudyInstanceUID="1.2.7.1",
        PatientID="SECRET1",
        StudyDescription="MR BRAIN",
        ImageType=["ORIGINAL", "PRIMARY", "M"],
    )
    (case,) = find(tmp_path).values()
    assert case.series.number == 3
    doubt = [note for note in case.notes if "suit equally well" in note]
    assert len(doubt) == 1
    assert "3: MR 't1_mprage_sag_iso' was taken" in doubt[0]
    assert "7: MR 't1_mprage_sag_iso'" in doubt[0]


def test_a_dicomdir_is_its_folder(find, tmp_path):
    files = FileSet()
    for number, paths in write_study(tmp_path / "in", 1).items():
        for path in paths if number in (2, 3) else ():
            files.add(path)
    files.write(tmp_path / "disc")
    assert taken(find(tmp_path / "disc" / "DICOMDIR")) == {"disc": 3}
    assert taken(find(tmp_path / "disc")) == {"disc": 3}


@pytest.fixture
def disc(tmp_path):
    """A disc with two series of a study, and the files of each, by number."""
    files = FileSet()
    for number, paths in write_study(tmp_path / "in", 1).items():
        for path in paths if number in (3, 5) else ():
            files.add(path)
    files.write(tmp_path / "disc")
    written = defaultdict(list)
    for path in sorted((tmp_path / "disc").rglob("*")):
        if path.is_file() and path.name != "DICOMDIR":
            written[dcmread(path).SeriesNumber].append(path)
    return tmp_path / "disc", written


def test_what_a_dicomdir_lists_and_is_not_there_is_told(find, told, disc):
    """As of a disc that was copied in part: a series that ends early looks whole by itself."""
    folder, written = disc
    for path in written[3][-2:]:
        path.unlink()
    cases = find(folder)
    assert taken(cases) == {"disc": 5}
    (note,) = cases["disc"].notes
    assert note.startswith("not taken, for it cannot be read: 3: MR 't1_mprage_sag_iso' (")
    assert f"{folder / 'DICOMDIR'} lists 12 images of it, and 2 are not there" in note
    for path in written[3][:-2]:
        path.unlink()
    assert taken(find(folder)) == {"disc": 5}
    assert told[0].endswith("of 2 series; left 3: MR '' (listed in DICOMDIR, but not there)")


def test_a_dicomdir_of_before_its_files_were_renamed(find, told, disc):
    folder, written = disc
    for number, path in enumerate(path for paths in written.values() for path in paths):
        path.rename(folder / f"{number:03d}.dcm")
    cases = find(folder)
    assert taken(cases) == {"disc": 3}
    assert not cases["disc"].notes
    (folder / "DICOMDIR").write_bytes((folder / "DICOMDIR").read_bytes()[:2000])
    assert taken(find(folder)) == {"disc": 3}


def test_archives_are_told(find, told, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "study.ZIP").touch()
    with pytest.raises(LLMBoostError, match=r"no images in this folder .* unpack 1 archive \(study\.ZIP\) first"):
        find(tmp_path)
    write_study(tmp_path, 1)
    assert taken(find(tmp_path)) == {tmp_path.name: 3}
    assert f"{tmp_path}: left out 1 archive (study.ZIP); to take what is in there, unpack first" in told


def test_copies_and_halves_of_a_series_in_two_folders(find, tmp_path):
    """Beside what viewers and systems leave there: each image counts once, wherever it lies."""
    (tmp_path / "again").mkdir()
    files = write_study(tmp_path / "Müller 研究", 1, SpecificCharacterSet="ISO_IR 192", PatientName="Müller^研究")[3]
    for path in files[:8]:
        shutil.copy(path, tmp_path / "again" / path.name)
    for path in files[4:8]:
        path.unlink()
    (tmp_path / "again" / "._0001").write_bytes(bytes.fromhex("0005160700020000") + bytes(100))
    for name in ("Thumbs.db", "report.pdf", "VIEWER.EXE", ".DS_Store"):
        (tmp_path / name).write_bytes(b"%PDF-1.4" + bytes(600))
    (case,) = find(tmp_path).values()
    assert (case.series.number, len(case.files), case.notes) == (3, 12, ())


def test_patients_of_one_study_uid_are_several_and_none_is_one_by_folder(find, tmp_path):
    for n, name in enumerate("ab"):
        write_study(tmp_path / "same" / name, 1, PatientID=f"P{n}")
        write_study(tmp_path / "none" / name, 1, PatientID="", PatientName="", StudyInstanceUID="")
    assert sorted(taken(find(tmp_path / "same")).values()) == [3, 3]
    studies, _ = find_studies(tmp_path / "same")
    assert len({study.key for study in studies}) == 2


def test_an_enhanced_series_is_known_by_its_frames(card, tmp_path):
    array = np.zeros((9, 16, 20), np.int16)
    write_enhanced(tmp_path / "e", array, spacing=(0.5, 0.75, 2), Modality="MR", SeriesNumber=2, ImageType=["ORIGINAL"])
    ((study,), _) = find_studies(tmp_path)
    (facts,) = study.facts
    assert (facts.slices, facts.volumes, facts.plane, facts.step) == (9, 1, "axial", 2)
    assert facts.spacing == (0.5, 0.75, 2)
    assert facts.extent == (10, 12, 18)


# ---- damage


def test_a_bad_file_stops_neither_its_study_nor_others(find, told, tmp_path):
    written = {n: write_study(tmp_path, n) for n in (1, 2)}
    bad = written[1][3][4]
    bad.write_bytes(bad.read_bytes()[:700])
    cases = find(tmp_path)
    assert taken(cases) == {"000003D1": 5, "000007A2": 3}, "the next best"
    (note,) = cases["000003D1"].notes
    assert note.startswith("not taken, for it cannot be read: 3: MR 't1_mprage_sag_iso' (")
    assert str(bad) in note


def test_a_bad_file_of_unknown_series_is_told_with_each_case(find, told, tmp_path):
    write_study(tmp_path, 1, folder="flat")
    junk = tmp_path / "flat" / "JUNK"
    junk.write_bytes(bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI" + bytes(40))
    (case,) = find(tmp_path).values()
    assert case.series.number == 3
    assert str(junk) in case.notes[0]
    assert "slices may be missing" in case.notes[0]
    assert any(str(junk) in line for line in told)


# ---- BIDS


def test_a_bids_tree(find, told, tmp_path):
    for session in ("01_ses-1", "01_ses-2", "02_ses-1"):
        write_bids(tmp_path, f"sub-{session}_T1w", Modality="MR", ImageType=["ORIGINAL", "PRIMARY", "M"])
        write_bids(tmp_path, f"sub-{session}_acq-thick_T2w", (1, 1, 5))
        write_bids(tmp_path, f"sub-{session}_task-rest_bold", (3, 3, 3))
        write_bids(tmp_path, f"sub-{session}_desc-brain_mask")
        write_bids(tmp_path / "derivatives" / "tool", f"sub-{session}_desc-preproc_T1w")
    (tmp_path / "dataset_description.json").write_text("{}")
    cases = find(tmp_path)
    assert list(cases) == ["sub-01_ses-1_T1w", "sub-01_ses-2_T1w", "sub-02_ses-1_T1w"]
    first = cases["sub-01_ses-1_T1w"]
    assert first.files == (tmp_path / "sub-01" / "ses-1" / "anat" / "sub-01_ses-1_T1w.nii.gz",)
    left = {one["series"].split("'")[1]: one["why"] for one in first.chosen["left"]}
    assert left["sub-01_ses-1_desc-brain_mask"] == "a mask"
    assert left["sub-01_ses-1_acq-thick_T2w"] == "5 mm, the model works at 1 mm"
    assert "sub-01_ses-1_task-rest_bold" in left
    assert find(tmp_path, series="description~T2w").keys() == {
        "sub-01_ses-1_acq-thick_T2w", "sub-01_ses-2_acq-thick_T2w", "sub-02_ses-1_acq-thick_T2w"
    }  # fmt: skip


def test_of_mp2rage_the_uniform_image_is_taken_and_no_phase(find, tmp_path):
    for part in ("inv-1_part-mag_MP2RAGE", "inv-1_part-phase_MP2RAGE", "inv-2_part-mag_MP2RAGE", "UNIT1", "T1map"):
        write_bids(tmp_path, f"sub-01_{part}")
    write_bids(tmp_path, "sub-02_part-phase_T1w")
    write_bids(tmp_path, "sub-02_part-real_T1w")
    cases = find(tmp_path)
    assert list(cases) == ["sub-01_UNIT1", "sub-02"]
    assert not cases["sub-01_UNIT1"].notes
    assert cases["sub-02"].problem.count("(no magnitude image)") == 2


def test_bids_subjects_of_two_data_sets_and_damaged_files(find, told, tmp_path):
    for name in ("a", "b"):
        write_bids(tmp_path / name, "sub-01_T1w")
        write_bids(tmp_path / name, "sub-01_FLAIR")
    (tmp_path / "b" / "sub-01" / "anat" / "sub-01_T1w.nii.gz").write_bytes(b"\x1f\x8bno")
    (tmp_path / "a" / "sub-01" / "anat" / "sub-01_FLAIR.json").write_text("{broken")
    cases = find(tmp_path)
    assert set(cases) == {"sub-01_T1w", "sub-01_FLAIR"}
    assert "cannot be read" in cases["sub-01_FLAIR"].notes[0]


@pytest.fixture
def four(card):
    """The card of a model of four channels."""
    steps = Preprocessing(channels=4, normalization=(Normalization(),) * 4)
    return replace(card, preprocessing=steps, modality="FLAIR, T1w, t1gd, T2w")


def test_a_model_of_several_channels_takes_an_image_each(find, four, tmp_path):
    for session in ("sub-01_ses-1", "sub-01_ses-2", "sub-02"):
        for name in ("T1w", "ce-gadolinium_T1w", "FLAIR", "T2w", "desc-brain_mask"):
            write_bids(tmp_path, f"{session}_{name}")
    (tmp_path / "sub-01" / "ses-2" / "anat" / "sub-01_ses-2_FLAIR.nii.gz").unlink()
    write_bids(tmp_path, "sub-02_acq-fast_T2w")
    cases = find(tmp_path, of=four)
    assert list(cases) == ["sub-01_ses-1", "sub-01_ses-2", "sub-02"]
    assert [file.name.removeprefix("sub-01_ses-1_") for file in cases["sub-01_ses-1"].files] == [
        "FLAIR.nii.gz", "T1w.nii.gz", "ce-gadolinium_T1w.nii.gz", "T2w.nii.gz"
    ]  # fmt: skip
    assert not cases["sub-01_ses-1"].problem
    assert "of session 'sub-01_ses-2' there is no FLAIR; name" in cases["sub-01_ses-2"].problem
    assert "of session 'sub-02' there is 2 T2w; name" in cases["sub-02"].problem


def test_channels_that_nobody_knows_are_refused(find, four, tmp_path):
    write_bids(tmp_path, "sub-01_T1w")
    for modality in ("", "MR", "T1, T1w, FLAIR, T2", "T1, T2"):
        with pytest.raises(LLMBoostError, match="which is which of the model's 4 channels"):
            find(tmp_path, of=replace(four, modality=modality))


def test_nnunets_names_of_channels_are_no_sessions(find, four, tmp_path, make_case):
    for channel in range(4):
        write_image(make_case(20)[0], tmp_path / f"sub-01_{channel:04d}.nii.gz")
    cases = find(tmp_path, of=four)
    assert {id: len(case.files) for id, case in cases.items()} == {"sub-01": 4}


def test_images_of_no_study_are_left_alone_where_a_series_is_asked_for(find, told, tmp_path, make_case):
    write_study(tmp_path, 1)
    write_image(make_case(20)[0], tmp_path / "other.nii.gz")
    assert set(find(tmp_path)) == {tmp_path.name, "other"}
    assert len(find(tmp_path, series="modality=MR")) == 1
    assert f"{tmp_path}: left out 1 image of which no study or series is known: other.nii.gz" in told


# ---- a batch


def test_a_batch_of_studies_has_a_row_each(trained_model, make_case, tmp_path):
    """One without anything that suits is refused, which stops nothing, and the reasons stand in the summary."""
    model = load_model(trained_model)
    phantom = make_case(20)[0]
    array = phantom.array.round().astype(np.int16).transpose()
    for n in (1, 2):
        write_study(tmp_path / "in", n, array)
    write_series(tmp_path / "in" / "pet", array, Modality="PT")
    cases = find_cases([tmp_path / "in"], model.card.preprocessing, Selection.of("number=3", model.card))
    rows = segment_cases(model, cases, tmp_path / "out", SegmentOptions())
    assert {row.id: row.status for row in rows} == {"000003D1": "ok", "000007A2": "ok", "pet": "refused"}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    first = next(row for row in summary["cases"] if row["id"] == "000003D1")
    assert first["series"]["taken"][0].startswith("3: MR 't1_mprage_sag_iso'")
    assert len(first["series"]["left"]) == 7
    text = (tmp_path / "out" / "summary.json").read_text()
    assert "SECRET" not in text
    assert "1.2.7" not in text


def test_the_command_line_tells_what_it_took(llmboost, refusal, trained_model, tmp_path):
    write_study(tmp_path / "in", 1)
    arguments = ("segment", tmp_path / "in", "--model", trained_model, "--output", tmp_path / "out")
    assert "--series 'colour=red': 'colour' is no word of a rule" in refusal(*arguments, "--series", "colour=red")
    done = llmboost(*arguments, "--series", "thickness<2 & modality=PT")
    assert done.status == 1
    assert "refused" in done.err + done.out
