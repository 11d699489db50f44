"""Cross-validation: who is held out when, one model of all folds, each case measured by whom it was held out from."""

import json
from itertools import chain

import pytest
import torch

from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from llmboost.evaluation import evaluate_segmenter
from llmboost.io.dataset import read_dataset
from llmboost.learn.crossvalidation import cross_validate
from llmboost.learn.folds import RESULT, folds, folds_folder
from llmboost.learn.train import Recipe
from llmboost.learn.trainer import TrainingConfig
from llmboost.model import load_model

CPU = torch.device("cpu")
TINY = {"stem": (4, 8, 8), "width": 16, "depth": 2, "heads": 2}
IDS = [f"case_{n:02d}" for n in range(11)]


def test_each_case_is_held_out_once_in_parts_of_about_the_same_size():
    parts = folds(IDS, 4)
    assert sorted(chain(*parts)) == IDS
    assert sorted(map(len, parts)) == [2, 3, 3, 3]


def test_the_same_seed_gives_the_same_parts_in_any_order():
    assert folds(IDS, 3, seed=1) == folds(IDS[::-1], 3, seed=1)
    assert folds(IDS, 3, seed=1) != folds(IDS, 3, seed=2)


def test_a_subject_stays_together():
    subjects = {id: f"subject {n // 3}" for n, id in enumerate(IDS)}
    parts = folds(IDS, 3, subjects)
    homes = [
        {n for n, part in enumerate(parts) for id in part if subjects[id] == one} for one in set(subjects.values())
    ]
    assert all(len(home) == 1 for home in homes)
    assert sorted(map(len, parts)) == [3, 3, 5]


@pytest.mark.parametrize(
    ("count", "what"), [(1, "takes two or more"), (12, "12 folds need as many subjects, there are 11")]
)
def test_folds_that_cannot_be(count, what):
    with pytest.raises(LLMBoostError, match=what):
        folds(IDS, count)


@pytest.fixture
def validate(dataset_folder, tmp_path):
    """``validate(...)``: a cross-validation in three folds, of one step each."""

    def run(report=lambda event: None, count=3, rate=1e-2, **options):
        recipe = Recipe(TrainingConfig(steps=2, rate=rate, validations=2), options=TINY)
        return cross_validate(
            dataset_folder, tmp_path / "cv.safetensors", recipe, count, device=CPU, report=report, **options
        )

    return run


def test_figures_are_those_of_the_member_that_did_not_see_the_case(validate, dataset_folder, tmp_path):
    events = []
    card = validate(events.append)
    assert read_card(tmp_path / "cv.safetensors").digest == card.digest
    folder = folds_folder(tmp_path / "cv.safetensors")
    found = json.loads((folder / RESULT).read_text())
    dataset = read_dataset(dataset_folder)
    assert sorted(case["id"] for case in found["cases"]) == sorted(dataset.splits["train"] + dataset.splits["val"])
    held_out = [event["held_out"] for event in events if event["event"] == "plan" and "held_out" in event]
    for case in found["cases"]:
        assert case["id"] in held_out[case["fold"]]
    assert card.figures["out_of_fold_dice"] == found["mean_dice"]
    assert card.figures["out_of_fold_dice_per_label"] == {v: one["mean"] for v, one in found["dice"].items()}
    assert (found["digest"], found["split"], found["n_cases"]) == (card.digest, "out of fold", 7)
    # by hand, for one fold
    last = held_out[2]
    model = load_model(folder / "fold_2.safetensors")
    dataset.splits["val"] = last
    by_hand = {case["id"]: case["dice"] for case in evaluate_segmenter(model, dataset, "val")["cases"]}
    assert {case["id"]: case["dice"] for case in found["cases"] if case["fold"] == 2} == by_hand
    # all members in one model, one after the other
    assert card.network["members"] == 3
    both = load_model(tmp_path / "cv.safetensors").network.members
    assert torch.equal(both[2].heads[0].weight, model.network.heads[0].weight)
    fractions = [round(event["fraction"], 2) for event in events if event["event"] == "step"]
    assert fractions == [
        0.17,
        0.33,
        0.5,
        0.67,
        0.83,
        1.0,
    ]


def test_a_stopped_cross_validation_goes_on_at_its_fold(validate, tmp_path):
    """Stopped in the middle of the second fold, after its first checkpoint."""
    path, events = tmp_path / "cv.safetensors", []

    def stop(event):
        events.append(event)
        if [event["event"] for event in events].count("step") == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        validate(stop)
    assert not path.exists()
    first = (folds_folder(path) / "fold_0.safetensors").read_bytes()
    assert not (folds_folder(path) / "fold_1.safetensors").exists()
    with pytest.raises(LLMBoostError, match="holds an earlier cross-validation; continue it with --resume"):
        validate()
    with pytest.raises(LLMBoostError, match=r"another cross-validation \(rate: 0.01 then, 0.02 now\)"):
        validate(resume=True, rate=2e-2)
    events.clear()
    card = validate(events.append, resume=True)
    assert [event["step"] for event in events if event["event"] == "step"] == [2, 1, 2]
    assert (folds_folder(path) / "fold_0.safetensors").read_bytes() == first
    assert card.network["members"] == 3


def test_the_command(llmboost, dataset_folder, tmp_path, refusal):
    arguments = ("train", dataset_folder, "--output", tmp_path / "cv.safetensors", "--steps", 1)
    done = llmboost(*arguments, "--folds", 2)
    assert done.status == 0, done.err
    assert "2 folds of 3 to 4 cases, 1 steps each" in done.out
    assert "2 networks together; out-of-fold Dice 0." in done.out
    assert "cross-validated cases" in llmboost("models", "show", tmp_path / "cv.safetensors").out
    assert "exists already" in refusal(*arguments, "--folds", 2)
    other = ("train", dataset_folder, "--output", tmp_path / "other.safetensors", "--steps", 1)
    assert "8 folds need as many subjects, there are 7" in refusal(*other, "--folds", 8)
