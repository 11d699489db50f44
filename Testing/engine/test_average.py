"""Averaged weights: what is validated and kept, while training goes on with its own."""

import pytest
import torch

from llmboost.learn.average import WeightAverage
from llmboost.learn.segmentation import SegmentationTask, mean_dice_of
from llmboost.learn.trainer import Trainer, TrainingConfig

from .training_samples import STEPS, losses_of


@pytest.fixture
def make_trainer(tmp_path, volumes, tiny_network):
    def make(folder="run", seed=0, **options):
        config = TrainingConfig(**{"steps": 6, "validations": 2, "ema": 0.9, "precision": "float32", **options})
        task = SegmentationTask(volumes[0], volumes[1][:1], STEPS, config)
        return Trainer(tiny_network(seed), task, tmp_path / folder, torch.device("cpu"))

    return make


def test_the_start_is_soon_forgotten():
    layer = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    average = WeightAverage(layer, 0.99)
    with torch.no_grad():
        layer[0].weight.fill_(1.0)
        layer[1].running_mean.fill_(1.0)
    for step in range(20):
        average.update(step)
    for name in ("0.weight", "1.running_mean"):
        torch.testing.assert_close(average.tensors[name], torch.ones_like(average.tensors[name]), atol=1e-3, rtol=0)
    # later, it remembers
    with torch.no_grad():
        layer[0].weight.fill_(2.0)
    average.update(10_000)
    torch.testing.assert_close(average.tensors["0.weight"], torch.full((2, 2), 1.01), atol=1e-3, rtol=0)
    with average.in_place():
        assert layer[0].weight.mean() < 1.1
    assert (layer[0].weight == 2).all()


def test_what_is_validated_is_what_is_kept(make_trainer, tiny_network, volumes):
    trainer = make_trainer()
    outcome = trainer.run()
    own = trainer.network.state_dict()
    assert any(not torch.equal(outcome.state[name], own[name]) for name in outcome.state)
    network = tiny_network(seed=1)
    network.load_state_dict({**network.state_dict(), **outcome.state})
    dice = mean_dice_of(network, volumes[1][0], STEPS)
    assert list(outcome.score.known_labels.values()) == pytest.approx(dice, abs=1e-6)


def test_the_last_weights_are_averaged_too(make_trainer):
    trainer = make_trainer(last=True)
    outcome = trainer.run()
    for name, tensor in trainer.learner.average.tensors.items():
        assert torch.equal(outcome.state[name], tensor), name


def test_learning_itself_is_not_changed(make_trainer):
    assert losses_of(make_trainer("a")) == losses_of(make_trainer("b", ema=0.0))


def test_it_goes_on_as_if_it_had_not_been_stopped(make_trainer):
    whole = make_trainer("whole", validations=3)
    expected = whole.run()
    cut = make_trainer("cut", validations=3)
    steps = []
    cut.report = lambda event: event["event"] == "step" and steps.append(event["step"])
    cut.cancelled = lambda: len(steps) >= 5
    cut.run()
    again = make_trainer("cut", seed=5, validations=3)
    again.resume()
    assert again.step == 4
    outcome = again.run()
    assert outcome.score == expected.score
    for name, tensor in expected.state.items():
        assert torch.equal(outcome.state[name], tensor), name
        assert torch.equal(again.learner.average.tensors[name], whole.learner.average.tensors[name]), name
