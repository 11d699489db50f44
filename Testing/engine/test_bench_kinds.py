"""Kinds of experiments: what they train on, and measures that count cases as often as they are drawn."""

import json
import sys

import numpy as np
import pytest
import torch

from llmboost.bench.footprint import measured
from llmboost.bench.kinds import Context, classification, segmentation
from llmboost.bench.sources import read_source
from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from llmboost.io.dataset import read_dataset
from llmboost.metrics.classification import classification_scores
from llmboost.model import load_model

TINY = {"stem": [4, 8], "width": 16, "depth": 1, "heads": 2, "head_width": 8, "mlp": 16}


def context(folder, data):
    folder.mkdir(exist_ok=True)
    return Context(data, folder, torch.device("cpu"))


# -- segmentation ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, make_case, write_dataset):
    """Two sides each of six subjects to train on; a subject for validation."""
    ids = [f"case_{n:02d}" for n in range(1, 15)]
    cases = {id: make_case(n) for n, id in enumerate(ids)}
    splits = {"train": ids[:12], "val": ids[12:], "test": []}
    return write_dataset(tmp_path_factory.mktemp("pairs") / "pairs", cases, splits)


def part(dataset, folder, fraction, seed=0):
    folder.mkdir()
    found = read_dataset(segmentation.part_of(dataset, fraction, seed, folder / "data"))
    return [case.id for case in found.split("train")], [case.id for case in found.split("val")]


def test_share_of_the_subjects(pairs, tmp_path):
    settings = segmentation.Settings("pairs", sides=2)
    dataset = read_source(settings.data, context(tmp_path / "row", pairs.parent), settings.sides)
    shares = {fraction: part(dataset, tmp_path / f"{fraction}", fraction) for fraction in (0.01, 0.5, 1.0)}
    assert [len(train) for train, _ in shares.values()] == [2, 6, 12]
    assert {tuple(val) for _, val in shares.values()} == {("case_13", "case_14")}
    smaller, larger = set(shares[0.01][0]), set(shares[0.5][0])
    assert smaller < larger
    numbers = sorted(int(id[-2:]) for id in larger)
    assert all(numbers[n] + 1 == numbers[n + 1] and numbers[n] % 2 for n in range(0, 6, 2))  # both sides of each
    assert part(dataset, tmp_path / "again", 0.5) == shares[0.5]
    assert any(part(dataset, tmp_path / f"seed {seed}", 0.5, seed) != shares[0.5] for seed in (1, 2, 3))


def test_unknown_setting_and_data(tmp_path):
    row = {"id": "a/seed=0", "seed": 0, "settings": {"data": "nowhere", "color": "red"}}
    with pytest.raises(LLMBoostError, match=r"a/seed=0.*'color'.*settings are data, network"):
        segmentation.run(row, context(tmp_path / "row", tmp_path))
    del row["settings"]["color"]
    with pytest.raises(LLMBoostError, match="nowhere: no such folder"):
        segmentation.run(row, context(tmp_path / "row", tmp_path))


def test_row_of_a_network_to_compare_with(tmp_path):
    settings = {"data": "phantom", "network": "dynunet", "options": {"features": 4}, "steps": 1, "optimizer": "muon"}
    row = {"id": "dynunet/seed=0", "seed": 0, "settings": {**settings, "validations": 1, "split": "test"}}
    figures = segmentation.run(row, context(tmp_path / "row", tmp_path))
    assert [case["id"] for case in figures["cases"]] == [f"phantom_{n:02d}" for n in (8, 9, 10, 11)]
    assert figures["numbers"]["steps"] == 1
    left = {path.name for path in (tmp_path / "row").iterdir()}
    assert left == {"model.safetensors", "model.run"}
    assert read_card(tmp_path / "row" / "model.safetensors").training["config"]["optimizer"] == "muon"


def test_memory_of_a_process_is_its_own():
    ballast = np.ones(2**26)  # half a gigabyte of ours must not count
    code = "x = bytearray(2**28); x[::4096] = bytes(len(x[::4096])); print('held')"
    seconds, gigabytes, message = measured([sys.executable, "-c", code])
    assert message == "held"
    assert 0.25 < gigabytes < 0.4
    assert seconds > 0
    assert ballast[0] == 1


def test_a_command_that_fails_tells_why():
    with pytest.raises(LLMBoostError, match="status 3; out of paper"):
        measured([sys.executable, "-c", "print('out of paper'); raise SystemExit(3)"])


# -- classification ----------------------------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path):
    """A .npz file in MedMNIST's form: bright or dark squares in noise."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in {"train": 40, "val": 12, "test": 12}.items():
        labels = (np.arange(count) % 4 == 0).astype(np.uint8)[:, None]
        pictures = random.integers(0, 100, (count, 16, 16)).astype(np.uint8)
        pictures[:, 4:12, 4:12] += 120 * labels[:, :, None]
        arrays |= {f"{split}_images": pictures, f"{split}_labels": labels}
    path = tmp_path / "squares.npz"
    np.savez(path, **arrays)
    (tmp_path / "squares.json").write_text(json.dumps({"classes": ["dark", "bright"]}))
    return path


def test_classification_row(images, tmp_path):
    settings = {
        "data": images.name,
        "options": TINY,
        "fraction": 0.5,
        "split": "test",
        "training": {"steps": 3, "batch": 4, "validations": 1},
    }
    row = {"id": "a/seed=1", "seed": 1, "settings": settings}
    figures = classification.run(row, context(tmp_path / "row", tmp_path))
    assert len(figures["cases"]) == 12
    assert json.loads(json.dumps(figures)) == figures
    model = load_model(tmp_path / "row" / "model.safetensors")
    assert [label.name for label in model.card.labels] == ["dark", "bright"]
    assert model.card.training["train_cases"] == 20
    again = classification.run(row, context(tmp_path / "again", tmp_path))
    assert again["cases"] == figures["cases"]
    assert again["val"] == figures["val"]


def test_share_of_the_images_keeps_the_classes(images, tmp_path):
    labels = {}
    for fraction in (0.02, 0.5):
        with np.load(classification.share_of(images, fraction, 0, tmp_path / f"{fraction}")) as file:
            labels[fraction] = file["train_labels"].ravel().tolist()
            assert len(file["train_images"]) == len(labels[fraction])
            assert len(file["val_images"]) == 12
    assert sorted(labels[0.02]) == [0, 1]
    assert (labels[0.5].count(0), labels[0.5].count(1)) == (15, 5)
    assert classification.share_of(images, 1.0, 0, tmp_path / "all") == images


def cases_of(chances, truth):
    return [
        {"id": n, "probabilities": p, "target": t}
        for n, (p, t) in enumerate(zip(chances.tolist(), truth.tolist(), strict=True))
    ]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("multi_label", [False, True])
def test_measures_equal_those_of_the_evaluation(classes, multi_label):
    random = np.random.default_rng(classes)
    chances = random.dirichlet(np.ones(classes), 60).round(2)  # rounded: some are equal
    truth = random.integers(0, 2, (60, classes)) if multi_label else np.eye(classes, dtype=int)[np.arange(60) % classes]
    weights = random.integers(0, 3, (3, 60)).astype(float)
    for measure in classification.MEASURES:
        found = measure(cases_of(chances, truth), weights)
        for value, counts in zip(found, weights.astype(int), strict=True):
            drawn = np.repeat(np.arange(60), counts)
            expected = classification_scores(chances[drawn], truth[drawn], multi_label=multi_label, resamples=0)
            assert value == pytest.approx(expected[measure.name]), measure.name


def test_draws_without_a_class():
    chances, truth = np.array([[0.2, 0.8], [0.6, 0.4]]), np.eye(2, dtype=int)
    weights = np.array([[2.0, 0.0], [1.0, 1.0]])
    found = classification.auc(cases_of(chances, truth), weights)
    assert np.isnan(found[0])
    assert found[1] == 0
    assert classification.balanced_accuracy(cases_of(chances, truth), weights).tolist() == [0, 0]
