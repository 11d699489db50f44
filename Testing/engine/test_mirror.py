"""Answers averaged over mirror images: of anatomy without sides, and of a brain, whose sides are then exchanged."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from llmboost.card import LEFT, RIGHT, SEGMENTATION, Card, Label, Normalization, Preprocessing, read_card
from llmboost.inference.mirror import Mirrored, mirror_images
from llmboost.inference.segment import segment
from llmboost.io.image import Image
from llmboost.library import find
from llmboost.model import Model

SHAPE = (40, 24, 20)
LABELS = (
    Label(1, "Left thalamus", (1, 1, 1), modifier=LEFT),
    Label(2, "Right thalamus", (2, 2, 2), modifier=RIGHT),
    Label(3, "Brain stem", (3, 3, 3)),
)


class Lopsided(nn.Module):
    """Draws what is bright as left or right, by where it lies along an axis of what it sees, and more of it on the
    left, which is where that axis begins (0) or ends (1)."""

    def __init__(self, axis: int = 0, left: int = 0):
        super().__init__()
        self.weight, self.axis, self.left = nn.Parameter(torch.zeros(1)), axis, left

    def forward(self, x):
        count = x.shape[2 + self.axis]
        half = (torch.arange(count) >= count // 2).int().reshape([-1 if n == self.axis else 1 for n in range(3)])
        left, right = 20 * (x - 0.3) - 99 * (half != self.left), 20 * (x - 0.6) - 99 * (half == self.left)
        return torch.cat([torch.zeros_like(x), left, right, -99 * torch.ones_like(x)], dim=1)


def model(labels=LABELS, network=None, intracranial=None, **steps):
    usual = {"patch_size": SHAPE, "spacing": (2.0,) * 3, "normalization": (Normalization("window", 0, 1, 0, 1),)}
    steps = Preprocessing(**{**usual, **steps})
    values = tuple(label.value for label in labels) if intracranial is None else intracranial
    card = Card("head", "", "", SEGMENTATION, labels, "MR", steps, {"name": "none"}, {}, intracranial=values)
    return Model(card, network or Lopsided())


@pytest.fixture
def symmetric() -> Image:
    x, y, z = (np.linspace(-1, 1, n) for n in SHAPE)
    blobs = np.exp(-8 * ((abs(x)[:, None, None] - 0.5) ** 2 + y[:, None] ** 2 + z**2))
    return Image(blobs.astype(np.float32), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), np.diag([-1.0, -1.0, 1.0]))


def volumes(model, image, **options):
    found = segment(model, [image], **options)
    return [found.volumes_ml[label.name] for label in model.card.labels]


@pytest.mark.parametrize(
    ("orientation", "shape", "network"),
    [("RAS", SHAPE, Lopsided(0, 0)), ("LPS", SHAPE, Lopsided(0, 1)), ("SAR", SHAPE[::-1], Lopsided(2, 0))],
)
def test_a_symmetric_head_has_two_alike_sides(symmetric, orientation, shape, network):
    own = model(network=network, orientation=orientation, patch_size=shape)
    left, right, _ = volumes(own, symmetric)
    assert left > 1.5 * right
    both = volumes(own, symmetric, mirror=True)
    assert both[0] == pytest.approx(both[1], rel=0.01)
    assert right < both[0] < left


def test_left_stays_left(symmetric):
    symmetric.array[: SHAPE[0] // 2] = 0  # along R: the left is empty now
    left, right, _ = volumes(model(), symmetric, mirror=True)
    assert (left, right > 0) == (0, True)


@pytest.mark.parametrize(
    "own",
    [
        model(intracranial=(1, 2)),  # of a whole body, in which not all has another side
        model(labels=LABELS[1:]),  # the left one is none of the labels
        model(labels=LABELS[2:]),
        model(orientation="stored"),
    ],
    ids=["not all inside the skull", "one side alone", "no sides", "axes unknown"],
)
def test_where_a_mirrored_patient_would_be_unusual_there_is_none(own):
    assert mirror_images(own.card) == (Mirrored(),)


def test_anatomy_without_sides_is_mirrored_as_the_card_says():
    card = model(mirror=(0, 1)).card
    assert mirror_images(card) == (Mirrored(), Mirrored((0,)), Mirrored((1,)))
    card = dataclasses.replace(card, tiling=dataclasses.replace(card.tiling, mirrorings="all"))
    assert mirror_images(card)[-1] == Mirrored((0, 1))


def test_sides_are_exchanged_beside_axes_of_the_card():
    card = model(mirror=(1,)).card
    assert mirror_images(card) == (Mirrored(), Mirrored((0,), (0, 2, 1, 3)), Mirrored((1,)))


def test_the_shipped_models():
    def pairs(name):
        card = read_card(find(name))
        names = ["", *(label.name for label in card.labels)]
        return [[(names[a], names[b]) for a, b in enumerate(one.classes)] for one in mirror_images(card)]

    other = {"Left": "Right", "Right": "Left"}
    (none, exchanged) = pairs("brain-1mm")
    assert not none
    for name, became in exchanged:
        side, _, structure = name.partition(" ")
        assert became == (f"{other[side]} {structure}" if side in other else name)
    assert pairs("hippocampus") == [[], []]  # one side alone is seen at a time
    assert pairs("brain") == [[]]
