"""Explanations through the worker: the engine's own map, refusals, cancelling, and no memory that is kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from llmboost.io.image import Image
from llmboost.library import find
from llmboost.wire import Volume, pack_volumes
from LLMBoostLib.worker.client import Client, Progress, WorkerError
from LLMBoostLib.worker.launcher import defaultCommand


@pytest.fixture(scope="module")
def warm() -> Iterator[Client]:
    client = Client(defaultCommand())
    yield client
    client.shutDown()


@pytest.fixture(scope="module")
def image() -> Image:
    """A bright blob in noise, on an oblique grid whose axes are not those of the patient."""
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in (28, 24, 32)), indexing="ij")
    noise = np.random.default_rng(0).normal(0, 20, i.shape)
    array = (200 * np.exp(-3 * (i**2 + j**2 + k**2)) + noise).astype(np.int16)
    turn = np.linalg.qr(np.array([[0.1, 1.0, 0.2], [-1.0, 0.2, 0.1], [0.1, -0.2, 1.0]]))[0]
    return Image(array, (1.1, 0.9, 1.0), (10.0, -20.0, 30.0), turn)


def request(image: Image, **fields) -> tuple[dict, dict[str, np.ndarray]]:
    array = np.ascontiguousarray(image.array.transpose())
    geometry, arrays = pack_volumes([Volume(array, image.spacing, image.origin, image.direction)])
    return {"model": "hippocampus", "device": "cpu", "geometry": geometry, **fields}, arrays


def test_a_map_is_the_engines_own(warm, image):
    fields, arrays = request(image, target=2, method="attention-rollout", layer="before")
    progress: list[Progress] = []
    answer = warm.call("explain", fields, arrays, onProgress=progress.append)
    assert any(p.text == "explaining" for p in progress)

    from llmboost.explanation import ExplanationSpec
    from llmboost.inference.explain import explain
    from llmboost.model import load_model

    own = explain(load_model(find("hippocampus")), [image], ExplanationSpec(2, "attention-rollout", "before"))
    found = answer.arrays["map"]
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found / 255, own.map.array.transpose(), atol=0.51 / 255)
    assert found.max() == 255
    assert {name: answer.fields[name] for name in ("target", "method", "layer", "warnings")} == {
        "target": {"value": 2, "name": "Posterior hippocampus"},
        "method": "attention-rollout",
        "layer": "before",
        "warnings": [],
    }
    assert answer.fields["seconds"] > 0
    assert answer.fields["provenance"]["LLMBoost.Model"] == "hippocampus"


def test_by_default_the_first_label_by_grad_cam_after_the_booster(warm, image):
    answer = warm.call("explain", *request(image)).fields
    assert answer["target"] == {"value": 1, "name": "Anterior hippocampus"}
    assert (answer["method"], answer["layer"]) == ("grad-cam", "after")


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"target": 7}, "nothing of value 7"), ({"method": "guess"}, "guess"), ({"layer": "below"}, "below")],
)
def test_refusals_arrive_as_they_are(warm, image, fields, message):
    with pytest.raises(WorkerError, match=message) as error:
        warm.call("explain", *request(image, **fields))
    assert error.value.kind == "bad_input"


def test_cancels(warm, image, wait_for, monkeypatch):
    monkeypatch.setattr(warm, "cancelSeconds", 60)  # only the engine's own way to stop counts here
    large = Image(np.tile(image.array, (1, 2, 2)), image.spacing, image.origin, image.direction)
    progress: list[Progress] = []
    errors: list[WorkerError] = []
    warm.start("explain", *request(large), onProgress=progress.append, onError=errors.append)
    wait_for(lambda: any(p.fraction for p in progress), warm.poll)
    warm.cancel()
    wait_for(lambda: errors, warm.poll)
    assert errors[0].kind == "cancelled"
    assert warm.call("explain", *request(image, target=2)).arrays["map"].max() == 255


@pytest.mark.slow
def test_two_hundred_explanations_keep_no_memory(image):
    """Of the worker's resident memory (Linux), the second hundred may add what an allocator's noise adds: a graph that
    is kept would add tens of MB each."""
    client = Client(defaultCommand())
    try:
        pid, sizes = client.call("hello").fields["pid"], []
        for n in range(200):
            method = ("grad-cam", "attention-rollout")[n % 2]
            layer = ("after", "before")[n // 2 % 2]
            answer = client.call("explain", *request(image, target=2, method=method, layer=layer))
            assert answer.arrays["map"].any(), "of what is not there, nothing would be computed"
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
