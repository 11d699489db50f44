"""The class of each voxel of an image, of many classes: as if all were brought to its grid."""

import dataclasses

import numpy as np
import pytest
import torch

from llmboost.card import SEGMENTATION, Card, Label, Preprocessing, Tiling
from llmboost.inference import regrid
from llmboost.inference.contest import winning_classes
from llmboost.inference.regrid import class_scores, slabs_on_grid
from llmboost.io.image import Image, resample

CLASSES = 23
LOGITS = Tiling(places="even", average="logits")
HOW = {
    "logits": {"tiling": LOGITS},
    "probabilities": {},
    "regions": {"tiling": LOGITS, "activation": "sigmoid"},
    "regions, of probabilities": {
        "tiling": dataclasses.replace(LOGITS, back="probabilities"),
        "activation": "sigmoid",
    },
}
GRIDS = {
    "finer": ((20, 24, 18), (1.5, 1.5, 1.5), (70, 45, 41)),
    "coarser": ((40, 30, 36), (1.0, 1.0, 1.0), (17, 19, 11)),
    "the same": ((20, 24, 18), (1.0, 1.0, 1.0), (20, 24, 18)),
    "one slice": ((1, 24, 18), (2.0, 1.5, 1.5), (1, 40, 33)),
}


def card(**fields):
    labels = tuple(Label(n, f"label {n}", (0, 0, 0)) for n in range(1, CLASSES))
    return Card("a", "", "", SEGMENTATION, labels, "CT", Preprocessing(resampling="cubic"), {}, {}, **fields)


def scores(shape, how, kind):
    """What a network says: smooth, as of trained ones, or noise."""
    random = np.random.default_rng(5)
    regions = "regions" in how
    result = random.standard_normal((CLASSES - regions, *shape)).astype(np.float32)
    if kind == "smooth":
        places = np.stack(np.indices(shape), -1)
        for one in result:
            middle, radius = random.uniform(0, 1, 3) * shape, random.uniform(2, 6)
            one *= 0.1
            one += radius - np.linalg.norm(places - middle, axis=-1)
        result[0] -= 0 if regions else result[0]
    if how == "probabilities":
        result = torch.from_numpy(result).softmax(0).numpy()
    if how == "regions, of probabilities":
        result = torch.from_numpy(result).sigmoid().numpy()
    return result


def grids(name, array):
    shape, spacing, target = GRIDS[name]
    assert array.shape[1:] == shape
    direction = np.diag([-1.0, -1.0, 1.0])
    steps = [mm * n / m for mm, n, m in zip(spacing, shape, target, strict=True)]
    shift = ((np.array(shape) - 1) * spacing - (np.array(target) - 1) * steps) / 2
    part = Image(np.broadcast_to(np.float32(0), target), tuple(steps), tuple(direction @ shift), direction)
    return Image(array, spacing, (0.0, 0.0, 0.0), direction), part


def all_compared(slab, part, card, across=None):
    """By the whole of every class on the image's grid."""
    best, winner = np.full(part.shape, -np.inf, np.float32), np.zeros(part.shape, int)
    for n, found, _ in class_scores(slab, part, card, across, probabilities=False):
        better = found > best
        best[better], winner[better] = found[better], n
    return winner


@pytest.mark.parametrize("kind", ["smooth", "noise"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("grid", GRIDS)
def test_the_classes_are_those_of_all_scores(grid, how, kind):
    model = card(**HOW[how])
    slab, part = grids(grid, scores(GRIDS[grid][0], how, kind))
    found = winning_classes(slab, part, model, None)
    assert (found != all_compared(slab, part, model)).sum() == 0
    assert len(np.unique(found)) > 3


@pytest.mark.parametrize("kind", ["smooth", "noise"])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_classes_are_those_of_itk(grid, kind):
    slab, part = grids(grid, scores(GRIDS[grid][0], "logits", kind))
    expected = np.argmax([resample(slab.with_array(one), part, "linear").array for one in slab.array], axis=0)
    assert (winning_classes(slab, part, card(tiling=LOGITS), None) != expected).sum() == 0


def test_half_precision_and_slices_far_apart():
    slab, part = grids("finer", scores(GRIDS["finer"][0], "logits", "smooth").astype(np.float16))
    model = card(tiling=LOGITS)
    assert (winning_classes(slab, part, model, 2) != all_compared(slab, part, model, 2)).sum() == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thin_parts_of_a_slab_make_the_same(axis, monkeypatch):
    array = torch.from_numpy(scores(GRIDS["finer"][0], "logits", "noise"))
    work, target = grids("finer", array.numpy())
    model = card(tiling=LOGITS)

    def drawn():
        result = np.full(target.shape, -1)
        for planes, slab, part in slabs_on_grid(iter(array.split(7, dim=axis + 1)), work, target, axis):
            depths.append(slab.shape[axis])
            result[tuple(planes if n == axis else slice(None) for n in range(3))] = winning_classes(
                slab, part, model, None
            )
        return result

    depths = []
    expected = drawn()
    assert max(depths) > 6
    monkeypatch.setattr(regrid, "AT_ONCE", 2 * array[:, 0].numel())
    depths = []
    assert (drawn() != expected).sum() == 0
    assert max(depths) < 6
