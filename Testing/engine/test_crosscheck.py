"""A network for new labels, told by every case how good it is: by networks like it that have not seen the case."""

import json
import re
from itertools import chain

import numpy as np
import pytest
import torch

from llmboost.card import read_card
from llmboost.card.figures import measured
from llmboost.errors import Cancelled, LLMBoostError
from llmboost.io.image import write_image
from llmboost.learn.adaptation.common import AdaptSettings
from llmboost.learn.adaptation.crosscheck import cross_check
from llmboost.learn.adaptation.flow import adapt
from llmboost.learn.folds import RESULT
from llmboost.learn.train import run_folder
from llmboost.learn.trainingreport import REPORT
from llmboost.model import load_model

CPU = torch.device("cpu")
QUICK = AdaptSettings(steps=4)
EGGS = {"0": "background", "1": "white", "2": "yolk"}


@pytest.fixture
def eggs(tmp_path, make_case, write_dataset):
    """``eggs(count, ...)``: a folder of cases of labels that no model has."""

    def write(count, change=lambda seed, image, label: (image, label), subjects=None):
        cases = {f"egg_{seed}": change(seed, *make_case(seed)) for seed in range(30, 30 + count)}
        folder = write_dataset(tmp_path / "eggs", cases, labels=EGGS)
        if subjects:
            splits = {"train": list(cases), "val": [], "test": [], "subjects": subjects}
            (folder / "splits.json").write_text(json.dumps(splits))
        return folder

    return write


@pytest.fixture
def trained(eggs, trained_model, tmp_path):
    """``trained(count, ...)``: the folder, the file that was learned from it, and ``check(...)`` of it."""

    def run(*arguments, **options):
        folder, output = eggs(*arguments, **options), tmp_path / "egg.safetensors"
        adapt(trained_model, folder, output, QUICK, device=CPU)

        def check(count=None, settings=QUICK, **watching):
            return cross_check(trained_model, folder, output, settings, count, device=CPU, **watching)

        return folder, output, check

    return run


def test_every_case_is_told_of_by_a_network_that_has_not_seen_it(trained):
    _folder, output, check = trained(5)
    before, events = load_model(output), []
    checked = check(3, report=events.append)
    plan, *folds = [event for event in events if event["event"] == "plan"]
    assert plan["reasons"][0].startswith("3 folds of 1 to 2 case(s): as many networks learn without them, in 4 steps")
    assert sorted(chain(*(fold["held_out"] for fold in folds))) == [f"egg_{n}" for n in range(30, 35)]
    steps = [event for event in events if event["event"] == "step"]
    assert [event["fold"] for event in steps] == ["1 of 3"] * 4 + ["2 of 3"] * 4 + ["3 of 3"] * 4
    assert [round(event["fraction"], 2) for event in steps[3::4]] == [0.33, 0.67, 1.0]
    assert {case["id"] for case in checked.found.cases} == {f"egg_{n}" for n in range(30, 35)}
    assert checked.folds == 3

    after = load_model(output)
    assert after.card.digest == before.card.digest, "the network stays"
    assert after.card.to_json() == checked.card.to_json()
    figures, case_dice = after.card.figures, checked.found.case_dice
    assert figures["after"] == before.card.figures["after"]
    assert figures["out_of_fold_dice"] == pytest.approx(np.mean(list(case_dice.values())))
    assert figures["out_of_fold_dice_per_label"] == pytest.approx(checked.found.label_dice)
    for value, worst in figures["out_of_fold_worst_dice_per_label"].items():
        assert worst == min(case["dice"][value] for case in checked.found.cases)
    assert measured(after.card).endswith("on cross-validated cases")
    told = after.card.training["cross_check"]
    assert (told["folds"], told["steps"], len(told["dice"])) == (3, 4, 5)
    assert "egg_3" not in after.card.to_json(), "ids may be names of patients"

    run = run_folder(output)
    found = json.loads((run / RESULT).read_text())
    assert found["digest"] == after.card.digest
    for case in found["cases"]:
        assert case["id"] in folds[case["fold"]]["held_out"]
    assert "egg_30" in (run / REPORT).read_text()
    assert not (run / "folds").exists()


def test_a_subject_is_in_one_fold(trained):
    subjects = {f"egg_{n}": f"hen {n // 2}" for n in range(30, 38)}
    _folder, output, check = trained(8, subjects=subjects)
    assert check().folds == 4, "as many as there are subjects"
    found = json.loads((run_folder(output) / RESULT).read_text())
    homes = {(subjects[case["id"]], case["fold"]) for case in found["cases"]}
    assert len(homes) == len(set(subjects.values()))


def test_a_label_of_one_fold_alone_says_nothing(trained):
    def change(seed, image, label):
        return image, label if seed == 30 else label.with_array(np.where(label.array == 2, 0, label.array))

    _folder, _output, check = trained(4, change)
    (warning,) = check().warnings
    assert warning.startswith("yolk: only the cases of one fold show it, so its figure says nothing")


def test_cancelled_all_is_as_it_was(trained):
    _folder, output, check = trained(3)
    before = {path: path.read_bytes() for path in (output, *run_folder(output).iterdir())}
    seen = []
    with pytest.raises(Cancelled):
        check(report=seen.append, cancelled=lambda: any(event.get("fold") == "2 of 3" for event in seen))
    assert {path: path.read_bytes() for path in (output, *run_folder(output).iterdir())} == before
    assert check().folds == 3


def test_a_killed_check_goes_on(trained):
    _folder, output, check = trained(3)
    before, events = output.read_bytes(), []

    def stop(event):
        events.append(event)
        if [event["event"] for event in events].count("step") == 7:  # the third of the second fold
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(report=stop)
    assert output.read_bytes() == before
    events.clear()
    check(report=events.append)
    assert [event["step"] for event in events if event["event"] == "step"] == [3, 4, 1, 2, 3, 4]


def test_a_killed_check_in_other_folds_begins_anew(trained):
    _folder, _output, check = trained(4)
    events = []

    def stop(event):
        if event["event"] == "step":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(3, report=stop)
    assert check(4, report=events.append).folds == 4
    assert len([event for event in events if event["event"] == "step"]) == 16


def test_what_was_found_goes_when_training_goes_on(trained, trained_model):
    folder, output, check = trained(3)
    check()
    assert "out_of_fold_dice" in read_card(output).figures
    adapt(trained_model, folder, output, AdaptSettings(steps=6), device=CPU, resume=True)
    card, run = read_card(output), run_folder(output)
    assert "out_of_fold_dice" not in card.figures
    assert "cross_check" not in card.training
    assert not (run / RESULT).exists()
    assert not (run / REPORT).exists()
    check(settings=AdaptSettings())  # its budget is the run's
    assert read_card(output).training["cross_check"]["steps"] == 6


def test_what_cannot_be_checked_is_one_line(trained, trained_model, dataset_folder, make_case, tmp_path):
    folder, output, check = trained(4)
    for count, why in ((2, "2 folds: of 4 subjects, take 3 to 4"), (5, "5 folds: of 4 subjects, take 3 to 4")):
        with pytest.raises(LLMBoostError, match=why):
            check(count)
    with pytest.raises(LLMBoostError, match=r"another one \(steps: 4 then, 9 now\)"):
        check(settings=AdaptSettings(steps=9))
    with pytest.raises(LLMBoostError, match="no run that ended, whose model could be checked; train it first"):
        cross_check(trained_model, folder, tmp_path / "other.safetensors", QUICK, device=CPU)
    assert not run_folder(tmp_path / "other.safetensors").exists()
    with pytest.raises(LLMBoostError, match="folds are for networks that learned new labels"):
        cross_check(trained_model, dataset_folder, output, QUICK, device=CPU)
    image = make_case(31)[0]
    write_image(image.with_array(image.array + 1), folder / "imagesTr" / "egg_31.nii.gz")
    with pytest.raises(LLMBoostError, match="training case egg_31 was changed"):
        check()
    output.write_bytes(b"another's")
    write_image(image, folder / "imagesTr" / "egg_31.nii.gz")
    with pytest.raises(LLMBoostError, match="is not what the run in"):
        check()


def test_two_cases_are_too_few(trained):
    _folder, _output, check = trained(2)
    with pytest.raises(LLMBoostError, match=r"2 subject\(s\) with labels, and .* takes 3; add cases"):
        check()


def test_the_command(llmboost, refusal, eggs, trained_model, dataset_folder, tmp_path):
    folder, output = eggs(3), tmp_path / "egg.safetensors"
    arguments = ("adapt", trained_model, folder, "--output", output, "--steps", 2)
    assert "4 folds: of 3 subjects, take 3 to 3" in refusal(*arguments, "--folds", 4)
    assert not output.exists(), "refused before it is trained"
    known = ("adapt", trained_model, dataset_folder, "--output", output, "--steps", 2, "--folds", 3)
    assert "and folds are for new labels; leave them out" in refusal(*known)
    done = llmboost(*arguments)
    assert re.search(r"to check on every case, in about \d+\.\d minutes: the same command with --folds 3", done.out)
    checked = llmboost(*arguments, "--folds", 3)
    assert checked.status == 0, checked.err
    assert "trained 2 of 2 steps" in checked.out
    assert "steps; took" not in checked.out, "a run that ended is checked alone"
    assert "Dice out of fold: 0." in checked.out
    assert "3 cases, each by a network that had not seen it" in checked.out
    assert "white 0." in checked.out
    assert "(at worst 0." in checked.out
    assert "by case: egg_3" in checked.out
    assert "checked by 3 networks" in checked.out


def test_the_command_trains_first(llmboost, eggs, trained_model, tmp_path):
    output = tmp_path / "egg.safetensors"
    done = llmboost("adapt", trained_model, eggs(3), "--output", output, "--steps", 2, "--folds", 3)
    assert done.status == 0, done.err
    assert done.out.index("2 steps; took") < done.out.index("checked by 3 networks")
    assert "to check on every case" not in done.out
    assert read_card(output).training["cross_check"]["folds"] == 3
