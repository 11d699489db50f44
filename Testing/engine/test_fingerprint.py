"""What a data set is like, told before anything is trained on it."""

import json

import numpy as np
import pytest

from llmboost.io.dataset import read_dataset
from llmboost.io.datasetcheck import check
from llmboost.io.image import Image
from llmboost.learn.fingerprint import Fingerprint

LPS = np.eye(3)


@pytest.fixture
def bars(tmp_path, write_dataset):
    """Three cases of 1 x 2 x 4 mm, stored to the left, posterior, superior: one bar, two pieces, nothing but a bar."""

    def case(*boxes, value=100.0):
        label = np.zeros((8, 10, 6), np.uint8)
        for number, box in boxes:
            label[box] = number
        image = (value * (label > 0) + label).astype(np.float32)
        return [Image(array, (1, 2, 4), (0, 0, 0), LPS) for array in (image, label)]

    bar = (1, np.s_[1:5, 2:4, 1:3])
    piece = (2, np.s_[6:8, 8:10, 4:6])
    cases = {"a": case(bar), "b": case(bar, piece, (2, np.s_[0:1, 9:10, 0:1])), "c": case(bar, value=300.0)}
    return write_dataset(tmp_path / "bars", cases, {"train": ["a", "b"], "val": ["c"]})


@pytest.fixture
def found(bars):
    dataset = read_dataset(bars)
    facts = Fingerprint(dataset)
    check(dataset, dataset.cases.values(), facts.see)
    return facts.report()


def test_grids_along_the_patients_axes(found):
    assert found["spacing_mm"]["median"] == [1, 2, 4]
    assert found["size_voxels"]["max"] == [8, 10, 6]
    assert found["extent_mm"]["min"] == [8, 20, 24]
    assert found["stored_axes"] == {"LPS": 3}
    assert found["oblique"] == []


def test_labels(found):
    front, back = found["labels"]["1"], found["labels"]["2"]
    assert front["cases"] == {"train": 2, "val": 1}
    assert front["voxels"] == {"min": 16, "median": 16, "max": 16}
    assert front["volume_ml"]["median"] == pytest.approx(0.128)
    assert front["extent_mm"]["median"] == [4, 4, 8]
    assert front["pieces"]["max"] == 1
    assert back["cases"] == {"train": 1, "val": 0}
    assert back["pieces"]["max"] == 2
    assert back["voxels"]["max"] == 9


def test_intensities_of_labeled_voxels(found):
    (channel,) = found["foreground_intensity_properties_per_channel"].values()
    assert channel["name"] == "MRI"
    assert (channel["min"], channel["max"]) == (101, 301)
    assert channel["mean"] == pytest.approx((32 * 101 + 9 * 102 + 16 * 301) / 57, rel=1e-4)


def test_an_oblique_grid_and_an_image_of_one_value(tmp_path, write_dataset):
    turned = np.array([[np.cos(0.1), -np.sin(0.1), 0], [np.sin(0.1), np.cos(0.1), 0], [0, 0, 1]])
    label = np.zeros((6, 6, 6), np.uint8)
    label[2:4, 2:4, 2:4] = 1
    pair = [Image(array, (1, 1, 1), (0, 0, 0), turned) for array in (np.ones((6, 6, 6), np.float32), label)]
    dataset = read_dataset(write_dataset(tmp_path / "odd", {"odd": pair}))
    facts = Fingerprint(dataset)
    check(dataset, dataset.cases.values(), facts.see)
    found = facts.report()
    assert (found["oblique"], found["constant_images"]) == (["odd"], ["odd"])


def test_the_command(llmboost, refusal, dataset_folder, tmp_path):
    path = tmp_path / "f.json"
    done = llmboost("fingerprint", dataset_folder, "--json", path)
    assert done.status == 0, done.err
    assert "7 looked at, of 7 subjects" in done.out
    assert "left-right mirroring" in done.out
    written = json.loads(path.read_text())
    assert written["cases"] == {"train": 5, "val": 2, "test": 1}
    assert written["plan"]["preprocessing"]["channels"] == 1
    assert "exists already" in refusal("fingerprint", dataset_folder, "--json", path)
