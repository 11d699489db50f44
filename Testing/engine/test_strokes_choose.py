"""Edges are chosen by strokes that are left out."""

from __future__ import annotations

import numpy as np
import pytest

from llmboost.errors import Cancelled
from llmboost.inference.watch import Watch
from llmboost.io.image import Image
from llmboost.strokes.choose import DEFAULT, EdgeChoice, choose, stroked_slices
from llmboost.strokes.simulate import SimulatedUser
from llmboost.strokes.strokes import strokes_of
from llmboost.strokes.volume import StrokedVolume
from llmboost.strokes.walker import walk

SHAPE = (30, 36, 30)


@pytest.fixture
def ball():
    """A ball's truth, and its strokes' classes."""
    i, j, k = np.indices(SHAPE)
    truth = (((i - 15) ** 2 + (j - 18) ** 2 + (k - 15) ** 2) < 100).astype(np.uint8)
    strokes = strokes_of(SimulatedUser(truth, 1, 0).first_strokes(), (1, 1, 1))
    return truth, strokes


def noisy(truth, noise):
    """The truth with Gaussian noise of that deviation: [1, i, j, k]."""
    return (truth + noise * np.random.default_rng(0).standard_normal(truth.shape))[None].astype(np.float32)


def right(image, strokes, truth, edges):
    found = walk(image, strokes.classes, (1, 1, 1), edges).argmax(0)
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


def test_a_clean_image_is_taken_by_default(ball):
    truth, strokes = ball
    assert choose(noisy(truth, 0.05), strokes.classes, (1, 1, 1)) == DEFAULT


def test_an_image_full_of_noise_is_denoised_and_the_better_for_it(ball):
    truth, strokes = ball
    image = noisy(truth, 0.5)
    edges = choose(image, strokes.classes, (1, 1, 1))
    assert edges.median
    assert edges == choose(image, strokes.classes, (1, 1, 1))
    assert right(image, strokes, truth, edges) > right(image, strokes, truth, DEFAULT) + 0.04


def test_the_volume_answers_by_what_was_chosen(ball):
    truth, strokes = ball
    image = noisy(truth, 0.5)
    answer = StrokedVolume(Image(image[0], (1, 1, 1), (0, 0, 0), np.eye(3))).update(strokes.array)
    found = answer.labels & truth[answer.box]
    assert 2 * found.sum() / (answer.labels.sum() + truth.sum()) > right(image, strokes, truth, DEFAULT) + 0.04


@pytest.mark.parametrize("left", ["one slice", "one class", "a label in one slice"])
def test_where_nothing_can_be_left_out_the_default_is_taken(ball, left):
    truth, strokes = ball
    classes = strokes.classes.copy()
    axis, runs = stroked_slices(classes)
    assert axis == 1
    assert len(runs) == 3
    if left == "one slice":
        classes[:, : runs[2].start] = -1
    elif left == "one class":
        classes[classes == 0] = -1
    else:
        classes[:, : runs[1].start] = classes[:, runs[1].stop :] = -1
        classes[2, :4, 3] = 0
    assert choose(noisy(truth, 0.5), classes, (1, 1, 1)) == DEFAULT


def test_a_choice_is_remembered_until_more_slices_are_stroked(ball):
    truth, strokes = ball
    image, choice, asked = noisy(truth, 0.5), EdgeChoice(), []
    watch = Watch(cancelled=lambda: bool(asked.append(1)))
    first = choice.edges(image, strokes.classes, (1, 1, 1), watch=watch)
    assert asked
    assert first != DEFAULT
    asked.clear()
    more = strokes.classes.copy()
    _, runs = stroked_slices(more)
    more[3:6, runs[0].start, 3:6] = 0  # in a slice that has strokes
    assert choice.edges(image, more, (1, 1, 1), watch=watch) == first
    assert not asked
    more[3:6, -2, 3:6] = 0
    choice.edges(image, more, (1, 1, 1), watch=watch)
    assert asked


def test_choosing_can_be_cancelled(ball):
    truth, strokes = ball
    with pytest.raises(Cancelled):
        choose(noisy(truth, 0.05), strokes.classes, (1, 1, 1), watch=Watch(cancelled=lambda: True))


def test_strokes_across_any_axis_are_found():
    for axis in range(3):
        classes = np.full((20, 20, 20), -1)
        for place in (3, 10, 11, 16):
            slab = np.moveaxis(classes, axis, 0)[place]
            slab[4:12, 6], slab[4:12, 8:10] = 1, 0
        assert stroked_slices(classes) == (axis, [slice(3, 4), slice(10, 12), slice(16, 17)])
