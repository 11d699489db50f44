"""How much the walker leaks into the background is chosen by strokes that are left out."""

from __future__ import annotations

import numpy as np
import pytest

from llmboost.errors import Cancelled
from llmboost.inference.watch import Watch
from llmboost.io.image import Image
from llmboost.messages.strokes import BACKGROUND
from llmboost.strokes.choose import choose_leak
from llmboost.strokes.simulate import SimulatedUser
from llmboost.strokes.strokes import stroked_slices, strokes_of
from llmboost.strokes.volume import StrokedVolume
from llmboost.strokes.walker import walk

MM = (1, 1, 1)


@pytest.fixture
def ball():
    """A noisy ball, and its strokes."""
    i, j, k = np.indices((30, 36, 30))
    truth = (((i - 15) ** 2 + (j - 18) ** 2 + (k - 15) ** 2) < 100).astype(np.uint8)
    image = truth + 0.05 * np.random.default_rng(0).standard_normal(truth.shape).astype(np.float32)
    return image[None].astype(np.float32), strokes_of(SimulatedUser(truth, 1, 0).first_strokes(), MM)


@pytest.fixture
def alike():
    """An image that is the same all over, with a label at one end: only the slice in the middle has a stroke of
    background far from it, too."""
    image, painted = np.zeros((1, 110, 13, 9), np.float32), np.zeros((110, 13, 9), np.uint16)
    for place in (3, 7, 11):
        painted[8:10, place, 2:7], painted[0, place, 2:7] = 1, BACKGROUND
    painted[80, 7, 2:7] = BACKGROUND
    return image, strokes_of(painted, MM)


def test_what_strokes_find_without_is_not_taken_away(ball):
    image, strokes = ball
    assert choose_leak(image, strokes.classes, MM) == 0


def test_what_runs_out_is_held_back(alike):
    image, strokes = alike
    leak = choose_leak(image, strokes.classes, MM)
    assert leak > 0
    assert leak == choose_leak(image, strokes.classes, MM)
    answer = StrokedVolume(Image(image[0], MM, (0, 0, 0), np.eye(3))).update(strokes.array)
    without = walk(image, strokes.classes, MM).argmax(0)
    assert 0 < (answer.labels == 1).sum() < 0.8 * (without == 1).sum()


@pytest.mark.parametrize("left", ["one slice", "one class", "a label in one slice"])
def test_where_nothing_can_be_left_out_nothing_leaks(alike, left):
    image, strokes = alike
    classes = strokes.classes.copy()
    axis, runs = stroked_slices(classes)
    assert (axis, len(runs)) == (1, 3)
    if left == "one slice":
        classes[:, : runs[2].start] = -1
    elif left == "one class":
        classes[classes == 0] = -1
    else:
        others = classes[:, [3, 11]]
        others[others == 1] = -1
        classes[:, [3, 11]] = others
    assert choose_leak(image, classes, MM) == 0


def test_a_choice_is_remembered_until_more_slices_are_stroked(alike):
    image, strokes = alike
    volume, asked = StrokedVolume(Image(image[0], MM, (0, 0, 0), np.eye(3))), []
    watch = Watch(cancelled=lambda: bool(asked.append(1)))

    def steps(painted):
        asked.clear()
        volume.update(painted, watch=watch)
        return len(asked)

    first, more = steps(strokes.array), strokes.array.copy()
    more[40:42, 7, 2:7] = BACKGROUND  # in a slice that has strokes
    assert steps(more) < first / 2
    more[40:42, 5, 2:7] = BACKGROUND
    assert steps(more) > first / 2


def test_choosing_can_be_cancelled(alike):
    image, strokes = alike
    with pytest.raises(Cancelled):
        choose_leak(image, strokes.classes, MM, watch=Watch(cancelled=lambda: True))


def test_strokes_across_any_axis_are_found():
    for axis in range(3):
        classes = np.full((20, 20, 20), -1)
        for place in (3, 10, 11, 16):
            slab = np.moveaxis(classes, axis, 0)[place]
            slab[4:12, 6], slab[4:12, 8:10] = 1, 0
        assert stroked_slices(classes) == (axis, [slice(3, 4), slice(10, 12), slice(16, 17)])
