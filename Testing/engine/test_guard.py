"""A training that diverges goes back and on, more slowly."""

import json
import math

import numpy as np
import pytest
import torch

from llmboost.learn.guard import MOST_SETBACKS, WINDOW, Guard
from llmboost.learn.segmentation import SegmentationTask
from llmboost.learn.trainer import LOG, Trainer, TrainingConfig

from .training_samples import STEPS, losses_of

COUNT = 5 * 2 * WINDOW


def troubles(losses, guard=None):
    guard = guard or Guard()
    found = [guard.trouble(loss, (n + 1) / COUNT) for n, loss in enumerate(losses)]
    return [n for n, text in enumerate(found) if text], [text for text in found if text]


def noise(seed, level=1.0, spread=0.3, count=COUNT):
    return level + spread * np.random.default_rng(seed).standard_normal(count)


def test_a_loss_that_rises_is_trouble():
    rising = np.concatenate([noise(0, count=WINDOW), noise(1, 3.0, count=WINDOW)])
    places, texts = troubles(rising)
    assert places == [2 * WINDOW - 1], "when a fifth of the budget is spent, not before"
    assert texts[0].startswith("the loss rose from ")


def test_a_loss_that_stays_or_falls_is_none():
    """A network that knows something already learns little at first."""
    found = [troubles(noise(seed))[0] for seed in range(100)]
    assert sum(map(bool, found)) <= 1
    assert troubles(np.linspace(2, 1, COUNT)) == ([], [])
    # later, it may rise: what is kept, the validations choose
    assert troubles([*noise(0, count=COUNT // 2), *noise(1, 9.0, count=COUNT // 2)]) == ([], [])


def test_no_number_is_trouble_at_any_time():
    for place in (0, 5, COUNT - 1):
        losses = noise(0)
        losses[place] = math.nan if place else math.inf
        assert troubles(losses) == ([place], ["the loss is not a number"])


class Bumpy(SegmentationTask):
    """Its loss is no number at one step, so often."""

    where, often = 3, 1

    def loss(self, network, batch, progress):
        loss = super().loss(network, batch, progress)
        if progress.step == self.where and self.often:
            self.often -= 1
            return loss * math.nan
        return loss


@pytest.fixture
def make_trainer(tmp_path, volumes, tiny_network):
    def make(folder="run", kind=SegmentationTask, seed=0, **options):
        config = TrainingConfig(**{"steps": 6, "validations": 3, **options})
        task = kind(volumes[0], volumes[1][:1], STEPS, config)
        return Trainer(tiny_network(seed), task, tmp_path / folder, torch.device("cpu"))

    return make


def test_it_goes_back_halves_the_rate_and_says_so(make_trainer, tmp_path):
    trainer = make_trainer(kind=Bumpy)
    events = []
    trainer.report = events.append
    outcome = trainer.run()
    steps = [event["step"] for event in events if event["event"] == "step"]
    assert steps == [1, 2, 3, 1, 2, 3, 4, 5, 6]
    (told,) = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines() if "setback" in line]
    assert told["text"] == "step 3: the loss is not a number; back to step 0 with half the rate"
    assert told["peak"] == trainer.config.rate / 2
    assert trainer.rate <= trainer.config.rate / 2
    assert outcome.steps == 6
    # as if it had been started so
    slower = make_trainer("slower", rate=trainer.config.rate / 2)
    slower.run()
    for name, tensor in slower.network.state_dict().items():
        assert torch.equal(trainer.network.state_dict()[name], tensor), name


def test_later_it_goes_back_to_the_last_good_state(make_trainer):
    trainer = make_trainer(kind=Bumpy)
    trainer.task.where = 5
    trainer.guard.passed = True
    steps = []
    trainer.report = lambda event: event["event"] in ("step", "setback") and steps.append(event["step"])
    trainer.run()
    assert steps == [1, 2, 3, 4, 5, 5, 5, 6], "a setback at step 5, to the checkpoint of step 4"


def test_a_setback_survives_a_stop(make_trainer):
    whole = make_trainer("whole", kind=Bumpy)
    losses = losses_of(whole)
    cut = make_trainer("cut", kind=Bumpy)
    steps = []
    cut.report = lambda event: event["event"] == "step" and steps.append(event["step"])
    cut.cancelled = lambda: len(steps) >= 8
    cut.run()
    again = make_trainer("cut", seed=5)
    again.resume()
    assert again.guard.setbacks == 1
    assert again.step == 4
    assert losses_of(again) == losses[-2:]
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor), name


def test_in_vain(make_trainer):
    assert MOST_SETBACKS == 2
    trainer = make_trainer(kind=Bumpy)
    trainer.task.often = 9
    with pytest.raises(Exception, match="failed at step 3: the loss is not a number; use a smaller --rate"):
        trainer.run()
    assert trainer.guard.setbacks == 2
