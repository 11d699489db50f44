"""A training is continued as it was begun, or not at all; and nothing of anybody else's is written into."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

import llmboost
from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from llmboost.files import locked
from llmboost.io.image import read_image, write_image
from llmboost.learn import trainer as trainer_module
from llmboost.learn.adaptation.common import AdaptSettings
from llmboost.learn.adaptation.flow import adapt
from llmboost.learn.adaptation.runs import RUN
from llmboost.learn.checkpoint import DIGEST, KEY
from llmboost.learn.train import Recipe, run_folder, train
from llmboost.learn.trainer import CHECKPOINT, LOG, TrainingConfig

CPU = torch.device("cpu")
TINY = {"stem": (4, 8, 8), "width": 16, "depth": 1, "heads": 2}
SMALL = (12, 12, 12)


@pytest.fixture
def folder(tmp_path, write_dataset, make_case):
    cases = {f"case_{n}": make_case(n, shape=SMALL) for n in range(4)}
    return write_dataset(tmp_path / "data", cases, {"train": ["case_0", "case_1"], "val": ["case_2"]})


@pytest.fixture
def run(folder, tmp_path):
    def start(resume=False, network="hybrid-vit", options=None, start=None, **config):
        config = TrainingConfig(**{"steps": 2, "validations": 1, "seed": 1, **config})
        recipe = Recipe(config, network, options or TINY, booster=None, start=start)
        return train(folder, tmp_path / "m.safetensors", recipe, device=CPU, resume=resume)

    return start


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(run, **options):
    with pytest.raises(LLMBoostError) as error:
        run(resume=True, **options)
    message = str(error.value)
    assert "\n" not in message
    return message


# -- what differs


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seed": 2}, "seed: 1 then, 2 now"),
        ({"rate": 0.1}, "rate: 0.003 then, 0.1 now"),
        ({"steps": 1}, "steps: 2 then, 1 now"),
        ({"steps": None, "minutes": 1.0}, "steps: 2 then, none now"),
        ({"validations": 2}, "validations: 1 then, 2 now"),
        ({"contrast": 0.5}, "contrast: 0.0 then, 0.5 now"),
        ({"options": {**TINY, "width": 24, "heads": 3}}, "width: 16 then, 24 now"),
        (
            {"network": "plain-vit", "options": {"width": 16, "depth": 1, "heads": 2}},
            "name: hybrid-vit then, plain-vit",
        ),
    ],
    ids=str,
)
def test_other_settings(run, tmp_path, options, told):
    run()
    before = (tmp_path / "m.safetensors").read_bytes()
    assert told in refused(run, **options)
    assert (tmp_path / "m.safetensors").read_bytes() == before


def test_more_is_what_resuming_is_for(run):
    run()
    assert run(resume=True).training["steps"] == 2
    assert run(resume=True, steps=3).training["steps"] == 3


def test_other_cases(run, folder):
    run()
    for name, kind in (("case_1", "training"), ("case_2", "validation")):
        stored = {part: (folder / part / f"{name}.nii.gz").read_bytes() for part in ("imagesTr", "labelsTr")}
        label = read_image(folder / "labelsTr" / f"{name}.nii.gz")
        write_image(label.with_array(label.array[::-1]), folder / "labelsTr" / f"{name}.nii.gz")
        assert f"{kind} case {name} was changed" in refused(run)
        for part, data in stored.items():
            (folder / part / f"{name}.nii.gz").write_bytes(data)
    edit(folder / "splits.json", train=["case_0", "case_3"])
    told = refused(run)
    assert "training case case_1 is gone" in told
    assert "training case case_3 was not there" in told
    edit(folder / "splits.json", train=["case_0", "case_1"])
    run(resume=True)


def test_names_exchanged(run, folder):
    run()
    edit(folder / "dataset.json", labels={"0": "background", "1": "back", "2": "front"})
    assert "label 1: front then, back now" in refused(run)


def test_other_versions(run, monkeypatch):
    run()
    monkeypatch.setattr(trainer_module, "versions", lambda: {"llmboost": "99", "torch": torch.__version__})
    assert "99 now" in refused(run)


def test_any_flipped_byte(run, tmp_path):
    """Of the header, of what was noted and of the weights."""
    run()
    path = run_folder(tmp_path / "m.safetensors") / CHECKPOINT
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    places = {8 + whole[8:].index(b'"validated'), 8 + whole[8:].index(b'\\"value') + 14, length + 8, len(whole) - 1}
    for place in [*places, *np.random.default_rng(0).integers(0, len(whole), 40).tolist()]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        assert "checkpoint" in refused(run)
    path.write_bytes(whole)
    run(resume=True)


def test_checkpoints_of_before_there_were_digests(run, tmp_path):
    run()
    path = run_folder(tmp_path / "m.safetensors") / CHECKPOINT
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    del metadata[DIGEST]
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, metadata)
    assert "no checkpoint of this training" in refused(run)
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, {KEY: "[" * 100_000, DIGEST: ""})
    assert "no checkpoint of this training" in refused(run)


# -- what is in the way


@pytest.mark.parametrize("name", [LOG, CHECKPOINT])
def test_nothing_is_written_through_a_link(run, tmp_path, name):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    folder = run_folder(tmp_path / "m.safetensors")
    folder.mkdir()
    (folder / name).symlink_to(precious)
    with pytest.raises(LLMBoostError, match=f"{name}: a link, a folder or a device"):
        run()
    assert precious.read_text() == "precious"
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(LLMBoostError, match=f"{name}: a link, a folder or a device"):
        run()


def test_a_curve_that_is_a_link(run, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    folder = run_folder(tmp_path / "m.safetensors")
    folder.mkdir()
    (folder / "curve.png").symlink_to(precious)
    run()
    assert precious.read_text() == "precious"


def test_an_output_that_is_a_link_to_nowhere(run, tmp_path):
    (tmp_path / "m.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(LLMBoostError, match="exists already"):
        run()


def test_one_training_at_a_time(run, tmp_path):
    folder = run_folder(tmp_path / "m.safetensors")
    folder.mkdir()
    with locked(folder), pytest.raises(LLMBoostError, match=r"m.run: another process is at work there"):
        run()
    run()


@pytest.mark.parametrize("when", ["meanwhile", "before"])
def test_a_file_that_came_meanwhile_is_not_overwritten(run, tmp_path, monkeypatch, when):
    output = tmp_path / "m.safetensors"
    place = (trainer_module.Trainer, "run") if when == "meanwhile" else (trainer_module.Trainer, "__init__")
    original = getattr(*place)

    def with_another(self, *arguments, **options):
        output.write_text("another's")
        return original(self, *arguments, **options)

    monkeypatch.setattr(*place, with_another)
    with pytest.raises(LLMBoostError, match="exists already"):
        run()
    assert output.read_text() == "another's"


# -- adapting


@pytest.fixture
def adapting(training, folder, tmp_path):
    def start(folder=folder, **settings):
        settings = AdaptSettings(**{"steps": 2, "validations": 1, "rank": 2, **settings})
        return adapt(training.path, folder, tmp_path / "a.safetensors", settings, device=CPU)

    return start


CHILD = """
import os, sys, torch
from pathlib import Path
from llmboost.learn.adaptation.common import AdaptSettings
from llmboost.learn.adaptation.flow import adapt
from llmboost.learn.adaptation.runs import RUN
def report(event):
    if event["event"] == "step" and event["step"] == 2:  # after the first one, there was a checkpoint
        os._exit(9)
settings = AdaptSettings(steps=2, validations=2, rank=2)
adapt(*map(Path, sys.argv[1:4]), settings, device=torch.device("cpu"), report=report)
"""


def test_a_stopped_adapting_goes_on_as_it_was_started_or_says_what_differs(training, adapting, folder, tmp_path):
    output = tmp_path / "a.safetensors"
    environment = {**os.environ, "PYTHONPATH": str(Path(llmboost.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(training.path), str(folder), str(output)], env=environment, check=False
    )
    assert done.returncode == 9
    assert (run_folder(output) / CHECKPOINT).exists()

    def refusal(**settings):
        with pytest.raises(LLMBoostError, match="of a run that was stopped and is another one") as error:
            adapting(**{"validations": 2, **settings})
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "rate: 0.001 then, 0.01 now" in refusal(rate=0.01)
    assert "seed: 0 then, 1 now" in refusal(seed=1)
    path = folder / "labelsTr" / "case_2.nii.gz"
    stored, label = path.read_bytes(), read_image(path)
    write_image(label.with_array(label.array[::-1]), path)
    assert "validation case case_2 was changed" in refusal()
    path.write_bytes(stored)
    result = adapting(validations=2)
    assert result.steps == 2
    assert output.exists()


def test_one_adapting_at_a_time(adapting, tmp_path):
    folder = run_folder(tmp_path / "a.safetensors")
    folder.mkdir()
    with locked(folder), pytest.raises(LLMBoostError, match="another process is at work there"):
        adapting()
    (folder / RUN).write_text("[" * 100_000)
    assert adapting().steps == 2


def test_an_adapters_card_says_nothing_of_the_data_sets_name(training, make_case, write_dataset, tmp_path):
    """Neither of the folder's, which may be a patient's, nor of its files'."""
    cases = {f"Jane_Doe_{n}": make_case(n, shape=SMALL) for n in range(4)}
    whole = {id: (image, label.with_array((label.array > 0).astype(np.uint8))) for id, (image, label) in cases.items()}
    for name, shown, labels in (("better", cases, None), ("new", whole, {"0": "background", "1": "egg"})):
        folder = write_dataset(tmp_path / f"DOE^JANE 1970 {name}", shown, labels=labels)
        description = json.loads((folder / "dataset.json").read_text())
        (folder / "dataset.json").write_text(json.dumps({**description, "name": "Jane Doe's liver"}))
        output = tmp_path / f"{name}.safetensors"
        adapt(training.path, folder, output, AdaptSettings(steps=2, validations=1, rank=2), device=CPU)
        text = read_card(output).to_json()
        assert "doe" not in text.casefold()
        assert "jane" not in text.casefold()
        assert "1970" not in text


# -- what a training tells at its end


def test_a_training_that_taught_nothing_says_so(llmboost, refusal, folder, tmp_path, library_folder):
    path = tmp_path / "m.safetensors"
    done = llmboost("train", folder, "--output", path, "--steps", 1, "--rate", 1e-9, "--device", "cpu")
    assert done.status == 0, done.err
    figure = read_card(path).figures["val_dice"]
    assert figure < 0.1
    assert f"val Dice {figure:.3f} (front " in done.out
    assert "warning: model 'm' has learned nothing" in done.out
    assert "more minutes or more cases" in done.out
    assert "has learned nothing" in refusal("models", "import", path)


def test_an_adapting_that_taught_nothing_says_so(adapting, folder, tmp_path):
    """New labels, of which one is in no case."""
    edit(folder / "dataset.json", labels={"0": "background", "1": "head", "2": "tail", "7": "fin"})
    result = adapting(rate=1e-9)
    assert result.card.figures["not_taught"] == ["fin"]
    assert "had no training case with fin" in result.card.doubts
    assert any("no training case shows fin" in line for line in result.warnings)
    assert any(line.startswith(result.card.doubts) and "more minutes or more cases" in line for line in result.warnings)
    assert set(result.card.figures["after_per_label"]) >= {"1", "2"}


def test_figures_are_kept_by_the_labels_values(write_dataset, make_case, tmp_path):
    """Not by their places in the network."""

    def renumbered(seed):
        image, label = make_case(seed, shape=SMALL)
        return image, label.with_array(np.array([0, 9, 4], np.uint8)[label.array])

    folder = write_dataset(
        tmp_path / "x",
        {f"c{n}": renumbered(n) for n in range(3)},
        labels={"0": "background", "9": "front", "4": "back"},
    )
    events = []
    recipe = Recipe(TrainingConfig(steps=1, validations=1), options=TINY, booster=None)
    card = train(folder, tmp_path / "m.safetensors", recipe, device=CPU, report=events.append)
    assert set(card.figures["val_dice_per_label"]) == {"4", "9"}
    _, line, _ = (run_folder(tmp_path / "m.safetensors") / LOG).read_text().splitlines()
    assert set(json.loads(line)["labels"]) == {"4", "9"}


def test_what_no_case_shows_is_told_in_the_plan(folder, tmp_path):
    edit(folder / "dataset.json", labels={"0": "background", "1": "front", "2": "back", "3": "lid"})
    (folder / "labelsTr" / "case_3.nii.gz").unlink()
    events = []
    recipe = Recipe(TrainingConfig(steps=1, validations=1), options=TINY, booster=None)
    card = train(folder, tmp_path / "m.safetensors", recipe, device=CPU, report=events.append)
    reasons = next(event["reasons"] for event in events if event["event"] == "plan")
    assert "no training case shows lid: it cannot be learned; add a case, or take it out" in reasons
    assert "1 image(s) without a label map: case_3; nothing is learned from them" in reasons
    assert card.figures["not_taught"] == ["lid"]
    assert "had no training case with lid" in card.doubts
    assert card.to_json() == read_card(tmp_path / "m.safetensors").to_json()
