"""Through the worker with torch: the engine's own result, and the same faults as with the light one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from llmboost.inference.roi import Roi
from llmboost.io.image import Image
from llmboost.library import find
from llmboost.messages.images import Box, SegmentRequest
from llmboost.messages.words import Device
from llmboost.messages.worker import HelloRequest, ModelsRequest, Progress, ReleaseRequest, WarmUpRequest
from LLMBoostLib.worker.client import Client, WorkerError
from LLMBoostLib.worker.launcher import defaultCommand

from .fake_messages import Fake, volumes_of

CRASH = (
    f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})"
    + """
import ctypes, os
from fake_messages import faked
from llmboost import worker
from llmboost.handlers import Engine
def crash(job):
    import torch
    total = torch.ones(8).sum()
    job.progress(None, "torch is there")
    if job.request.fields["how"] == "memory":
        torch.empty(2**50)
    if job.request.fields["how"] == "segfault":
        ctypes.string_at(0)
    if job.request.fields["how"] == "abort":
        os.abort()
    os._exit(int(total))
worker.main({**Engine().handlers, **faked(crash=crash)})
"""
)


WARM_UP = WarmUpRequest(model="hippocampus", device=Device.CPU)


def request(image: Image, **fields) -> SegmentRequest:
    return SegmentRequest(**{"model": "hippocampus", "volumes": volumes_of(image), "device": Device.CPU, **fields})


def test_a_result_is_the_engines_own_voxel_for_voxel(warm, image):
    center = image.affine @ [14, 12, 16, 1]
    turn = np.linalg.qr(np.array([[1.0, 0.3, 0.0], [-0.3, 1.0, 0.1], [0.0, -0.1, 1.0]]))[0]
    box = Box(tuple(center[:3].tolist()), (20.0, 16.0, 22.0), turn)
    asked = request(image, roi=box, mirror=True, uncertainty=True, probabilities=True)
    progress: list[Progress] = []
    warm.call(WARM_UP)
    answer = warm.call(asked, onProgress=progress.append)
    assert not any("loading" in p.text for p in progress), "the model is warm"
    assert progress[0].memory > image.array.nbytes

    from llmboost.inference.segment import segment
    from llmboost.model import load_model

    roi = Roi(box.center, box.size, turn)
    own = segment(load_model(find("hippocampus")), [image], roi=roi, mirror=True, entropy=True, probabilities=True)
    np.testing.assert_array_equal(answer.labelmap, own.labelmap.array.transpose())
    assert answer.labelmap.any()
    found = [(label.value, label.name) for label in answer.labels]
    assert [name for _, name in found] == list(own.volumes_ml) == list(answer.volumes_ml)
    assert answer.volumes_ml == pytest.approx(own.volumes_ml)
    np.testing.assert_allclose(answer.entropy / 255, own.entropy.array.transpose(), atol=0.51 / 255)
    assert [(one.value, one.name) for one in answer.classes] == found
    for one, chance in zip(answer.classes, own.probabilities.array[1:], strict=True):
        np.testing.assert_allclose(one.probability / 255, chance.transpose(), atol=0.51 / 255)
    assert answer.provenance["LLMBoost.Model"] == "hippocampus"


def test_release_drops_the_model(warm):
    progress: list[Progress] = []
    warm.call(WARM_UP)
    warm.call(WARM_UP, onProgress=progress.append)
    assert not progress
    warm.call(ReleaseRequest())
    warm.call(WARM_UP, onProgress=progress.append)
    assert [p.text for p in progress] == ["loading model 'hippocampus'"]


def test_the_engines_refusals_arrive_as_they_are(warm, image):
    with pytest.raises(WorkerError, match="abacus") as error:
        warm.call(request(image, device="abacus"))
    assert error.value.kind == "bad_input"


@pytest.fixture(scope="module")
def large(image) -> Image:
    """An image of many windows."""
    return Image(np.tile(image.array, (3, 3, 2)), image.spacing, image.origin, image.direction)


def test_cancels(warm, large, wait_for, monkeypatch):
    monkeypatch.setattr(warm, "cancelSeconds", 60)  # only the engine's own way to stop counts here
    worker = warm.call(HelloRequest()).pid
    for _ in range(3):
        progress: list[Progress] = []
        errors: list[WorkerError] = []
        warm.start(request(large), onProgress=progress.append, onError=errors.append)
        wait_for(lambda: any(p.fraction for p in progress), warm.poll)  # noqa: B023
        warm.cancel()
        wait_for(lambda: not warm.busy, warm.poll)
        assert [error.kind for error in errors] == ["cancelled"]
    assert warm.call(HelloRequest()).pid == worker


def test_kills(warm, image, large, wait_for, gone):
    for moment in ("segmenting", "loading", ""):
        progress: list[Progress] = []
        errors: list[WorkerError] = []
        worker = warm.call(HelloRequest()).pid
        warm.start(request(large), onProgress=progress.append, onError=errors.append)
        wait_for(lambda: any(moment in p.text for p in progress) or not moment, warm.poll)  # noqa: B023
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: not warm.busy, warm.poll)
        assert [error.kind for error in errors] == ["crashed"]
        gone(worker)
    assert warm.call(request(image)).labelmap.shape == image.array.shape[::-1]


@pytest.mark.parametrize(("how", "status"), [("segfault", "signal 11"), ("abort", "signal 6"), ("exit", "status 8")])
def test_crashes(connect, script, how, status):
    client = connect(script(CRASH))
    with pytest.raises(WorkerError, match="memory") as error:
        client.call(Fake("crash", {"how": "memory"}))
    assert error.value.kind == "out_of_memory", "an error, for the worker lives"
    with pytest.raises(WorkerError, match=status) as error:
        client.call(Fake("crash", {"how": how}))
    assert error.value.kind == "crashed"
    assert "hippocampus" in client.call(ModelsRequest()).models


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(3))
def test_cancel_within_a_cold_start_leaves_the_worker_to_warm_up(image, moment, wait_for):
    client, told, failed = Client(defaultCommand()), [], []
    client.cancelSeconds = 0.1  # as if the machine were that slow
    client.start(request(image), onProgress=told.append, onError=failed.append)
    connection = client._connection
    wait_for(lambda: len(told) >= moment, client.poll)  # before hello, while torch is imported, while the model is read
    client.cancel()
    wait_for(lambda: not client.busy, client.poll)
    assert failed[0].kind == "cancelled"
    again: list[Progress] = []
    client.call(request(image), onProgress=again.append)
    assert client._connection is connection
    assert ("starting" in [news.text for news in again]) == (moment == 0)
    client.shutDown()
