"""Strokes through the worker: a session, its answers, and what becomes of it."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from llmboost.card import read_card
from llmboost.io.image import Image
from llmboost.library import find
from llmboost.messages.strokes import (
    BACKGROUND,
    StrokesCloseRequest,
    StrokesKeepRequest,
    StrokesOpenRequest,
    StrokesUpdateRequest,
)
from llmboost.messages.words import Device, ErrorKind, StrokesMethod
from llmboost.messages.worker import ReleaseRequest
from llmboost.model import load_model, save_model
from llmboost.strokes.volume import StrokedVolume
from LLMBoostLib.worker.client import WorkerError

from .fake_messages import volumes_of

CANCEL_SECONDS = 5  # in which the worker is killed; what ends sooner has heard


@pytest.fixture(scope="module")
def strokes(image):
    """uint16 [i, j, k] on the image's grid."""
    painted = np.zeros(image.shape, np.uint16)
    painted[12:16, 12, 16] = 1
    painted[2, 4:20, 16], painted[25, 4:20, 16] = BACKGROUND, BACKGROUND
    return painted


def opened(client, image, model="", **listeners):
    request = StrokesOpenRequest(model=model, volumes=volumes_of(image), device=Device.CPU)
    return client.call(request, **listeners).session


def update(session, strokes, **fields):
    return StrokesUpdateRequest(session=session, strokes=np.ascontiguousarray(strokes.transpose()), **fields)


def test_an_answer_is_the_engines_own_on_the_box_of_the_grid(warm, image, strokes):
    answer = warm.call(update(opened(warm, image), strokes))
    own = StrokedVolume(image).update(strokes)
    np.testing.assert_array_equal(answer.labels, own.labels.transpose())
    np.testing.assert_array_equal(answer.sure, own.sure.transpose())
    assert answer.start == tuple(part.start for part in own.box)
    assert (answer.method, answer.model, answer.strokes, answer.teachable) == (StrokesMethod.WALKER, "", 3, False)
    assert 0 < (answer.labels == 1).mean() < 0.5


def test_strokes_may_come_as_the_part_that_is_painted(warm, image, strokes):
    session = opened(warm, image)
    everywhere = warm.call(update(session, strokes))
    part = warm.call(update(session, strokes[2:26, 4:20, 16:17], start=(2, 4, 16)))
    np.testing.assert_allclose(part.labels, everywhere.labels)
    with pytest.raises(WorkerError, match="outside the volume"):
        warm.call(update(session, strokes, start=(1, 0, 0)))


def test_the_least_sure_places_are_told_in_space(warm, image, strokes):
    flat = image.with_array(np.zeros_like(image.array))
    answer = warm.call(update(opened(warm, flat), strokes))
    assert answer.unsure
    inverse = np.linalg.inv(image.affine)
    for place in answer.unsure:
        index = (inverse @ [*place, 1])[:3]
        assert (index >= 0).all()
        assert (index <= np.array(image.shape) - 1).all()


@pytest.mark.parametrize("forgotten", ["closed", "released", "another image"])
def test_a_session_that_is_gone_is_refused_with_what_to_do(warm, image, strokes, forgotten):
    session = opened(warm, image)
    if forgotten == "closed":
        warm.call(StrokesCloseRequest(session=session))
        warm.call(StrokesCloseRequest(session=session))
    elif forgotten == "released":
        warm.call(ReleaseRequest())
    else:
        opened(warm, image)
    with pytest.raises(WorkerError, match="Open it again") as failure:
        warm.call(update(session, strokes))
    assert failure.value.kind == ErrorKind.NOT_AVAILABLE


def test_what_was_not_taught_cannot_be_kept(warm, image, tmp_path):
    with pytest.raises(WorkerError, match="nothing to keep"):
        warm.call(StrokesKeepRequest(session=opened(warm, image), output=str(tmp_path / "a.safetensors")))
    assert not list(tmp_path.iterdir())


def test_a_model_is_loaded_when_it_is_to_learn_and_what_it_learnt_is_kept(warm, image, strokes, tmp_path):
    told = []
    session = opened(warm, image, "hippocampus", onProgress=told.append)
    answer = warm.call(update(session, strokes), onProgress=told.append)
    assert answer.teachable
    assert answer.method == StrokesMethod.WALKER
    assert not any("loading model" in news.text for news in told)
    output = tmp_path / "mine.safetensors"
    with pytest.raises(WorkerError, match="nothing to keep"):
        warm.call(StrokesKeepRequest(session=session, output=str(output)))
    taught = warm.call(update(session, strokes, teach=True), onProgress=told.append)
    assert any("loading model 'hippocampus'" in news.text for news in told)
    assert (taught.method, taught.model, taught.share > 0) == (StrokesMethod.TAUGHT, "hippocampus", True)
    kept = warm.call(StrokesKeepRequest(session=session, output=str(output)))
    assert kept.output == str(output)
    assert kept.card.adapter.base == "hippocampus"
    assert read_card(output) == kept.card


def test_a_model_whose_labels_have_large_values_is_taught_alike(warm, image, strokes, tmp_path):
    model = load_model(find("hippocampus"))
    labels = tuple(replace(label, value=value) for label, value in zip(model.card.labels, (300, 40000), strict=True))
    save_model(model.network, replace(model.card, labels=labels, cascade=None), tmp_path / "large.safetensors")
    table = np.arange(BACKGROUND + 1, dtype=np.uint16)
    table[[1, 2]] = 300, 40000
    taught = [
        warm.call(update(opened(warm, image, model), painted, teach=True))
        for model, painted in (("hippocampus", strokes), (str(tmp_path / "large.safetensors"), table[strokes]))
    ]
    assert {answer.method for answer in taught} == {StrokesMethod.TAUGHT}
    np.testing.assert_array_equal(taught[1].labels, table[taught[0].labels])


def test_strokes_that_cannot_be_used_are_refused(warm, image, strokes):
    session = opened(warm, image)
    for wrong, reason in [
        (update(session, np.zeros_like(strokes)), "no segment is painted"),
        (replace(update(session, strokes), strokes=np.zeros((3, 3), np.uint16)), "16-bit label map"),
        (update(session, strokes.astype(np.int16)), "16-bit label map"),
    ]:
        with pytest.raises(WorkerError, match=reason) as failure:
            warm.call(wrong)
        assert failure.value.kind == ErrorKind.BAD_INPUT


def test_a_cancelled_update_keeps_the_session(warm):
    random = np.random.default_rng(0)
    large = Image(random.normal(size=(160, 160, 100)).astype(np.float32), (1, 1, 1), (0, 0, 0), np.eye(3))
    painted = np.zeros(large.shape, np.uint16)
    painted[80, 60:100, 50] = 1
    painted[5, :, 5], painted[150, :, 95] = BACKGROUND, BACKGROUND
    session, failures, ended = opened(warm, large), [], []
    warm.start(
        update(session, painted), onProgress=lambda _: warm.cancel(), onError=failures.append, onDone=ended.append
    )
    started = time.monotonic()
    while not (failures or ended):
        warm.poll(0.01)
        assert time.monotonic() - started < CANCEL_SECONDS
    assert failures[0].kind == ErrorKind.CANCELLED
    small = np.where(np.indices(painted.shape).max(0) < 70, painted, 0)
    small[40, 40:50, 40] = 2
    assert warm.call(update(session, small.astype(np.uint16))).labels.any()  # the same worker's
