"""Labels of a data set: what is taken as meant, what is refused, and what is told before training."""

import json
import os
import shutil

import nibabel
import numpy as np
import pytest

from llmboost.card import Label
from llmboost.errors import LLMBoostError
from llmboost.io.dataset import load, read_dataset, unlabeled_cases
from llmboost.io.datasetcheck import check, gaps
from llmboost.io.image import Image, read_image, write_image
from llmboost.io.segnrrd import write_segmentation

SHAPE = (6, 7, 8)


def image(value=0, shape=SHAPE, origin=(3.0, -5.0, 9.0), dtype=np.int16, spacing=(1.0, 2.0, 3.0), direction=None):
    return Image(np.full(shape, value, dtype), spacing, origin, np.eye(3) if direction is None else direction)


@pytest.fixture
def drawing():
    """A label map in which no two voxels' surroundings are alike."""
    return image().with_array(np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8))


@pytest.fixture
def write(tmp_path, write_dataset):
    def make(label=None, count=3, **options):
        label = image(1, dtype=np.uint8) if label is None else label
        return write_dataset(tmp_path / "data", {f"case_{n}": (image(n), label) for n in range(count)}, **options)

    return make


def edit(path, **changes):
    entries = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({key: value for key, value in {**entries, **changes}.items() if value is not None}))


def refused(folder, labels=None):
    if labels is not None:
        edit(folder / "dataset.json", labels=labels)

    def look():
        dataset = read_dataset(folder)
        check(dataset, dataset.cases.values())

    with pytest.raises(LLMBoostError) as error:
        look()
    return str(error.value)


# -- dataset.json


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"0": "background", "1": "front", "2": "back"}, {1: "front", 2: "back"}),
        ({"background": 0, "front": 1, "back": 2}, {1: "front", 2: "back"}),
        ({"front": "1", "back": "2"}, {1: "front", 2: "back"}),  # no background, and text
        ({"back": 2, "background": 0, "front": 1}, {1: "front", 2: "back"}),  # in another order
        ({"background": 0, "front": [1], "back": 2.0}, {1: "front", 2: "back"}),
        ({"1": "front", "2": "back", "65535": "Ignore"}, {1: "front", 2: "back"}),
        ({"background": 0, "1": 1, "2": 2}, {1: "1", 2: "2"}),
        ({"0": "clear", "1": "front", "2": "back"}, {1: "front", 2: "back"}),
    ],
    ids=str,
)
def test_dialects(write, labels, expected):
    folder = write()
    edit(folder / "dataset.json", labels=labels)
    assert read_dataset(folder).labels == expected


@pytest.mark.parametrize(
    "value", [-1, 1.5, 70000, 2**40, 10**30, "1e3", "-1", "1.5", "one", "", True, None, {}, [True]]
)
def test_values_that_are_none(write, value):
    line = refused(write(), {"background": 0, "front": 1, "lid": value})
    assert "(lid)" in line
    assert "a whole number from 0 to 65535" in line
    assert "\n" not in line
    assert len(line) < 300


@pytest.mark.parametrize("key", ["-1", "1.5", "70000", "1e3", str(2**40), "9" * 5000])
def test_keys_that_are_no_values(write, key):
    line = refused(write(), {"0": "background", "1": "front", key: "lid"})
    assert "a whole number from 0 to 65535" in line
    assert "\n" not in line


def test_all_that_is_wrong_is_told_at_once(write):
    labels = {"0": "background", "-1": "a", "1.5": "b", "70000": "c", "7": 8, "9": " ", "3": "x\ny", "4": "d"}
    head, *lines = refused(write(), labels).split("\n  ")
    assert head.endswith("6 problem(s), mend them before training:")
    for told, line in zip(('"-1"', '"1.5"', '"70000"', '"7"', '"9"', '"3"'), lines, strict=True):
        assert told in line


def test_two_labels_of_one_value(write):
    assert "two labels have the same value 3" in refused(write(), {"3": "x", "03": "z"})


def test_a_background_that_is_not_zero(write):
    assert "the background has the value 0" in refused(write(), {"liver": 0, "background": 1, "spleen": 2})


@pytest.mark.parametrize("names", [("liver", "liver"), ("liver", "Liver "), ("left  lung", "Left lung")])
def test_two_values_of_one_name(write, names):
    line = refused(write(), {"0": "background", "1": names[0], "2": names[1]})
    assert "values 1 and 2 are both called" in line


def test_one_name_twice_in_the_file(write):
    folder = write()
    path = folder / "dataset.json"
    path.write_text(path.read_text().replace('"labels": {', '"labels": {"background": 0, "a": 1, "a": 2}, "x": {'))
    assert "'a' stands there twice" in refused(folder)


TUMOR = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing": [3]}  # of BraTS


def test_values_of_regions_are_called_by_what_they_alone_show(write):
    folder = write()
    edit(folder / "dataset.json", labels=TUMOR)
    dataset = read_dataset(folder)
    assert dataset.labels == {1: "whole tumor outside tumor core", 2: "tumor core outside enhancing", 3: "enhancing"}
    assert dataset.regions == {"whole tumor": {1, 2, 3}, "tumor core": {2, 3}, "enhancing": {3}}
    assert dataset.region_classes == [[1, 2, 3], [2, 3], [3]]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"lungs": [1, 2], "left": 1}, {1: "left", 2: "lungs outside left"}),
        ({"heart": [1, 2], "rest": 3}, {1: "heart 1", 2: "heart 2", 3: "rest"}),
        ({"one": [1, 2], "other": [2, 3]}, {1: "one 1", 2: "one 2", 3: "other 3"}),
        ({"all": [1, 2], "in": [2], "ignore": 3}, {1: "all outside in", 2: "in"}),
    ],
)
def test_names_of_values_of_other_regions(write, labels, names):
    folder = write()
    edit(folder / "dataset.json", labels={"background": 0, **labels})
    assert read_dataset(folder).labels == names


@pytest.mark.parametrize("values", [[], [1, 0], [1, "x"], [1, -2], [1, None]])
def test_regions_of_what_are_no_values(write, values):
    line = refused(write(), {"background": 0, "whole": values, "core": [1, 2]})
    assert "region whole" in line
    assert "\n" not in line


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark(write, encoding):
    folder = write(splits={"train": ["case_0"], "val": ["case_1"]})
    for name in ("dataset.json", "splits.json"):
        (folder / name).write_bytes((folder / name).read_text().encode(encoding))
    dataset = read_dataset(folder)
    assert (dataset.labels, dataset.splits["val"]) == ({1: "front", 2: "back"}, ["case_1"])


@pytest.mark.parametrize("channels", [True, ["CT"], {"0": True}, {"0": None}, 3, {"zero": "CT"}, {}])
def test_channels_that_are_none(write, channels):
    folder = write()
    edit(folder / "dataset.json", modality=None, channel_names=channels)
    assert '"modality" or "channel_names"' in refused(folder)


def test_file_ending(write):
    """Of nnU-Net: what else lies there is none of the data set's."""
    folder = write()
    edit(folder / "dataset.json", file_ending=".nii.gz")
    shutil.copy(folder / "imagesTr" / "case_1.nii.gz", folder / "imagesTr" / "other.nii.gz")
    write_image(image(), folder / "imagesTr" / "case_1.nrrd")
    assert set(read_dataset(folder).cases) == {"case_0", "case_1", "case_2", "other"}
    edit(folder / "dataset.json", file_ending=".png")
    assert '"file_ending" .png is not read in a data set; convert' in refused(folder)


# -- label maps


@pytest.mark.parametrize("offset", [1e-7, 9e-4, -9e-4])
def test_values_that_are_nearly_whole(write, drawing, offset):
    stored = drawing.with_array((drawing.array + np.float32(offset)).astype(np.float32))
    dataset = read_dataset(write(stored))
    check(dataset, dataset.cases.values())
    label = load(dataset.cases["case_0"])[1]
    assert label.array.dtype.kind in "iu"
    np.testing.assert_array_equal(label.array, drawing.array)


@pytest.mark.parametrize("value", [1.5, 0.998, -1, 256, 70000, 1e12])
def test_values_that_are_no_labels(write, value):
    folder = write(image(value, dtype=np.float32))
    line = refused(folder)
    assert "case_0.nii.gz: value(s) " in line
    assert "are not among the labels" in line
    assert line.count("\n") == 3


@pytest.mark.parametrize(("axes", "flips"), [((2, 0, 1), (1, 0, 1)), ((1, 0, 2), (0, 0, 0)), ((0, 1, 2), (1, 1, 0))])
def test_a_label_map_stored_along_other_axes(write, drawing, reordered, axes, flips):
    folder = write(reordered(drawing, axes, flips))
    dataset = read_dataset(folder)
    assert check(dataset, dataset.cases.values()).notes == ()
    images, label = load(dataset.cases["case_0"])
    np.testing.assert_array_equal(label.array, drawing.array)
    assert label.same_grid(images[0])


def test_a_direction_that_differs_in_the_fifth_decimal(write, drawing):
    """By hand: a turn of 0.00004 about k moves the voxel at the far end of j by 6 x 2 mm x 0.00004 along i."""
    turn = 4e-5
    direction = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    drawn = Image(drawing.array, drawing.spacing, drawing.origin, direction)
    dataset = read_dataset(write(drawn))
    check(dataset, dataset.cases.values())
    moved = Image(drawing.array, drawing.spacing, (3.04, -5.0, 9.0), np.eye(3))
    for n in range(3):
        write_image(moved, dataset.cases[f"case_{n}"].label)
    notes = check(dataset, dataset.cases.values()).notes
    assert notes[0].startswith("case_0: its label map lies 0.04 voxels off its image")
    images, label = load(dataset.cases["case_0"])
    np.testing.assert_array_equal(label.array, drawing.array)
    assert label.origin == images[0].origin


def test_a_label_map_further_off_is_refused_with_the_figure(write, drawing):
    moved = Image(drawing.array, drawing.spacing, (3.0, -5.0, 9.9), np.eye(3))
    assert "its label map lies elsewhere in space (spacing, origin or direction differ, by 0.3 voxels)" in refused(
        write(moved)
    )


LABELS = (Label(1, "front", (1, 2, 3)), Label(2, "back", (4, 5, 6)))


def as_segmentation(folder, label, labels=LABELS):
    for path in sorted((folder / "labelsTr").iterdir()):
        path.unlink()
        write_segmentation(label, labels, path.with_name(path.name.replace(".nii.gz", ".seg.nrrd")))


def test_a_segmentation_as_the_programme_writes_it(write, drawing):
    folder = write()
    as_segmentation(folder, drawing)
    dataset = read_dataset(folder)
    check(dataset, dataset.cases.values())
    assert sorted(dataset.cases) == ["case_0", "case_1", "case_2"]
    np.testing.assert_array_equal(load(dataset.cases["case_2"])[1].array, drawing.array)


def test_a_segmentation_of_the_part_around_its_segments(write, drawing):
    """As Slicer saves it; the expected map is made by hand."""
    folder = write()
    part = drawing.array[2:5, 1:4, 3:7]
    origin = tuple(np.array(drawing.origin) + np.array([2, 1, 3]) * drawing.spacing)
    as_segmentation(folder, Image(part, drawing.spacing, origin, np.eye(3)))
    dataset = read_dataset(folder)
    check(dataset, dataset.cases.values())
    expected = np.zeros(SHAPE, np.uint8)
    expected[2:5, 1:4, 3:7] = part
    np.testing.assert_array_equal(load(dataset.cases["case_0"])[1].array, expected)
    outside = Image(part, drawing.spacing, (origin[0] + 9, *origin[1:]), np.eye(3))
    as_segmentation(folder, outside)
    assert "they must agree" in refused(folder)


def test_a_segmentation_that_numbers_otherwise(write, drawing):
    folder = write()
    as_segmentation(folder, drawing, (Label(1, "back", (1, 2, 3)), Label(2, "front", (4, 5, 6))))
    assert "value 1 is 'back' here, where value 2 should be" in refused(folder)


def test_two_label_maps_of_one_case(write, drawing):
    folder = write()
    write_image(drawing, folder / "labelsTr" / "case_1.nrrd")
    assert "case_1.nii.gz and case_1.nrrd are both of case_1" in refused(folder)


# -- what is told before training


def test_gaps(tmp_path, write_dataset):
    one, both = image(1, dtype=np.uint8), image(1, dtype=np.uint8)
    both.array[0] = 2
    cases = {"a": (image(), one), "b": (image(), both), "c": (image(), None), "d": (image(), one), "e": (image(), one)}
    folder = write_dataset(tmp_path / "data", cases, {"train": ["a", "b"], "val": ["d"]})
    dataset = read_dataset(folder)

    def told(train, val):
        train, val = ([dataset.cases[id] for id in ids] for ids in (train, val))
        return gaps(dataset, check(dataset, [*train, *val]), train, val)

    rest = [
        "1 image(s) without a label map: c; nothing is learned from them",
        "1 labeled case(s) in no list of splits.json: e; not used",
    ]
    untaught, notes = told(["a", "b"], ["d"])
    assert untaught == []
    assert notes == ["no validation case shows back: how well it is learned will not be measured", *rest]
    untaught, notes = told(["a"], ["b"])
    assert untaught == ["back"]
    assert notes == ["no training case shows back: it cannot be learned; add a case, or take it out", *rest]
    assert told(["b"], ["b"]) == ([], rest)


# -- test sets of nnU-Net


def test_a_folder_with_labelled_test_images(write, tmp_path):
    folder = write()
    for name in ("imagesTs", "labelsTs"):
        (folder / name).mkdir()
    for id in ("t_0", "t_1"):
        write_image(image(5), folder / "imagesTs" / f"{id}.nii.gz")
    write_image(image(2, dtype=np.uint8), folder / "labelsTs" / "t_1.nii.gz")
    dataset = read_dataset(folder)
    assert dataset.splits["test"] == ["t_1"]
    assert not {"t_0", "t_1"} & {*dataset.splits["train"], *dataset.splits["val"]}
    assert [case.id for case in dataset.split("all")] == ["case_0", "case_1", "case_2", "t_1"]
    assert [case.id for case in unlabeled_cases(dataset)] == ["t_0"]
    for name in ("imagesTr", "labelsTr"):
        shutil.rmtree(folder / name)
    assert [case.id for case in read_dataset(folder).split("all")] == ["t_1"]


def test_a_case_in_both(write):
    folder = write()
    shutil.copytree(folder / "imagesTr", folder / "imagesTs")
    shutil.copytree(folder / "labelsTr", folder / "labelsTs")
    assert "case_0 is in imagesTr, too" in refused(folder)


def test_evaluating_without_splits(llmboost, refusal, write_dataset, trained_model, make_case, tmp_path):
    cases = {f"case_{n}": make_case(60 + n) for n in range(3)}
    folder = write_dataset(tmp_path / "bare", {**cases, "more": (make_case(70)[0], None)})
    result = tmp_path / "r.json"
    done = llmboost("evaluate", folder, "--model", trained_model, "--json", result)
    assert done.status == 0, done.err
    assert "all that are labeled were measured" in done.err
    assert [case["id"] for case in json.loads(result.read_text())["cases"]] == list(cases)
    assert json.loads(result.read_text())["split"] == "all"
    # a list that leaves the cases for testing out is no word to measure those of the training
    edit(folder / "splits.json", train=["case_0"], val=["case_1"])
    assert "no cases in split 'test'" in refusal("evaluate", folder, "--model", trained_model, "--json", result)
    # what was written is never written into another's file
    (folder / "splits.json").unlink()
    result.with_suffix(".jsonl").unlink()
    (tmp_path / "precious").write_text("precious")
    os.symlink(tmp_path / "precious", result.with_suffix(".jsonl"))
    assert "a link" in refusal("evaluate", folder, "--model", trained_model, "--json", result)
    assert (tmp_path / "precious").read_text() == "precious"


def test_names_exchanged_between_model_and_data(refusal, write_dataset, trained_model, make_case, tmp_path):
    folder = write_dataset(tmp_path / "x", {"a": make_case(60)}, labels={"0": "background", "1": "back", "2": "front"})
    line = refusal("evaluate", folder, "--model", trained_model, "--json", tmp_path / "r.json")
    assert "value 1 is 'back' here, where value 2 should be" in line


def test_what_nibabel_reads_is_what_is_learnt(write, drawing):
    """The voxels, by another reader."""
    dataset = read_dataset(write(drawing))
    case = dataset.cases["case_0"]
    np.testing.assert_array_equal(np.asarray(nibabel.load(case.label).dataobj), load(case)[1].array)
    assert read_image(case.label).same_grid(load(case)[1])
