"""`llmboost evaluate`: the measures of a split, as a file of a fixed form."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from llmboost.evaluation import evaluate
from llmboost.inference.segment import segment
from llmboost.io.dataset import read_dataset
from llmboost.io.image import Image, read_image
from llmboost.metrics.segmentation import segmentation_scores
from llmboost.model import load_model

IDS = ["case_60", "case_61", "case_62"]


@pytest.fixture(scope="module")
def model(trained_model):
    return load_model(trained_model)


@pytest.fixture(scope="module")
def cases(make_case):
    return {id: make_case(int(id[-2:])) for id in IDS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_dataset, cases):
    """A data set of three test cases. Shared: do not change it."""
    return write_dataset(tmp_path_factory.mktemp("measured"), cases, {"test": IDS})


def measured(model, folder):
    return evaluate(model, read_dataset(folder), "test")


def test_the_file(llmboost, folder, trained_model, model, cases, tmp_path):
    path = tmp_path / "new" / "result.json"
    done = llmboost("evaluate", folder, "--model", trained_model, "--json", path)
    assert done.status == 0, done.err
    result = json.loads(path.read_text())
    assert {key: result[key] for key in ("model", "digest", "dataset", "split", "mirror", "n_cases")} == {
        "model": "ellipsoids", "digest": model.card.digest, "dataset": "Ellipsoids", "split": "test", "mirror": False,
        "n_cases": 3,
    }  # fmt: skip
    assert [case["id"] for case in result["cases"]] == IDS
    for case, (image, truth) in zip(result["cases"], cases.values(), strict=True):
        found = segment(model, [image]).labelmap.array
        expected = segmentation_scores(found, truth.array, image.spacing, (1, 2))
        assert {key: case[key] for key in expected} == expected
        assert set(case["dice"]) == set(case["hd95_mm"]) == set(case["nsd_1mm"]) == {"1", "2"}
        assert case["seconds"] > 0
        for value in (1, 2):
            a, b = found == value, truth.array == value
            assert case["dice"][str(value)] == pytest.approx(2 * np.sum(a & b) / (a.sum() + b.sum()))
    mean = np.mean([np.mean(list(case["dice"].values())) for case in result["cases"]])
    assert result["mean_dice"] == pytest.approx(mean)
    assert mean > 0.7
    low, high = result["mean_dice_ci95"]
    assert low <= mean <= high
    assert f"mean Dice {mean:.4f} (95 % interval {low:.4f} to {high:.4f})" in done.out
    assert "front" in done.out


def test_every_look_at_a_test_list_leaves_a_line(llmboost, folder, trained_model, tmp_path):
    path = tmp_path / "result.json"
    for count in (1, 2):
        assert llmboost("evaluate", folder, "--model", trained_model, "--json", path).status == 0
        lines = [json.loads(line) for line in (tmp_path / "result.jsonl").read_text().splitlines()]
        assert len(lines) == count
    result = json.loads(path.read_text())
    for line in lines:
        assert line["event"] == "evaluation"
        assert line["time"].endswith("+00:00")
        assert line["mean_dice"] == result["mean_dice"]
        assert (line["split"], line["n_cases"], line["digest"]) == ("test", 3, result["digest"])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["result.json", "result.jsonl"]


@pytest.mark.parametrize(
    ("axes", "flips"), [((2, 0, 1), (True, False, True)), ((1, 0, 2), (False, True, False))], ids=str
)
def test_the_order_of_storage_changes_nothing(model, folder, cases, reordered, write_dataset, tmp_path, axes, flips):
    turned = {id: tuple(reordered(image, axes, flips) for image in case) for id, case in cases.items()}
    again = measured(model, write_dataset(tmp_path / "turned", turned, {"test": IDS}))
    first = measured(model, folder)
    for a, b in zip(first["cases"], again["cases"], strict=True):
        for measure in ("dice", "hd95_mm", "nsd_1mm", "volume_ml"):
            assert b[measure] == pytest.approx(a[measure], abs=1e-4)
    assert again["mean_dice"] == pytest.approx(first["mean_dice"], abs=1e-4)


def test_distances_are_millimetres(model, cases, write_dataset, tmp_path):
    """On an anisotropic, oblique grid; computed with the grid's own spacing."""
    image, truth = cases[IDS[0]]
    direction = Rotation.from_euler("y", 8, degrees=True).as_matrix() @ image.direction
    thick = [Image(i.array[:, :, ::2], (1, 1, 2), i.origin, direction) for i in (image, truth)]
    (case,) = measured(model, write_dataset(tmp_path / "thick", {"a": tuple(thick)}, {"test": ["a"]}))["cases"]
    found = segment(model, [thick[0]]).labelmap.array
    assert case["hd95_mm"] == pytest.approx(
        segmentation_scores(found, thick[1].array, (1, 1, 2), (1, 2))["hd95_mm"], abs=0.02
    )
    assert case["hd95_mm"] != segmentation_scores(found, thick[1].array, (1, 1, 1), (1, 2))["hd95_mm"]


def test_unlabelled_voxels_do_not_count(model, cases, write_dataset, tmp_path):
    image, truth = cases[IDS[1]]
    partly = truth.array.copy()
    partly[:, :14] = 9
    labels = {"0": "background", "1": "front", "2": "back", "9": "ignore"}
    folder = write_dataset(tmp_path / "partly", {"a": (image, truth.with_array(partly))}, {"test": ["a"]}, labels)
    (case,) = measured(model, folder)["cases"]
    assert set(case["dice"]) == {"1", "2"}
    found = segment(model, [image]).labelmap.array
    a, b = found[:, 14:] == 1, partly[:, 14:] == 1
    assert case["dice"]["1"] == pytest.approx(2 * np.sum(a & b) / (a.sum() + b.sum()))


def test_a_data_set_without_a_labelled_voxel(llmboost, trained_model, cases, write_dataset, tmp_path):
    image, truth = cases[IDS[1]]
    labels = {"0": "background", "1": "front", "2": "back", "9": "ignore"}
    unknown = truth.with_array(np.full_like(truth.array, 9))
    folder = write_dataset(tmp_path / "unknown", {"a": (image, unknown)}, {"test": ["a"]}, labels)
    done = llmboost("evaluate", folder, "--model", trained_model, "--json", tmp_path / "r.json")
    assert done.status == 0
    assert "mean Dice undefined" in done.out
    assert json.loads((tmp_path / "r.json").read_text())["mean_dice"] is None


def test_other_splits(llmboost, dataset_folder, trained_model, tmp_path, training):
    path = tmp_path / "val.json"
    assert llmboost("evaluate", dataset_folder, "--model", trained_model, "--json", path, "--split", "val").status == 0
    result = json.loads(path.read_text())
    assert [case["id"] for case in result["cases"]] == ["case_5", "case_6"]
    # at the model's own spacing, what training measured, but for the rounding of weights to 16 bits
    per_label = {label: np.mean([case["dice"][label] for case in result["cases"]]) for label in ("1", "2")}
    assert per_label == pytest.approx(training.card.figures["val_dice_per_label"], abs=0.01)


def test_what_is_refused(refusal, folder, trained_model, cases, write_dataset, tmp_path):
    def refused(folder, *options, json="r.json"):
        return refusal("evaluate", folder, "--model", trained_model, "--json", tmp_path / json, *options)

    assert "no cases in split 'val'" in refused(folder, "--split", "val")
    assert "no cases in split 'training'" in refused(folder, "--split", "training")
    assert "choose another extension" in refused(folder, json="r.jsonl")

    more = write_dataset(tmp_path / "more", cases, {"test": IDS}, {"0": "background", "1": "front", "3": "lid"})
    assert "model 'ellipsoids' has no label 3 (lid)" in refused(more)

    image, truth = cases[IDS[0]]
    small = Image(truth.array[:-1], truth.spacing, truth.origin, truth.direction)
    moved = Image(truth.array, truth.spacing, (0, 0, 0), truth.direction)
    for name, label in (("small", small), ("moved", moved)):
        line = refused(write_dataset(tmp_path / name, {"a": (image, label)}, {"test": ["a"]}))
        assert line.startswith(f"{tmp_path / name / 'labelsTr' / 'a.nii.gz'}: does not lie on the grid of its image")

    bare = write_dataset(tmp_path / "bare", {"a": (image, None)}, {"test": ["a"]})
    assert "a.nii.gz: no label map" in refused(bare)
    broken = write_dataset(tmp_path / "broken", {"a": (image, truth)}, {"test": ["a"]})
    (broken / "imagesTr" / "a.nii.gz").write_text("garbage")
    assert "a.nii.gz: not a NIfTI-1 file" in refused(broken)
    assert "no such folder" in refused(tmp_path / "absent")
    assert not (tmp_path / "r.json").exists()

    (tmp_path / "file").write_text("")
    assert "r.json: cannot be written" in refused(folder, json="file/r.json")


def test_labels_stored_as_float(model, cases, write_dataset, tmp_path):
    image, truth = cases[IDS[2]]
    folder = write_dataset(tmp_path / "f", {"a": (image, truth.with_array(truth.array.astype(np.float32)))}, None)
    assert read_image(folder / "labelsTr" / "a.nii.gz").array.dtype == np.float32
    (case,) = evaluate(model, read_dataset(folder), "val")["cases"]
    found = segment(model, [image]).labelmap.array
    assert case["dice"] == segmentation_scores(found, truth.array, image.spacing, (1, 2))["dice"]


def test_intervals_are_drawn_over_subjects(model, folder):
    dataset = dataclasses.replace(read_dataset(folder), subjects=dict.fromkeys(IDS[:2], "anna"))
    result = evaluate(model, dataset, "test")
    assert result["n_groups"] == 2
    assert result["mean_dice_ci95"] != measured(model, folder)["mean_dice_ci95"]
