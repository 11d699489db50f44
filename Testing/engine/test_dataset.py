"""Data sets on disk, of either dialect, and what is said about broken ones."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from llmboost.errors import LLMBoostError
from llmboost.io.dataset import load, read_dataset
from llmboost.io.datasetcheck import check
from llmboost.io.image import Image, to_sitk, write_image


def image(value=0, shape=(4, 5, 6), origin=(0.0, 0.0, 0.0), dtype=np.int16):
    return Image(np.full(shape, value, dtype), (1.0, 1.0, 1.0), origin, np.eye(3))


@pytest.fixture
def folder(tmp_path, write_dataset):
    """Six small cases without splits."""
    return write_dataset(tmp_path / "data", {f"case_{n}": (image(n), image(n % 3)) for n in range(6)})


def edit(path, **changes):
    entries = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({key: value for key, value in {**entries, **changes}.items() if value is not None}))


def complaint(folder, which=None):
    """What reading (and checking) the data set says."""

    def look():
        dataset = read_dataset(folder)
        check(dataset, [dataset.cases[id] for id in which] if which else dataset.cases.values())

    with pytest.raises(LLMBoostError) as error:
        look()
    return str(error.value)


def test_decathlon_dialect(folder):
    dataset = read_dataset(folder)
    assert dataset.name == "Ellipsoids"
    assert dataset.modalities == ("MRI",)
    assert dataset.labels == {1: "front", 2: "back"}
    assert dataset.ignore is None
    assert (dataset.license, dataset.reference) == ("CC0", "made up")
    assert list(dataset.cases) == [f"case_{n}" for n in range(6)]
    images, label = load(dataset.cases["case_4"])
    assert [int(channel.array[0, 0, 0]) for channel in images] == [4]
    assert int(label.array[0, 0, 0]) == 1
    check(dataset, dataset.cases.values())


def test_nnunet_dialect_with_two_channels_and_ignore_label(tmp_path):
    for n, id in enumerate(("liver_001", "liver_002")):
        for name in ("imagesTr", "labelsTr"):
            (tmp_path / name).mkdir(exist_ok=True)
        for channel in (1, 0):
            write_image(image(10 * n + channel), tmp_path / "imagesTr" / f"{id}_000{channel}.nii.gz")
        write_image(image(3 * n), tmp_path / "labelsTr" / f"{id}.nii.gz")
    edit(
        tmp_path / "dataset.json",
        channel_names={"1": "T2", "0": "T1"},
        labels={"background": 0, "liver": 1, "ignore": 3},
        numTraining=2,
        file_ending=".nii.gz",
    )
    dataset = read_dataset(tmp_path)
    assert dataset.modalities == ("T1", "T2")
    assert dataset.labels == {1: "liver"}
    assert dataset.ignore == 3
    images, label = load(dataset.cases["liver_002"])
    assert [int(channel.array[0, 0, 0]) for channel in images] == [10, 11]
    assert int(label.array[0, 0, 0]) == 3
    check(dataset, dataset.cases.values())

    (tmp_path / "imagesTr" / "liver_002_0001.nii.gz").unlink()
    message = complaint(tmp_path)
    assert "imagesTr: 2 file(s) a case expected" in message
    assert "liver_002 has 1" in message


def test_numbered_names_are_no_channels(tmp_path, write_dataset):
    """Decathlon cases may be called patient_0001, labeled or not."""
    cases = {"patient_0001": (image(), image(1)), "patient_0002": (image(), None)}
    dataset = read_dataset(write_dataset(tmp_path / "data", cases))
    assert list(dataset.cases) == ["patient_0001", "patient_0002"]
    assert dataset.cases["patient_0002"].label is None


def test_splits_are_honoured(folder):
    edit(folder / "splits.json", train=["case_3", "case_0"], val=["case_1"], test=[])
    dataset = read_dataset(folder)
    assert [case.id for case in dataset.split("train")] == ["case_3", "case_0"]
    assert [case.id for case in dataset.split("val")] == ["case_1"]
    assert len(dataset.cases) == 6
    for name in ("test", "other"):
        with pytest.raises(LLMBoostError, match=rf"no cases in split '{name}'.*2 train, 1 val, 0 test"):
            dataset.split(name)


def test_splits_may_omit_lists(folder):
    edit(folder / "splits.json", train=["case_0"], author="me")
    assert read_dataset(folder).splits == {"train": ["case_0"], "val": [], "test": []}


@pytest.mark.parametrize("count", [1, 2, 5, 11])
def test_without_splits_every_fifth_labelled_case_validates(tmp_path, write_dataset, count):
    cases = {f"case_{n:02d}": (image(), image(1)) for n in range(count)}
    splits = read_dataset(write_dataset(tmp_path / "data", {**cases, "without": (image(), None)})).splits
    assert len(splits["val"]) == max(1, count // 5)
    assert sorted({*splits["train"], *splits["val"]}) == list(cases)
    assert not set(splits["train"]) & set(splits["val"]) or count == 1


def test_folders_may_be_symbolic_links(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("imagesTr", "labelsTr"):
        shutil.move(folder / name, elsewhere / name)
        (folder / name).symlink_to(elsewhere / name)
    link = tmp_path / "link"
    link.symlink_to(folder)
    dataset = read_dataset(link)
    check(dataset, dataset.cases.values())
    assert len(dataset.cases) == 6


def test_hidden_and_foreign_files_are_no_cases(folder):
    (folder / "imagesTr" / "._case_0.nii.gz").write_bytes(b"of a Mac")
    (folder / "imagesTr" / "notes.txt").write_text("mine")
    assert len(read_dataset(folder).cases) == 6


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"labels": None}, '"labels" must map values to names'),
        ({"labels": ["background", "liver"]}, '"labels" must map values to names'),
        ({"labels": {"background": 0, "whole": [1, 0], "core": 2}}, "no values of a label map"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "same value"),
        ({"labels": {"0": "background"}}, "no labels but background"),
        ({"labels": {}}, "no labels but background"),
        ({"modality": None}, '"modality" or "channel_names"'),
        ({"modality": ["MRI"]}, '"modality" or "channel_names"'),
        ({"modality": {"first": "MRI"}}, '"modality" or "channel_names"'),
    ],
)
def test_what_is_wrong_with_a_description(folder, changes, text):
    edit(folder / "dataset.json", **changes)
    message = complaint(folder)
    assert text in message
    assert message.startswith(str(folder))
    assert "\n" not in message


@pytest.mark.parametrize(
    ("splits", "text"),
    [
        ({"train": ["case_0", "case_9"]}, "no files for case_9"),
        ({"train": ["case_0"], "test": ["case_0"]}, "case_0 listed more than once"),
        ({"train": ["case_0", "case_0"]}, "case_0 listed more than once"),
        ({"train": 5}, '"train" must be a list'),
        ({"val": "case_0"}, '"val" must be a list'),
    ],
)
def test_what_is_wrong_with_splits(folder, splits, text):
    edit(folder / "splits.json", **splits)
    message = complaint(folder)
    assert message.startswith(str(folder / "splits.json"))
    assert text in message


def test_what_is_wrong_with_a_folder(folder, tmp_path):
    assert "no such folder" in complaint(tmp_path / "absent")
    for content, text in (("{", "no valid JSON"), ("[]", "a JSON object is expected"), (b"\xff", "no valid JSON")):
        (folder / "dataset.json").write_bytes(content if isinstance(content, bytes) else content.encode())
        assert text in complaint(folder)
    (folder / "dataset.json").unlink()
    assert f"{folder / 'dataset.json'}: cannot be read" in complaint(folder)


def test_folders_without_images_or_with_orphans(folder):
    (folder / "imagesTr" / "case_2.nii.gz").unlink()
    message = complaint(folder)
    assert "labelsTr: no image for case_2" in message
    shutil.rmtree(folder / "labelsTr")
    assert all(case.label is None for case in read_dataset(folder).cases.values())
    shutil.rmtree(folder / "imagesTr")
    assert "imagesTr: no such folder" in complaint(folder)
    (folder / "imagesTr").mkdir()
    assert "imagesTr: no images" in complaint(folder)


def test_one_case_in_two_formats(folder):
    write_image(image(), folder / "imagesTr" / "case_1.nrrd")
    assert "case_1 has 2" in complaint(folder)


def test_every_problem_is_listed_at_once(folder):
    images, labels = folder / "imagesTr", folder / "labelsTr"
    (labels / "case_0.nii.gz").unlink()
    write_image(image(shape=(4, 5, 7)), images / "case_1.nii.gz")
    write_image(image(origin=(0.0, 0.0, 9.0)), images / "case_2.nii.gz")
    write_image(image(7), labels / "case_2.nii.gz")
    # the image of NaN is written past write_image, which proves what it wrote
    bad = image(1, dtype=np.float32)
    bad.array[1, 2, 3] = 1234.5
    write_image(bad, images / "case_3.nii")
    (images / "case_3.nii.gz").unlink()
    content = (images / "case_3.nii").read_bytes()
    one, nan = np.float32(1234.5).tobytes(), np.float32(np.nan).tobytes()
    assert content.count(one) == 1
    (images / "case_3.nii").write_bytes(content.replace(one, nan))
    (images / "case_4.nii.gz").write_bytes(b"no image")
    (labels / "case_4.nii.gz").write_bytes(b"no image either")
    write_image(image(0.5, dtype=np.float32), labels / "case_5.nii.gz")

    head, *lines = complaint(folder).split("\n  ")
    expected = [
        (images / "case_0.nii.gz", "no label map"),
        (images / "case_1.nii.gz", "(4, 5, 7) voxels, but its label map (4, 5, 6)"),
        (images / "case_2.nii.gz", "elsewhere in space"),
        (labels / "case_2.nii.gz", "value(s) 7 are not among the labels"),
        (images / "case_3.nii", "NaN"),
        (images / "case_4.nii.gz", "not a NIfTI-1 file"),
        (labels / "case_4.nii.gz", "not a NIfTI-1 file"),
        (labels / "case_5.nii.gz", "value(s) 0.5 are not among the labels"),
    ]
    assert head == f"{folder}: {len(expected)} problem(s), mend them before training:"
    assert len(lines) == len(expected)
    for line, (path, text) in zip(lines, expected, strict=True):
        assert line.startswith(f"{path}: ")
        assert text in line


def test_sound_cases_of_a_broken_data_set_pass(folder):
    (folder / "imagesTr" / "case_4.nii.gz").write_bytes(b"no image")
    dataset = read_dataset(folder)
    check(dataset, [dataset.cases["case_0"]])
    assert "1 problem(s)" in complaint(folder, ["case_0", "case_4"])


def test_channels_along_a_fourth_axis(tmp_path, write_dataset, make_case):
    """The Decathlon stores several channels in one 4D file."""
    image, label = make_case(0)
    folder = write_dataset(tmp_path / "set", {"case_0": (image, label), "case_1": (image, label)})
    description = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**description, "modality": {"0": "T1", "1": "T2"}}))
    other = to_sitk(image.with_array(2 * image.array))
    sitk.WriteImage(sitk.JoinSeries([to_sitk(image), other]), str(folder / "imagesTr" / "case_0.nii.gz"))

    dataset = read_dataset(folder)
    channels, _ = load(dataset.cases["case_0"])
    assert len(channels) == 2
    assert all(channel.same_grid(label) for channel in channels)
    assert np.allclose(channels[1].array, 2 * channels[0].array)
    check(dataset, [dataset.cases["case_0"]])
    with pytest.raises(LLMBoostError, match=r"case_1.nii.gz: 1 volume\(s\), dataset.json names 2 channel"):
        check(dataset, dataset.cases.values())


def test_extensions_in_capitals(folder):
    for name in ("imagesTr", "labelsTr"):
        (folder / name / "case_0.nii.gz").rename(folder / name / "case_0.NII.GZ")
    dataset = read_dataset(folder)
    assert set(dataset.cases) == {f"case_{n}" for n in range(6)}
    assert load(dataset.cases["case_0"])[0][0].shape == (4, 5, 6)


def test_a_subject_stays_in_one_split(folder):
    subjects = {"case_0": "anna", "case_1": "anna", "case_2": "bert"}
    edit(folder / "splits.json", train=["case_0", "case_1"], val=["case_2"], subjects=subjects)
    assert read_dataset(folder).subjects == subjects
    edit(folder / "splits.json", train=["case_0"], val=["case_1"])
    assert "subject anna is in train and val" in complaint(folder)
