"""The training loop: what it learns, how it ends, and how it goes on."""

import dataclasses
import itertools
import json
import math
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import llmboost
from llmboost.booster import BoosterConfig
from llmboost.card import Preprocessing
from llmboost.errors import Cancelled, LLMBoostError
from llmboost.learn import trainer as trainer_module
from llmboost.learn.loss import IGNORED
from llmboost.learn.patches import Volume
from llmboost.learn.segmentation import SegmentationTask, mean_dice_of
from llmboost.learn.trainer import CHECKPOINT, LOG, Score, Trainer, TrainingConfig
from llmboost.networks import build

from .training_samples import STEPS, logits_of, losses_of

CPU = torch.device("cpu")


@pytest.fixture
def make_trainer(tmp_path, volumes, tiny_network):
    def make(
        folder="run", network=None, train=None, val=None, report=lambda event: None, cancelled=lambda: False, **config
    ):
        config = TrainingConfig(**{"validations": 2, **config})
        task = SegmentationTask(train or volumes[0], val or volumes[1][:1], STEPS, config)
        return Trainer(network or tiny_network(), task, tmp_path / folder, CPU, report, cancelled)

    return make


def test_training_learns(make_trainer, tiny_network, volumes, tmp_path):
    events = []
    network = tiny_network(seed=3)  # with others, a network this small is slow to tell the two labels apart
    before = np.mean([mean_dice_of(network, volume, STEPS) for volume in volumes[1]])
    config = {"steps": 60, "rate": 1e-2, "validations": 3, "precision": "float32"}
    trainer = make_trainer(network=network, val=volumes[1], report=events.append, **config)
    outcome = trainer.run()
    assert before < 0.3
    assert outcome.score.value > 0.6
    assert outcome.steps == 60
    assert sorted(outcome.score.known_labels) == ["1", "2"]
    assert outcome.score.value == pytest.approx(np.mean(list(outcome.score.known_labels.values())))
    # what is returned is what was measured
    network = tiny_network(seed=1)
    network.load_state_dict(outcome.state)
    again = np.mean([mean_dice_of(network, volume, STEPS) for volume in volumes[1]])
    assert again == pytest.approx(outcome.score.value, abs=1e-6)

    steps = [event for event in events if event["event"] == "step"]
    assert [event["step"] for event in steps] == list(range(1, 61))
    assert steps[-1]["fraction"] == 1
    lines = (tmp_path / "run" / LOG).read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    assert logged == [event for event in events if event["event"] != "step"]
    start, *logged, end = logged
    assert end["text"].startswith("trained 60 of 60 steps; 3 validation(s) took ")
    assert start == {"event": "start", "step": 0, "device": "cpu", "precision": "float32"}
    assert [entry["step"] for entry in logged] == [20, 40, 60]
    assert max(entry["dice"] for entry in logged) == logged[-1]["best"] == outcome.score.value
    assert logged[1]["loss"] == pytest.approx(np.mean([event["loss"] for event in steps[20:40]]))


def test_a_seed_fixes_everything(make_trainer):
    first = losses_of(make_trainer("a", steps=6))
    torch.rand(3)  # other use of random numbers has no influence
    assert losses_of(make_trainer("b", steps=6)) == first
    assert losses_of(make_trainer("c", steps=6, seed=1)) != first


CHILD = """
import json, sys
from pathlib import Path
import torch
from llmboost.card import Preprocessing
from llmboost.io.dataset import read_dataset
from llmboost.learn.segmentation import SegmentationTask, read_volume
from llmboost.learn.trainer import Trainer, TrainingConfig
from llmboost.networks import build

torch.set_num_threads(1)
data, folder, options, steps = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4])
steps = Preprocessing(patch_size=tuple(steps["patch_size"]), mirror=tuple(steps["mirror"]))
dataset = read_dataset(data)
train, val = ([read_volume(dataset, case, steps) for case in dataset.split(name)] for name in ("train", "val"))
torch.manual_seed(0)
network = build("hybrid-vit", options, None)
report = lambda event: print(json.dumps(event), flush=True)
task = SegmentationTask(train, val[:1], steps, TrainingConfig(steps=12, validations=3))
Trainer(network, task, folder, torch.device("cpu"), report).run()
"""


def test_a_killed_training_goes_on_as_if_it_had_not_been(make_trainer, tiny_network, dataset_folder, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = make_trainer("whole", steps=12, validations=3)
        expected = whole.run()

        options = dataclasses.asdict(tiny_network().config)
        arguments = [
            str(dataset_folder),
            str(tmp_path / "cut"),
            json.dumps(options),
            json.dumps(dataclasses.asdict(STEPS)),
        ]
        environment = {**os.environ, "PYTHONPATH": str(Path(llmboost.__file__).parents[1])}
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, *arguments], env=environment, stdout=subprocess.PIPE, text=True
        )
        try:
            for line in child.stdout:  # killed amid the second third: two steps are lost
                if json.loads(line).get("step") == 6:
                    break
        finally:
            child.send_signal(signal.SIGKILL)
            child.communicate()
        assert child.returncode == -signal.SIGKILL
        assert (tmp_path / "cut" / CHECKPOINT).exists()

        resumed = make_trainer("cut", network=tiny_network(seed=9), steps=12, validations=3)
        resumed.resume()
        assert resumed.step == 4
        outcome = resumed.run()
    finally:
        torch.set_num_threads(threads)
    assert outcome.steps == 12
    assert outcome.score.value == expected.score.value
    assert outcome.score.known_labels == expected.score.known_labels
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], tensor), name
        assert torch.equal(outcome.state[name], expected.state[name]), name
    log = [json.loads(line) for line in (tmp_path / "cut" / LOG).read_text().splitlines()]
    assert [(entry["event"], entry["step"]) for entry in log] == [
        ("start", 0), ("validation", 4), ("resumed", 4), ("validation", 8), ("validation", 12), ("end", 12)
    ]  # fmt: skip
    uncut = [json.loads(line) for line in (tmp_path / "whole" / LOG).read_text().splitlines()]
    losses = [[entry["loss"] for entry in one if entry["event"] == "validation"] for one in (log, uncut)]
    assert losses[0] == losses[1]


def validations(events):
    return [event["step"] for event in events if event["event"] == "validation"]


def test_a_training_that_goes_on_validates_as_its_new_budget_says(make_trainer):
    events = []
    make_trainer(steps=12, validations=3, report=events.append).run()
    assert validations(events) == [4, 8, 12]
    longer = make_trainer(steps=24, validations=3, report=events.append)
    longer.resume()
    longer.run()
    assert validations(events) == [4, 8, 12, 16, 24]


class Interrupted(Exception):
    """What ends a process."""


class Timed(SegmentationTask):
    """Nothing is computed; by its clock, the only one there is, a step takes two seconds and a validation thirty."""

    now = 0.0

    def batches(self, step, device):
        return itertools.repeat({})

    def loss(self, network, batch, progress):
        Timed.now += 2
        return 0 * sum(parameter.sum() for parameter in network.parameters())

    def score(self, network):
        Timed.now += 30
        return Score(0.5, {"dice": 0.5}, {})


@pytest.fixture
def timed_trainer(tmp_path, monkeypatch, volumes, tiny_network):
    monkeypatch.setattr(trainer_module, "time", SimpleNamespace(monotonic=lambda: Timed.now))

    def make(folder, report, minutes):
        task = Timed(volumes[0], volumes[1][:1], STEPS, TrainingConfig(minutes=minutes))
        return Trainer(tiny_network(), task, tmp_path / folder, CPU, report)

    return make


def test_a_training_that_is_often_killed_validates_as_if_it_had_not_been(timed_trainer):
    """Also where the time between two validations is longer than it lives."""
    whole, events, resumed = [], [], False
    timed_trainer("whole", whole.append, 8).run()

    def report(event):
        events.append(event)
        if len(events) % 30 == 0:
            raise Interrupted

    while not any(event["event"] == "end" for event in events):
        trainer = timed_trainer("cut", report, 8)
        if resumed:
            trainer.resume()
        resumed = True
        with suppress(Interrupted):
            trainer.run()
    assert len(validations(whole)) > 2
    assert validations(events) == pytest.approx(validations(whole), rel=0.1)


def test_a_training_of_more_minutes_validates_as_they_say(timed_trainer):
    whole, events = [], []
    timed_trainer("whole", whole.append, 8).run()
    timed_trainer("longer", lambda event: None, 2).run()
    longer = timed_trainer("longer", events.append, 8)
    longer.resume()
    longer.run()
    assert len(validations(events)) >= len(validations(whole)) - 2
    assert longer.seconds == pytest.approx(480, rel=0.1)


@pytest.mark.parametrize(("last", "best"), [(False, [0.5, 0.7, 0.7]), (True, [None, None, None])])
def test_only_what_weights_are_chosen_by_is_called_the_best(tmp_path, volumes, tiny_network, last, best):
    scores = iter([0.5, 0.7, 0.6])

    class Given(Timed):
        def score(self, network):
            return Score(dice := next(scores), {"dice": dice}, {})

    events = []
    task = Given(volumes[0], volumes[1][:1], STEPS, TrainingConfig(steps=30, validations=3, last=last))
    outcome = Trainer(tiny_network(), task, tmp_path / "run", CPU, events.append).run()
    assert [event["best"] for event in events if event["event"] == "validation"] == best
    assert outcome.score.value == (0.6 if last else 0.7)


def test_a_finished_training_resumes_to_its_end(make_trainer):
    outcome = make_trainer(steps=2).run()
    again = make_trainer(steps=2)
    again.resume()
    result = again.run()
    assert (result.steps, result.score.value) == (2, outcome.score.value)
    assert all(torch.equal(result.state[name], tensor) for name, tensor in outcome.state.items())


def test_what_cannot_be_resumed(make_trainer, tiny_network, tmp_path):
    with pytest.raises(LLMBoostError, match="no checkpoint to resume from"):
        make_trainer(steps=2).resume()
    make_trainer(steps=2).run()
    path = tmp_path / "run" / CHECKPOINT

    def refusal(network=None):
        with pytest.raises(LLMBoostError, match="no checkpoint of this training") as error:
            make_trainer(network=network, steps=2).resume()
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)

    refusal(tiny_network(width=24, heads=3))
    refusal(tiny_network(depth=1))
    content = path.read_bytes()
    for damaged in (content[:-1], content[:100], b"", b"hello world"):
        path.write_bytes(damaged)
        refusal()


def test_another_booster_cannot_go_on(make_trainer, tmp_path):
    """Its frozen block is not in the checkpoint, so nothing else would tell."""
    torch.manual_seed(0)
    tiny_options = {"stem": (4, 8, 8), "width": 16, "depth": 2, "heads": 2}
    boosted = [build("hybrid-vit", tiny_options, BoosterConfig(layers=(layer,))) for layer in (3, 3, 4)]
    make_trainer(network=boosted[0], steps=2).run()
    size = (tmp_path / "run" / CHECKPOINT).stat().st_size
    assert size < 4 * sum(p.numel() for p in boosted[0].parameters() if p.requires_grad) * 4 + 200_000
    make_trainer(network=boosted[1], steps=2).resume()
    with pytest.raises(LLMBoostError, match="was trained with another booster"):
        make_trainer(network=boosted[2], steps=2).resume()


def test_cancel_keeps_the_best_so_far(make_trainer):
    seen = []
    trainer = make_trainer(steps=8, report=seen.append, cancelled=lambda: len(seen) > 6)
    outcome = trainer.run()  # a start, four steps, a validation, one step
    assert outcome.steps == 5
    assert outcome.score.value == seen[5]["dice"]


def test_cancel_before_the_first_validation(make_trainer, tmp_path):
    seen = []
    with pytest.raises(Cancelled):
        make_trainer(steps=10, report=seen.append, cancelled=lambda: len(seen) > 3).run()
    assert len(seen) == 4
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_a_budget_of_minutes_ends(make_trainer, monkeypatch):
    """A clock on which each look takes seven seconds."""
    now = [1000.0]

    def clock():
        now[0] += 7
        return now[0]

    monkeypatch.setattr(trainer_module, "time", SimpleNamespace(monotonic=clock))
    events = []
    trainer = make_trainer(minutes=2, validations=2, report=events.append)
    outcome = trainer.run()
    fractions = [event["fraction"] for event in events if event["event"] == "step"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert all(fraction < 1 for fraction in fractions[:-1])
    assert 108 <= outcome.seconds <= 132
    assert 12 <= outcome.steps <= 17
    assert trainer.validated == 2
    # the clock of a later sitting starts where this one ended
    again = make_trainer(minutes=4, validations=2)
    again.resume()
    assert again.seconds == outcome.seconds
    assert again.fraction == pytest.approx(outcome.seconds / (240 - 7))  # but for the last validation


def test_a_budget_of_cpu_time_ends_by_the_cpu_clock(make_trainer, monkeypatch):
    """Each look at the processors' clock takes fourteen seconds of two threads; the wall clock would never end it."""
    spent = iter(range(1000, 10**6, 14))
    monkeypatch.setattr(
        trainer_module, "time", SimpleNamespace(monotonic=lambda: 5.0, process_time=lambda: float(next(spent)))
    )
    monkeypatch.setattr(trainer_module.torch, "get_num_threads", lambda: 2)
    outcome = make_trainer(minutes=1, validations=2, clock="cpu").run()
    assert 54 <= outcome.seconds <= 74  # all looks, but the one that ends it, are seven seconds apart
    assert 4 <= outcome.steps <= 9


def test_exactly_one_budget(make_trainer):
    for config in ({}, {"steps": 5, "minutes": 1}):
        with pytest.raises(ValueError, match="steps or minutes"):
            make_trainer(**config)


def test_the_learning_rate_rises_and_falls(make_trainer):
    trainer = make_trainer(steps=1000, rate=2e-3, warmup=0.1)
    rates = []
    for trainer.learner.step in range(1001):
        rates.append(trainer.rate)
    assert 0 < rates[0] < 1e-4
    assert np.argmax(rates) == 100
    assert rates[100] == pytest.approx(2e-3)
    assert rates[550] == pytest.approx(1e-3, rel=0.01)
    assert rates[1000] == pytest.approx(0, abs=1e-9)
    assert (np.diff(rates[:100]) >= 0).all()
    assert (np.diff(rates[100:]) <= 0).all()


def test_a_loss_that_is_no_number_ends_in_one_line(make_trainer, tiny_network):
    network = tiny_network()
    with torch.no_grad():
        next(network.parameters()).fill_(math.nan)
    with pytest.raises(LLMBoostError, match="failed at step 0: the loss is not a number") as error:
        make_trainer(network=network, steps=4).run()
    assert "\n" not in str(error.value)


def test_frozen_weights_stay(make_trainer, tiny_network):
    network = tiny_network()
    network.stem.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    make_trainer(network=network, steps=2).run()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert not any(name.startswith("stem.") for name in changed)


def partly_unknown(volume):
    label = volume.label.clone()
    label[0, :, : label.shape[2] // 2] = IGNORED
    return Volume(volume.id, volume.image, label)


def test_training_with_unknown_voxels(make_trainer, volumes):
    train, val = ([partly_unknown(volume) for volume in part] for part in volumes)
    outcome = make_trainer(train=train, val=val, steps=4).run()
    assert all(torch.isfinite(tensor).all() for tensor in outcome.state.values())
    assert 0 <= outcome.score.value <= 1


def test_dice_counts_known_voxels_alone(volumes, tiny_network):
    volume = volumes[1][0]

    class Oracle(torch.nn.Module):
        """Right where it is asked, wrong where nobody knows."""

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, image):
            answer = volume.label.clone()
            answer[0, :, : answer.shape[2] // 2] = 2
            return logits_of(answer[None])

    steps = Preprocessing(patch_size=volume.image.shape[1:])
    assert mean_dice_of(Oracle(), partly_unknown(volume), steps) == [1, 1]
    assert min(mean_dice_of(Oracle(), volume, steps)) < 0.9


def test_labels_that_no_validation_case_has(make_trainer, volumes, tmp_path, recwarn):
    """The third class is nowhere: a network that learns so gets no score for it, and the others count."""
    network = build("hybrid-vit", {"stem": (4, 8, 8), "width": 16, "depth": 1, "heads": 2, "classes": 4}, None)
    with torch.no_grad():
        network.heads[0].bias[3] = -100  # never the answer
    outcome = make_trainer(network=network, steps=2).run()
    assert sorted(outcome.score.known_labels) == ["1", "2"]
    assert 0 <= outcome.score.value <= 1
    for line in (tmp_path / "run" / LOG).read_text().splitlines():
        entry = json.loads(line, parse_constant=pytest.fail)
        assert entry["event"] in ("start", "end") or entry["labels"]["3"] is None
    assert not [warning for warning in recwarn if "mean of empty" in str(warning.message).lower()]


def test_validation_cases_without_labels_are_refused(make_trainer, volumes):
    empty = Volume("e", volumes[1][0].image, torch.zeros_like(volumes[1][0].label))
    with pytest.raises(LLMBoostError, match="no labeled voxels"):
        make_trainer(val=[empty], steps=2).run()
