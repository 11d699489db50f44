"""Explanations through the worker: the engine's own map, refusals, cancelling, and no memory that is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmboost.io.image import Image
from llmboost.library import find
from llmboost.messages.images import ExplainOptions, ExplainRequest, Named, SegmentRequest
from llmboost.messages.words import Device, Layer, Method
from llmboost.messages.worker import HelloRequest, Progress
from LLMBoostLib.worker.client import Client, WorkerError
from LLMBoostLib.worker.launcher import defaultCommand

from .fake_messages import volumes_of


def request(image: Image, **explain) -> ExplainRequest:
    return ExplainRequest(
        model="hippocampus", volumes=volumes_of(image), device=Device.CPU, explain=ExplainOptions(**explain)
    )


def test_a_map_is_the_engines_own(warm, image):
    progress: list[Progress] = []
    asked = request(image, target=2, method=Method.ROLLOUT, layer=Layer.BEFORE)
    answer = warm.call(asked, onProgress=progress.append)
    assert any(p.text == "explaining" for p in progress)

    from llmboost.explanation import ExplanationSpec
    from llmboost.inference.explain import explain
    from llmboost.model import load_model

    own = explain(load_model(find("hippocampus")), [image], ExplanationSpec(2, "attention-rollout", "before"))
    found = answer.explanation.map
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found / 255, own.map.array.transpose(), atol=0.51 / 255)
    assert found.max() == 255
    told = answer.explanation
    assert told.target == Named(2, "Posterior hippocampus")
    assert (told.method, told.layer, told.warnings, answer.warnings) == ("attention-rollout", "before", (), ())
    assert answer.seconds > 0
    assert answer.provenance["LLMBoost.Model"] == "hippocampus"


def test_by_default_the_first_label_by_grad_cam_after_the_booster(warm, image):
    told = warm.call(request(image)).explanation
    assert told.target == Named(1, "Anterior hippocampus")
    assert (told.method, told.layer) == ("grad-cam", "after")


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"target": 7}, "nothing of value 7"), ({"method": "guess"}, "guess"), ({"layer": "below"}, "below")],
)
def test_refusals_arrive_as_they_are(warm, image, fields, message):
    with pytest.raises(WorkerError, match=message) as error:
        warm.call(request(image, **fields))
    assert error.value.kind == "bad_input"


def test_cancels(warm, image, wait_for, monkeypatch):
    monkeypatch.setattr(warm, "cancelSeconds", 60)  # only the engine's own way to stop counts here
    large = Image(np.tile(image.array, (1, 2, 2)), image.spacing, image.origin, image.direction)
    progress: list[Progress] = []
    errors: list[WorkerError] = []
    warm.start(request(large), onProgress=progress.append, onError=errors.append)
    wait_for(lambda: any(p.fraction for p in progress), warm.poll)
    warm.cancel()
    wait_for(lambda: errors, warm.poll)
    assert errors[0].kind == "cancelled"
    assert warm.call(request(image, target=2)).explanation.map.max() == 255


def test_a_map_on_the_way_of_a_segmentation(warm, image):
    """One request, one transfer: the segments as ever, and the map of what was drawn."""
    asked = SegmentRequest(model="hippocampus", volumes=volumes_of(image), device=Device.CPU)
    plain = warm.call(asked)
    both = warm.call(replace(asked, explain=ExplainOptions(2, Method.ROLLOUT, Layer.BEFORE)))
    assert plain.explanation is None
    np.testing.assert_array_equal(both.labelmap, plain.labelmap)

    from llmboost.explanation import ExplanationSpec
    from llmboost.inference.explain import explain
    from llmboost.model import load_model

    drawn = image.with_array(plain.labelmap.transpose() == 2)
    spec = ExplanationSpec(2, "attention-rollout", "before")
    own = explain(load_model(find("hippocampus")), [image], spec, reference=drawn)
    told = both.explanation
    assert (told.target, told.method, told.layer) == (Named(2, "Posterior hippocampus"), spec.method, spec.layer)
    np.testing.assert_allclose(told.map / 255, own.map.array.transpose(), atol=0.51 / 255)
    assert told.map.max() == 255


@pytest.mark.slow
def test_two_hundred_explanations_keep_no_memory(image):
    """Of the worker's resident memory (Linux), the second hundred may add what an allocator's noise adds: a graph that
    is kept would add tens of MB each."""
    client = Client(defaultCommand())
    try:
        pid, sizes = client.call(HelloRequest()).pid, []
        for n in range(200):
            method = ("grad-cam", "attention-rollout")[n % 2]
            layer = ("after", "before")[n // 2 % 2]
            answer = client.call(request(image, target=2, method=method, layer=layer))
            assert answer.explanation.map.any(), "of what is not there, nothing would be computed"
            if n in (19, 99, 199):
                sizes.append(_resident(pid))
        print(f"resident after 20, 100 and 200 explanations: {', '.join(f'{size / 2**20:.0f} MB' for size in sizes)}")
        assert sizes[-1] - sizes[0] < 100 * 2**20
    finally:
        client.shutDown()


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))
    except FileNotFoundError:
        pytest.skip("no /proc: memory can be told on Linux alone")
