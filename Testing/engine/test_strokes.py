"""A volume that is painted in: strokes in, segments out."""

from __future__ import annotations

import numpy as np
import pytest

from llmboost.errors import Cancelled, LLMBoostError
from llmboost.inference.roi import Roi
from llmboost.inference.watch import Watch
from llmboost.io.image import Image
from llmboost.messages.strokes import BACKGROUND
from llmboost.messages.words import StrokesMethod
from llmboost.strokes.simulate import SimulatedUser
from llmboost.strokes.strokes import Strokes, strokes_of
from llmboost.strokes.volume import StrokedVolume


@pytest.fixture
def case(make_case):
    """An image and the truth, as an array."""
    image, label = make_case(3)
    return image, label.array


def dice(found, truth, value):
    return 2 * ((found == value) & (truth == value)).sum() / ((found == value).sum() + (truth == value).sum())


def whole(answer, shape):
    labels = np.zeros(shape, np.uint16)
    labels[answer.box] = answer.labels
    return labels


def test_strokes_become_segments_and_corrections_make_them_better(case):
    image, truth = case
    user, volume = SimulatedUser(truth, 1, 0), StrokedVolume(image)
    strokes, scores = user.first_strokes(), []
    for _ in range(4):
        answer = volume.update(strokes)
        found = whole(answer, truth.shape)
        painted = strokes > 0
        np.testing.assert_array_equal(found[painted], np.where(strokes == BACKGROUND, 0, strokes)[painted])
        scores.append(np.mean([dice(found, truth, 1), dice(found, truth, 2)]))
        strokes = user.correct(strokes, found)
    assert answer.method == StrokesMethod.WALKER
    assert answer.strokes > 12
    assert (answer.sure[strokes[answer.box] > 0].mean()) > 250
    assert scores[0] > 0.7
    assert scores[-1] > max(scores[0], 0.85)


def test_oblique_axes_and_slices_of_any_order_give_the_same(case):
    image, truth = case
    strokes = SimulatedUser(truth, 1, 0).first_strokes()
    turned = Image(
        image.array.transpose(2, 0, 1)[:, ::-1], image.spacing, (5, 6, 7), np.linalg.qr(np.ones((3, 3)) + np.eye(3))[0]
    )
    straight = whole(StrokedVolume(image).update(strokes), truth.shape)
    found = whole(StrokedVolume(turned).update(strokes.transpose(2, 0, 1)[:, ::-1]), turned.shape)
    assert (found[:, ::-1].transpose(1, 2, 0) == straight).mean() > 0.999


def test_one_segment_alone_ends_where_the_box_does():
    image = Image(np.zeros((30, 30, 30), np.float32), (1, 1, 1), (0, 0, 0), np.eye(3))
    image.array[10:20, 10:20, 10:20] = 100
    strokes = np.zeros(image.shape, np.uint16)
    strokes[15, 13:17, 15] = 4
    answer = StrokedVolume(image).update(strokes)
    np.testing.assert_array_equal(whole(answer, image.shape), np.where(image.array > 0, 4, 0))


def test_labels_of_any_values_are_spread_alike(case):
    image, truth = case
    strokes = SimulatedUser(truth, 1, 0).first_strokes()
    table = np.arange(BACKGROUND + 1, dtype=np.uint16)
    table[[1, 2]] = 255, 40000
    expected, answer = (StrokedVolume(image).update(painted) for painted in (strokes, table[strokes]))
    assert expected.labels.any()
    np.testing.assert_array_equal(answer.labels, table[expected.labels])


def test_many_segments_at_once():
    """More than a byte can tell apart, each in a block of its own brightness."""
    blocks = np.arange(1, 301).reshape(10, 10, 3)
    truth = blocks.repeat(3, 0).repeat(3, 1).repeat(3, 2)
    image = Image((truth * 97 % 301).astype(np.float32), (1, 1, 1), (0, 0, 0), np.eye(3))
    strokes = np.zeros(truth.shape, np.uint16)
    strokes[1::3, 1::3, 1::3] = truth[1::3, 1::3, 1::3]
    answer = StrokedVolume(image).update(strokes)
    assert answer.strokes == 300
    assert (answer.labels == truth).mean() > 0.95


def test_a_picture_of_one_slice():
    image = Image(np.zeros((40, 40, 1), np.float32), (0.5, 0.5, 5), (0, 0, 0), np.eye(3))
    image.array[10:20, 10:30] = 100
    strokes = np.zeros(image.shape, np.uint16)
    strokes[15, 13:27] = 1
    np.testing.assert_array_equal(whole(StrokedVolume(image).update(strokes), image.shape), image.array > 0)


def test_a_region_of_interest_limits_the_answer(case):
    image, truth = case
    strokes = SimulatedUser(truth, 1, 0).first_strokes()
    center = (image.affine @ [12, 14, 12, 1])[:3]
    answer = StrokedVolume(image).update(strokes, Roi(center, (16.0, 16.0, 16.0)))
    assert answer.labels.shape == answer.sure.shape == (17, 17, 17)
    assert [part.start for part in answer.box] == [4, 6, 4]
    far = Roi(center + np.array([0, 500, 0]), (16.0, 16.0, 16.0))
    with pytest.raises(LLMBoostError, match="outside the image"):
        StrokedVolume(image).update(strokes, far)


def test_where_it_is_not_sure_it_tells(case):
    image, truth = case
    flat = image.with_array(np.where(np.indices(image.shape)[2] < 8, 0, image.array))  # nothing to see there
    answer = StrokedVolume(flat).update(SimulatedUser(truth, 1, 0).first_strokes())
    for place in answer.unsure:
        i, j, k = (int(n) for n in place)
        assert answer.sure[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2].min() < 200
    distances = [np.linalg.norm(np.subtract(a, b)) for n, a in enumerate(answer.unsure) for b in answer.unsure[:n]]
    assert all(distance > 7 for distance in distances)


@pytest.mark.parametrize(
    ("strokes", "reason"),
    [
        (np.zeros((24, 28, 24), np.uint16), "no segment is painted"),
        (np.full((24, 28, 24), BACKGROUND, np.uint16), "no segment is painted"),
        (np.ones((24, 28, 24), np.int16), "16 bits"),
        (np.ones((24, 28, 23), np.uint16), "do not fit"),
    ],
    ids=["empty", "background alone", "int16", "another grid"],
)
def test_strokes_that_cannot_be_used_are_refused_in_a_line(case, strokes, reason):
    with pytest.raises(LLMBoostError, match=reason):
        StrokedVolume(case[0]).update(strokes)


def test_a_cancelled_update_leaves_the_volume_as_it_was(case):
    image, truth = case
    strokes, volume = SimulatedUser(truth, 1, 0).first_strokes(), StrokedVolume(image)
    before = volume.update(strokes)
    with pytest.raises(Cancelled):
        volume.update(
            np.where(np.indices(strokes.shape)[0] == 5, BACKGROUND, strokes).astype(np.uint16),
            watch=Watch(cancelled=lambda: True),
        )
    np.testing.assert_allclose(volume.update(strokes).labels, before.labels)


def test_strokes_are_counted_and_boxed():
    array = np.zeros((60, 60, 60), np.uint16)
    array[30, 30, 20:40] = 1
    array[30, 35:40, 30] = 2
    array[50, 30, 30], array[51, 31, 31] = BACKGROUND, BACKGROUND
    strokes = Strokes(array, (1.0, 1.0, 5.0))
    assert (strokes.values, strokes.count) == ((1, 2), 3)
    assert strokes.box() == (slice(15, 60), slice(15, 55), slice(16, 44))
    assert set(np.unique(strokes_of(array, np.ones(3)).classes)) == {-1, 0, 1, 2}


def test_the_simulated_user_paints_what_is_true_and_repeats_itself(case):
    _, truth = case
    user, again = SimulatedUser(truth, 2, 5), SimulatedUser(truth, 2, 5)
    strokes = user.first_strokes()
    np.testing.assert_array_equal(strokes, again.first_strokes())
    assert set(np.unique(strokes)) == {0, 1, 2, BACKGROUND}
    assert len(np.flatnonzero((strokes > 0).any((0, 1)))) == 3
    assert (strokes > 0).mean() < 0.05
    more = user.correct(strokes, np.zeros_like(truth))
    for painted in (strokes, more):
        seen = painted > 0
        np.testing.assert_array_equal(np.where(painted == BACKGROUND, 0, painted)[seen], truth[seen])
    assert (more > 0).sum() > (strokes > 0).sum()
    np.testing.assert_array_equal(user.correct(more, truth), more)
