"""Adapting from a folder of cases to a file that is used like any model."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch

import llmboost as package
from llmboost.card import read_card
from llmboost.errors import Cancelled, LLMBoostError
from llmboost.evaluation import evaluate
from llmboost.inference.segment import segment
from llmboost.io.dataset import read_dataset
from llmboost.io.image import Image, read_image, write_image
from llmboost.learn.adaptation.common import AdaptSettings
from llmboost.learn.adaptation.flow import adapt
from llmboost.learn.segmentation import SegmentationTask
from llmboost.learn.train import run_folder
from llmboost.learn.trainer import CHECKPOINT, LOG, Score
from llmboost.library import export_model, find, import_model, installed, remove_model
from llmboost.model import load_model, save_model

CPU = torch.device("cpu")
QUICK = AdaptSettings(steps=4, validations=2, rank=2)


@pytest.fixture
def base(trained_model, library_folder) -> Path:
    """The model of ellipsoids, in the library."""
    return library_folder / (import_model(trained_model).name + ".safetensors")


@pytest.fixture
def local(tmp_path, make_case, write_dataset):
    """``local(count, ...)``: a folder of cases as another scanner shows them, bright and dark exchanged."""

    def write(count, change=lambda image, label: (image, label), name="local", **options):
        cases = {}
        for seed in range(30, 30 + count):
            image, label = make_case(seed)
            cases[f"local_{seed}"] = change(image.with_array(300 - image.array), label)
        return write_dataset(tmp_path / name, cases, **options)

    return write


def run(base, folder, output, settings=QUICK, **options):
    return adapt(base, folder, output, settings, device=CPU, **options)


def test_it_learns_and_the_file_is_used_like_any_model(base, local, tmp_path, library_folder, dataset_folder):
    folder, output = local(8), tmp_path / "mine.safetensors"
    settings = AdaptSettings(steps=60, validations=4, rank=2, rate=1e-2)
    result = run(base, folder, output, settings, old=dataset_folder)
    assert result.after.mean_dice > result.before.mean_dice + 0.1
    assert result.stopped == "budget"
    assert result.steps == 60
    assert len(result.after.cases) == 2  # every fourth of eight
    assert set(result.after.cases[0]["dice"]) == {"1", "2"}
    assert result.old_before > 0.8
    assert result.old_after is not None
    assert sorted(path.name for path in run_folder(output).iterdir()) == [
        "adapt.json",
        CHECKPOINT,
        "curve.png",
        LOG,
    ]

    card, own = read_card(output), read_card(base)
    assert card.to_json() == result.card.to_json()
    assert (card.adapter.base, card.adapter.base_digest) == (own.name, own.digest)
    assert card.labels == own.labels
    assert len(card.adapter.cases) == 6
    assert all(len(digest) == 64 for digest in card.adapter.cases)
    assert "local_" not in card.to_json()  # no names of cases
    assert len(set(card.training["held_out"])) == 2
    assert card.figures["after"] == result.after.mean_dice
    assert output.stat().st_size < base.stat().st_size

    import_model(output)
    assert installed()["mine"].exists()
    one = segment(load_model(find("mine")), [read_image(folder / "imagesTr" / "local_33.nii.gz")])
    other = segment(load_model(output), [read_image(folder / "imagesTr" / "local_33.nii.gz")])
    np.testing.assert_array_equal(one.labelmap.array, other.labelmap.array)
    with pytest.raises(LLMBoostError, match="mine was adapted from it and needs it"):
        remove_model(own.name)
    export_model("mine", tmp_path / "copy.safetensors")
    remove_model("mine")
    remove_model(own.name)


def test_another_base_is_refused(base, local, tmp_path, tiny_network, tiny_card, library_folder):
    output = tmp_path / "mine.safetensors"
    run(base, local(2), output)
    own = load_model(base)
    base.unlink()
    save_model(tiny_network(1), dataclasses.replace(own.card, network=tiny_card(tiny_network(1)).network), base)
    with pytest.raises(LLMBoostError, match=r"no other will do; import that model \(the installed 'ellipsoids' is"):
        load_model(output)
    with pytest.raises(LLMBoostError, match="no other will do"):
        import_model(output)
    save_model(own.network, own.card, tmp_path / "beside.safetensors")  # the same weights under another name
    assert load_model(output).card.name == "mine"


def test_a_base_that_is_in_no_library_is_told(trained_model, local, tmp_path, library_folder):
    result = run(trained_model, local(2), tmp_path / "mine.safetensors")
    assert any("is not in the library: import it, or keep a copy beside" in warning for warning in result.warnings)
    shutil.copy(trained_model, tmp_path)
    assert load_model(tmp_path / "mine.safetensors").card.name == "mine"


def test_an_adapter_can_be_a_base(base, local, tmp_path):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    run(base, local(2), first)
    run(first, local(1, name="more"), second)
    assert load_model(second).card.adapter.base == "first"


@pytest.mark.parametrize("cases", [1, 3])
def test_few_cases_are_all_learnt_from(base, local, tmp_path, cases):
    result = run(base, local(cases), tmp_path / "mine.safetensors")
    assert result.steps == 4
    assert result.after.mean_dice is None
    assert len(result.card.adapter.cases) == cases
    assert result.card.adapter.settings["share"] == 0.5
    assert any("too few to hold one out" in warning for warning in result.warnings)
    assert load_model(tmp_path / "mine.safetensors").card.figures["held_out"] == 0


def test_subjects_are_held_out_whole(base, local, tmp_path):
    folder = local(8)
    subjects = {f"local_{30 + n}": str(n // 2) for n in range(8)}
    text = {"train": sorted(subjects), "val": [], "test": [], "subjects": subjects}
    (folder / "splits.json").write_text(json.dumps(text), encoding="utf-8")
    result = run(base, folder, tmp_path / "mine.safetensors")
    assert {case["id"] for case in result.before.cases} == {"local_36", "local_37"}


def test_nothing_better_than_the_base_keeps_the_base(base, dataset_folder, tmp_path):
    settings = AdaptSettings(steps=2, validations=1, rate=10.0, rank=2)
    result = run(base, dataset_folder, tmp_path / "mine.safetensors", settings)
    assert result.after.mean_dice == pytest.approx(result.before.mean_dice, abs=1e-3)
    assert any("nothing was better than the base" in warning for warning in result.warnings)


@pytest.mark.parametrize(("cases", "learns"), [(5, True), (8, False)])  # every fourth of them is held out
def test_one_case_alone_does_not_choose(base, local, tmp_path, monkeypatch, cases, learns):
    scores = iter(range(0, -100, -1))  # the base is the best
    monkeypatch.setattr(SegmentationTask, "score", lambda self, network: Score(float(next(scores)), {"dice": 0.5}, {}))
    settings = AdaptSettings(steps=60, validations=2, rank=2, rate=1e-2)
    result = run(base, local(cases), tmp_path / "mine.safetensors", settings)
    assert (result.after.mean_dice > result.before.mean_dice + 0.1) == learns
    assert result.card.adapter.settings["share"] == (0.8 if learns else 1.0)


def test_new_labels_get_a_new_head(base, local, tmp_path):
    def whole(image, label):
        return image, label.with_array((label.array > 0).astype(np.uint8) * 3)

    folder = local(6, whole, labels={"0": "background", "3": "egg"})
    output = tmp_path / "egg.safetensors"
    result = run(base, folder, output, AdaptSettings(steps=40, validations=2, rank=2, rate=1e-2))
    assert [(label.value, label.name) for label in result.card.labels] == [(3, "egg")]
    assert result.card.cascade is None
    with safetensors.safe_open(output, framework="pt") as file:
        assert "decoder.0.0.weight" in set(file.keys()), "a new structure gets a decoder of its own"
    assert result.after.mean_dice > 0.5
    model = load_model(output)
    assert evaluate(model, dataclasses.replace(read_dataset(folder)), "val")["mean_dice"] > 0.5
    found = segment(model, [read_image(folder / "imagesTr" / "local_30.nii.gz")]).labelmap.array
    assert set(np.unique(found)) == {0, 3}


def test_new_labels_are_learned_by_a_network_of_their_own(base, local, tmp_path):
    """Which needs no base: neither its channels nor its file."""

    def doubled(image, label):
        return image, label.with_array((label.array > 0).astype(np.uint8) * 3)

    folder, output = local(6, doubled, labels={"0": "background", "3": "egg"}), tmp_path / "egg.safetensors"
    card = run(base, folder, output, AdaptSettings(steps=60)).card
    assert card.adapter is None
    assert card.network["width"] == 128
    assert card.booster == {}
    assert card.one_piece == (3,)
    assert (card.quality, card.subject, card.cascade) == (None, None, None), "what was the base's own"
    assert len(card.training["cases"]) == 5
    assert card.training["settings"]["scope"] == "own"
    assert "local_" not in card.to_json()
    base.unlink()
    assert card.figures["after"] > 0.5
    assert evaluate(load_model(output), read_dataset(folder), "val")["mean_dice"] > 0.5


def test_new_labels_are_an_adapters_on_request(base, local, tmp_path):
    folder, output = local(4, labels={"0": "background", "1": "one", "2": "other"}), tmp_path / "mine.safetensors"
    card = run(base, folder, output, dataclasses.replace(QUICK, scope="adapter", task="new-labels")).card
    assert card.adapter.base == "ellipsoids"
    assert card.adapter.settings["rate"] == 1e-3


def test_a_base_of_volumes_learns_slices(base, local, tmp_path):
    def slice_of(image, label):
        grid = (image.spacing, image.origin, image.direction)
        middle = np.s_[:, :, 11:12]
        return Image(image.array[middle], *grid), Image((label.array[middle] > 0).astype(np.uint8), *grid)

    folder = local(5, slice_of, labels={"0": "background", "1": "disc"})
    output = tmp_path / "disc.safetensors"
    result = run(base, folder, output, AdaptSettings(steps=40, validations=2, rank=2, rate=1e-2))
    assert result.card.preprocessing.patch_size[2] == 1
    assert result.card.preprocessing.slice_axis == 2
    assert result.after.mean_dice > 0.5
    found = segment(load_model(output), [read_image(folder / "imagesTr" / "local_30.nii.gz")])
    assert found.labelmap.array.any()


def test_a_base_that_cannot_take_slices_says_so(base, local, tmp_path):
    def slice_of(image, label):
        return tuple(Image(one.array[:, :, 11:12], one.spacing, one.origin, one.direction) for one in (image, label))

    with pytest.raises(LLMBoostError, match="single slices, but 'ellipsoids' needs volumes; choose another base"):
        run(base, local(2, slice_of), tmp_path / "mine.safetensors")


def test_voxels_that_nobody_labelled_are_no_background(base, local, tmp_path):
    def partly(image, label):
        array = label.array.copy()
        array[:, :, 14:] = 3
        return image, label.with_array(array)

    labels = {"0": "background", "1": "front", "2": "back", "3": "ignore"}
    result = run(base, local(5, partly, labels=labels), tmp_path / "mine.safetensors")
    assert result.card.adapter.settings["task"] == "improve"
    assert len(result.card.labels) == 2


def test_unlabelled_cases_teach_when_asked(base, local, tmp_path):
    folder = local(3)
    (folder / "labelsTr" / "local_32.nii.gz").unlink()  # in imagesTr without a label map
    (folder / "imagesTs").mkdir()
    shutil.copy(local(4, name="more") / "imagesTr" / "local_33.nii.gz", folder / "imagesTs")
    events = []
    results = {}
    for weight in (0.0, 1.0):
        settings = dataclasses.replace(QUICK, consistency=weight)
        results[weight] = run(base, folder, tmp_path / f"{weight}.safetensors", settings, report=events.append)
    assert [len(result.card.adapter.cases) for result in results.values()] == [2, 4]
    assert results[0.0].card.digest != results[1.0].card.digest
    plans = [event["reasons"] for event in events if event["event"] == "plan"]
    assert ["2 case(s) without a label map teach, too" in reasons for reasons in plans] == [False, True]
    (folder / "imagesTs" / "local_33.nii.gz").write_bytes(b"broken")
    with pytest.raises(LLMBoostError, match="local_33"):
        run(base, folder, tmp_path / "broken.safetensors", settings)


def test_an_empty_label_is_told_and_never_held_out(base, local, tmp_path):
    def empty(image, label):
        return image, label.with_array(np.zeros_like(label.array))

    folder = local(5)
    blank = local(4, empty, name="blank")
    shutil.copy(blank / "labelsTr" / "local_33.nii.gz", folder / "labelsTr")  # that would be held out
    result = run(base, folder, tmp_path / "mine.safetensors")
    assert [case["id"] for case in result.before.cases] == ["local_34"]
    assert any("local_33: nothing is labeled" in warning for warning in result.warnings)
    with pytest.raises(LLMBoostError, match="no labeled voxels; label some"):
        run(base, blank, tmp_path / "none.safetensors")
    assert not (tmp_path / "none.safetensors").exists()


@pytest.mark.parametrize(
    ("labels", "task", "message"),
    [
        ({"0": "background", "1": "front"}, "improve", r"mark what was not drawn with the label \"ignore\""),
        ({"0": "background", "1": "front", "2": "back"}, "forget", "task 'forget': use one of"),
    ],
)
def test_a_task_that_does_not_fit(base, local, tmp_path, labels, task, message):
    def one(image, label):
        return image, label.with_array(np.where(label.array == 2, 0, label.array))

    with pytest.raises(LLMBoostError, match=message):
        run(base, local(2, one, labels=labels), tmp_path / "mine.safetensors", AdaptSettings(steps=2, task=task))


def test_refusals_leave_nothing_behind(base, local, tmp_path):
    folder, output = local(2), tmp_path / "mine.safetensors"
    output.write_bytes(b"precious")
    with pytest.raises(LLMBoostError, match="exists already"):
        run(base, folder, output)
    assert output.read_bytes() == b"precious"
    with pytest.raises(LLMBoostError, match=r"ends in \.safetensors"):
        run(base, folder, tmp_path / "mine.txt")
    with pytest.raises(LLMBoostError, match="must be greater than zero"):
        AdaptSettings(steps=0)
    with pytest.raises(LLMBoostError, match="give one budget"):
        AdaptSettings(steps=1, minutes=1.0)
    with pytest.raises(LLMBoostError, match="has no base to improve"):
        AdaptSettings(scope="own", task="improve")
    with pytest.raises(LLMBoostError, match="no such folder"):
        run(base, tmp_path / "nowhere", tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


def test_a_loss_that_is_no_number_ends_in_one_line(base, local, tmp_path, monkeypatch):
    monkeypatch.setattr(SegmentationTask, "loss", lambda self, *given: torch.tensor(float("nan")))
    with pytest.raises(LLMBoostError, match="the loss is not a number") as failure:
        run(base, local(2), tmp_path / "mine.safetensors")
    assert "\n" not in str(failure.value)
    assert not list(tmp_path.glob("mine*"))


def test_cancel_writes_nothing_and_finish_keeps_the_best(base, local, tmp_path):
    folder, steps = local(5), []

    def asked_at(number):
        return lambda: len(steps) >= number

    def report(event):
        if event["event"] == "step":
            steps.append(event["step"])

    many = AdaptSettings(steps=500, validations=250, rank=2)
    with pytest.raises(Cancelled):
        run(base, folder, tmp_path / "mine.safetensors", many, report=report, cancelled=asked_at(3))
    assert not list(tmp_path.glob("mine*"))
    steps.clear()
    result = run(base, folder, tmp_path / "mine.safetensors", many, report=report, finishing=asked_at(3))
    assert result.stopped == "finish"
    assert result.steps == 3
    assert load_model(tmp_path / "mine.safetensors").card.name == "mine"


def test_finish_at_once_gives_the_base(base, local, tmp_path):
    result = run(base, local(5), tmp_path / "mine.safetensors", finishing=lambda: True)
    assert (result.stopped, result.steps) == ("finish", 0)
    assert result.after == result.before


def test_no_news_for_long_ends_early(base, dataset_folder, tmp_path):
    settings = AdaptSettings(steps=40, validations=20, patience=3, rate=1.0, rank=2)
    result = run(base, dataset_folder, tmp_path / "mine.safetensors", settings)
    assert result.stopped == "early"
    assert result.steps < 40


def test_a_killed_run_continues_as_if_it_had_not_been(base, local, tmp_path):
    folder, output = local(5), tmp_path / "killed.safetensors"
    settings = {"steps": 12, "validations": 6, "rank": 2, "patience": 0}
    program = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from llmboost.learn.adaptation.flow import adapt\n"
        "from llmboost.learn.adaptation.common import AdaptSettings\n"
        f"adapt(Path({str(base)!r}), Path({str(folder)!r}), Path({str(output)!r}), AdaptSettings(**{settings}),"
        " device=torch.device('cpu'), report=lambda event: print(event['event'], flush=True))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])}
    child = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
    while not (run_folder(output) / CHECKPOINT).exists():
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not output.exists()
    events = []
    resumed = run(base, folder, output, AdaptSettings(**settings), report=events.append)
    assert any(event["event"] == "resumed" for event in events)
    whole = run(base, folder, tmp_path / "whole.safetensors", AdaptSettings(**settings))
    assert resumed.steps == whole.steps == 12
    assert resumed.after.mean_dice == pytest.approx(whole.after.mean_dice, abs=0.02)
    with pytest.raises(LLMBoostError, match="exists already"):
        run(base, folder, output, AdaptSettings(**settings))


def test_a_run_that_ended_goes_on_up_to_a_larger_budget(base, local, tmp_path, llmboost, refusal):
    folder, output, events = local(5), tmp_path / "mine.safetensors", []
    run(base, folder, output)  # four steps, two validations
    written = output.read_bytes()
    arguments = ("adapt", base.stem, folder, "--output", output, "--rank", 2, "--resume")
    assert "took 4 steps already; give more in all, with --steps" in refusal(*arguments, "--steps", 4)
    assert "its budget was steps" in refusal(*arguments, "--minutes", 4)
    assert "seed: 0 then, 1 now" in refusal(*arguments, "--steps", 8, "--seed", 1)
    assert "no run to go on with" in refusal(*arguments[:4], tmp_path / "new.safetensors", "--steps", 8, "--resume")
    assert output.read_bytes() == written
    result = run(base, folder, output, dataclasses.replace(QUICK, steps=8), resume=True, report=events.append)
    assert (result.steps, read_card(output).training["steps"]) == (8, 8)
    assert [event["step"] for event in events if event["event"] == "step"] == [5, 6, 7, 8]
    assert sum(event["event"] == "validation" for event in events) == 1  # two of the eight steps' share, one was before
    assert output.read_bytes() != written

    more = dataclasses.replace(QUICK, steps=12)
    output.write_bytes(b"precious")
    with pytest.raises(LLMBoostError, match="is not what the run in"):
        run(base, folder, output, more, resume=True)
    assert output.read_bytes() == b"precious"
    output.unlink()
    with pytest.raises(LLMBoostError, match="of a run that ended; go on with --resume and a larger budget"):
        run(base, folder, output, more)
    path = folder / "labelsTr" / "local_30.nii.gz"
    label = read_image(path)
    write_image(label.with_array(label.array[::-1]), path)
    with pytest.raises(LLMBoostError, match="training case local_30 was changed"):
        run(base, folder, output, more, resume=True)


def test_going_on_that_is_cancelled_leaves_what_there_was(base, local, tmp_path):
    folder, output = local(5), tmp_path / "mine.safetensors"
    run(base, folder, output)
    written = output.read_bytes()
    more = dataclasses.replace(QUICK, steps=8)
    with pytest.raises(Cancelled):
        run(base, folder, output, more, resume=True, cancelled=lambda: True)
    assert output.read_bytes() == written
    assert run(base, folder, output, more, resume=True).steps == 8


def test_the_base_is_measured_once(base, local, tmp_path, monkeypatch):
    scored, score = [], SegmentationTask.score
    monkeypatch.setattr(SegmentationTask, "score", lambda task, network: scored.append(1) or score(task, network))
    events = []
    settings = dataclasses.replace(QUICK, steps=20)
    result = run(base, local(8), tmp_path / "mine.safetensors", settings, report=events.append)
    first, *others = [event for event in events if event["event"] == "validation"]
    assert (first["step"], first["dice"]) == (0, result.before.mean_dice)
    assert set(first["labels"]) == {"1", "2"}
    assert len(scored) == len(others) > 0


def test_a_run_of_other_cases_is_not_continued(base, local, tmp_path):
    output = tmp_path / "mine.safetensors"
    run_folder(output).mkdir()
    (run_folder(output) / "adapt.json").write_text("{}", encoding="utf-8")
    (run_folder(output) / CHECKPOINT).write_bytes(b"of another run")
    assert run(base, local(2), output).steps == 4


def test_200_cases(base, local, tmp_path):
    events = []
    result = run(base, local(200), tmp_path / "mine.safetensors", report=events.append)
    assert len(result.before.cases) == 16  # no more: the budget is for learning
    assert len(result.card.adapter.cases) == 150
    assert result.card.adapter.rank == 2


def test_minutes_are_of_everything(base, local, tmp_path):
    result = run(base, local(5), tmp_path / "mine.safetensors", AdaptSettings(minutes=0.1, rank=2))
    assert result.steps > 0
    assert result.card.adapter.settings["minutes"] == 0.1


def test_command(base, local, tmp_path, llmboost, refusal):
    folder, output = local(5), tmp_path / "mine.safetensors"
    done = llmboost("adapt", base.stem, folder, "--output", output, "--steps", 3, "--rank", 2)
    assert done.status == 0, done.err
    assert "Dice on held-out cases: " in done.out
    assert "  held out: local_33\n" in done.out
    assert "step 3: val Dice" in done.out
    assert "  by case: local_33 0." in done.out
    by_label = next(line for line in done.out.splitlines() if line.startswith("  by label: "))
    assert "front" in by_label
    assert "back" in by_label
    assert llmboost("models", "show", output).status == 0
    image = folder / "imagesTr" / "local_30.nii.gz"
    done = llmboost("segment", image, "--model", output, "--output", tmp_path / "out", "--device", "cpu")
    assert done.status == 0, done.err
    assert "exists already" in refusal("adapt", base.stem, folder, "--output", output)
    assert "no installed model of that name" in refusal(
        "adapt", "nobody", folder, "--output", tmp_path / "x.safetensors"
    )
