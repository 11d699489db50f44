"""Labels that have an output of their own each, told as classes that exclude each other."""

import dataclasses
from itertools import product

import pytest
import torch

from llmboost.card import Tiling
from llmboost.inference.exclusive import class_logits, classes_of
from llmboost.io.dataset import read_dataset
from llmboost.learn.loss import SegmentationLoss
from llmboost.learn.patches import TrainingPatches
from llmboost.learn.ranking import look
from llmboost.learn.regularizers import Consistency, Distillation
from llmboost.learn.segmentation import SegmentationTask, read_volume
from llmboost.learn.trainer import Progress, TrainingConfig
from llmboost.model import Model

from .nnunet_samples import nnunet_network

REGIONS = 3


def outputs_of(seed=0, scale=3.0):
    return scale * torch.randn(2, REGIONS, 4, 5, 3, generator=torch.Generator().manual_seed(seed))


def test_a_class_is_as_probable_as_the_draws_that_end_in_it():
    """Each label is drawn or not by its own probability; the last one drawn is what is seen."""
    outputs = outputs_of()
    expected = torch.zeros(2, REGIONS + 1, 4, 5, 3)
    for draws in product((False, True), repeat=REGIONS):
        chance = torch.ones(2, 4, 5, 3)
        for n, drawn in enumerate(draws):
            chance = chance * (outputs[:, n] if drawn else -outputs[:, n]).sigmoid()
        expected[:, max((n + 1 for n, drawn in enumerate(draws) if drawn), default=0)] += chance
    torch.testing.assert_close(class_logits(outputs, "sigmoid").exp(), expected)
    torch.testing.assert_close(class_logits(outputs, "sigmoid").softmax(dim=1), expected)
    assert torch.equal(class_logits(outputs, "softmax"), outputs)


@pytest.mark.parametrize("scale", [1e-3, 30.0, 1e4])
def test_what_is_sure_is_a_number_and_leads_on(scale):
    outputs = outputs_of(1, scale).requires_grad_()
    loss = SegmentationLoss()([class_logits(outputs, "sigmoid")], torch.full((2, 1, 4, 5, 3), 2))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(outputs.grad).all()
    assert (outputs.grad[:, 1] < 0).any()
    assert not outputs.grad[:, 0].abs().gt(1e-6 * outputs.grad.abs().max()).any(), "what lies under it may be anything"


def test_the_last_one_drawn_is_the_class_even_if_another_one_is_likelier():
    outputs = torch.tensor([[0.2], [-0.1], [-3.0]])  # 0.55, 0.475 and 0.05: the second alone has the most
    assert class_logits(outputs[None], "sigmoid")[0, :, 0].argmax() == 2
    assert classes_of(outputs, "sigmoid").tolist() == [1]
    assert classes_of(torch.tensor([[1.0, -1.0], [1.0, -1.0], [-1.0, -1.0]]), "sigmoid").tolist() == [2, 0]


@pytest.fixture
def twins(tiny_card):
    """Two models that say the same: one label with an output of its own, and two classes, of which the background's
    logit is 0."""
    region, both = nnunet_network(classes=1), nnunet_network(classes=2)
    both.load_state_dict(
        {
            name: torch.cat([torch.zeros_like(tensor), tensor]) if name.startswith("head.") else tensor
            for name, tensor in region.state_dict().items()
        }
    )
    tiling = Tiling(average="logits")
    cards = [
        dataclasses.replace(card, labels=card.labels[:1], tiling=tiling) for card in map(tiny_card, (region, both))
    ]
    return Model(dataclasses.replace(cards[0], activation="sigmoid"), region), Model(cards[1], both)


def test_a_label_alone_is_learned_judged_and_ranked_as_one_of_two_classes(twins, dataset_folder):
    dataset = read_dataset(dataset_folder)
    case = dataset.cases["case_0"]
    told = []
    for model in twins:
        preprocessing, activation, network = model.card.preprocessing, model.card.activation, model.network
        volume = read_volume(dataset, case, preprocessing)
        volume = dataclasses.replace(volume, label=volume.label.clamp(max=1))
        extra = [Distillation(network, 0.5, activation), Consistency(TrainingPatches([volume], preprocessing, 9, 0), 1)]
        how = preprocessing, TrainingConfig(steps=2), {1: "front"}, extra, (), activation
        task = SegmentationTask([volume], [volume], *how)
        image = torch.randn(1, 1, 24, 32, 24, generator=torch.Generator().manual_seed(2))
        torch.manual_seed(0)
        told.append(
            {
                "loss": float(task.loss(network, {"image": image, "label": (image > 0.5).long()}, Progress(0, 0.5))),
                "dice": task.score(network).value,
                "doubt": look(model, case)[0],
            }
        )
    assert told[0] == pytest.approx(told[1], abs=1e-5)
    assert 0 < told[0]["dice"] < 1
    assert told[0]["doubt"] > 0
