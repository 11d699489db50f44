"""`torchrun -m llmboost train`: processes that train together do what one does, and what a kill costs."""

import json
import os
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import safetensors.torch
import torch

from llmboost.io.dataset import read_dataset
from llmboost.learn.train import run_folder
from llmboost.learn.trainer import CHECKPOINT, LOG
from llmboost.model import load_model

from . import training_together
from .batch_samples import Process, environment

ROOT = Path(__file__).parents[2]


@pytest.fixture
def torchrun(tmp_path):
    """``torchrun(argument, ...)`` starts two processes."""
    running = []

    def start(*arguments):
        env = environment(tmp_path / "traps")
        env["PYTHONPATH"] += f"{os.pathsep}{ROOT}"
        options = ("--standalone", "--nproc-per-node", 2)
        running.append(Process("torch.distributed.run", *options, *arguments, env=env))
        return running[-1]

    yield start
    for process in running:
        process.kill()


@pytest.fixture(scope="module")
def small(tmp_path_factory, write_dataset, make_case):
    """A data set of which one training case lacks a label, which was not drawn there."""
    cases = {f"case_{n}": make_case(n, shape=(16, 18, 16)) for n in range(6)}
    image, label = cases["case_1"]
    cases["case_1"] = image, label.with_array(label.array * (label.array != 2))
    ids = list(cases)
    splits = {"train": ids[:3], "val": ids[3:]}
    folder = write_dataset(tmp_path_factory.mktemp("small") / "data", cases, splits)
    described = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**described, "partly_labeled": True}))
    assert read_dataset(folder).partly_labeled
    return folder


def events(run):
    return [json.loads(line) for line in (run / LOG).read_text().splitlines()]


def test_two_processes_learn_what_one_does(torchrun, small, tmp_path):
    """The same total batch gives the same losses, Dice and weights, but for rounding; both have them; each event is
    logged once; what is frozen stays each one's own, for it is never sent."""
    process = torchrun(training_together.__file__, small, tmp_path / "two")
    assert process.wait() == 0, process.text
    training_together.train_together(small, tmp_path / "one")
    one, *two = (json.loads((tmp_path / name).read_text()) for name in ("one/0.json", "two/0.json", "two/1.json"))
    assert two[0] == {**two[1], "rank": 0, "frozen": 0}
    assert two[1]["frozen"] == 1
    assert two[0]["losses"] == pytest.approx(one["losses"], rel=1e-3)
    assert two[0]["best"]["value"] == pytest.approx(one["best"]["value"], abs=5e-3)
    alone, first, second = (
        safetensors.torch.load_file(tmp_path / name)
        for name in ("one/0.safetensors", "two/0.safetensors", "two/1.safetensors")
    )
    for name, tensor in alone.items():
        assert torch.equal(first[name], second[name])
        assert torch.allclose(first[name], tensor, atol=2e-3), name
    assert Counter(event["event"] for event in events(tmp_path / "two" / "run")) == {
        "start": 1,
        "validation": len([event for event in events(tmp_path / "one" / "run") if event["event"] == "validation"]),
        "end": 1,
    }


@pytest.mark.slow
def test_a_lost_process_ends_all_and_they_go_on(torchrun, small, tmp_path):
    output = tmp_path / "m.safetensors"
    command = ("-m", "llmboost", "train", small, "--output", output, "--steps", 40, "--batch", 4)
    process, checkpoint = torchrun(*command), run_folder(output) / CHECKPOINT
    while not checkpoint.exists():
        assert process.runs(), process.text
        time.sleep(0.05)
    psutil.Process(process.process.pid).children()[-1].kill()
    assert process.wait() != 0
    assert not output.exists()
    process = torchrun(*command, "--resume")
    assert process.wait() == 0, process.text
    assert process.text.count(f"{output}: val Dice ") == 1
    kinds = Counter(event["event"] for event in events(run_folder(output)))
    assert kinds["start"] == kinds["resumed"] == kinds["end"] == 1
    card = load_model(output).card
    assert (card.training["steps"], card.training["config"]["batch"]) == (40, 4)
    assert card.figures["val_dice"] > 0.5


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("train", "--steps", 2, "--batch", 3), "a batch of 3 cannot be shared by 2 processes"),
        pytest.param(
            ("train", "--steps", 2, "--folds", 2),
            "cross-validation is not for several processes",
            marks=pytest.mark.slow,  # told by the same way as the first
        ),
        (("fingerprint",), "torchrun is for `llmboost train` alone"),
    ],
    ids=["batch", "folds", "another command"],
)
def test_what_cannot_be_done_together_is_told_once(torchrun, small, tmp_path, command, told):
    name, *options = command
    output = tmp_path / "out" / "m.safetensors"
    place = ("--output", output) if name == "train" else ()
    process = torchrun("-m", "llmboost", name, small, *place, *options)
    assert process.wait() == 1
    assert process.text.count("error: ") == process.text.count(told) == 1, process.text
    assert not output.parent.exists() or list(output.parent.iterdir()) == [], "nothing was begun"
