"""The request `classify` through the worker with torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from llmboost.card import CLASSIFICATION, Card, Classification, Label, Normalization, Preprocessing
from llmboost.inference.classify import classify
from llmboost.inference.roi import Roi
from llmboost.io.image import Image
from llmboost.messages.images import Box, ClassifyRequest, ExplainRequest, ImageRequest, KnownRange, SegmentRequest
from llmboost.messages.words import Device
from llmboost.messages.worker import HelloRequest, Progress, WarmUpRequest
from llmboost.model import load_model, save_model
from llmboost.networks import build, describe
from LLMBoostLib.worker.client import WorkerError

from .fake_messages import volumes_of

NAMES = ("healthy", "ill")


def write_model(path: Path, patch_size=(16, 16, 1), channels: int = 1, **meaning) -> Path:
    """A model of slices with random weights."""
    torch.manual_seed(0)
    options = {"stem": (4,), "width": 16, "depth": 1, "heads": 2, "head_width": 8, "mlp": 16}
    network = build("vit-tiny", {**options, "image_size": patch_size, "channels": channels}, None)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    entry, booster = describe(network)
    fields = {"positive": "ill", "thresholds": (0.4,), "temperature": 1.5, "range_limit": 9.0} | meaning
    card = Card(
        name=path.stem,
        title="Slices",
        description="For tests",
        task=CLASSIFICATION,
        labels=tuple(Label(n, name, (9, n, 7)) for n, name in enumerate(NAMES)),
        modality="MR",
        preprocessing=Preprocessing(
            channels, (1.0,) * 3, patch_size, (Normalization(),) * channels, (0,), color=channels == 3
        ),
        network=entry,
        booster=booster,
        classification=Classification(**fields),
    )
    save_model(network, card, path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "slices.safetensors")


@pytest.fixture(scope="module")
def image() -> Image:
    """Five thick slices on an oblique grid, whose axis runs downwards."""
    random = np.random.default_rng(0)
    array = random.normal(100, 20, (20, 18, 5)).astype(np.float32) * np.linspace(1, 3, 20)[:, None, None]
    turn = np.diag([1, -1, -1]) @ np.linalg.qr(np.eye(3) + 0.1 * random.normal(size=(3, 3)))[0]
    return Image(array.astype(np.float32), (0.9, 1.1, 5.0), (10.0, -20.0, 30.0), turn)


def request(model: Path | str, *images: Image, kind=ClassifyRequest, **fields) -> ImageRequest:
    return kind(model=str(model), volumes=volumes_of(*images), device=Device.CPU, **fields)


def test_an_answer_is_the_engines_own(warm, model, image):
    progress: list[Progress] = []
    answer = warm.call(request(model, image, modality="MR"), onProgress=progress.append)
    own = classify(load_model(model), [replace(image, modality="MR")])
    assert [(entry.value, entry.name) for entry in answer.classes] == list(enumerate(NAMES))
    assert [entry.probability for entry in answer.classes] == pytest.approx(own.probabilities, abs=1e-5)
    assert answer.decision == own.decision
    assert (answer.positive, answer.threshold) == ("ill", 0.4)
    assert [entry.number for entry in answer.slices] == [0, 1, 2, 3, 4]
    told = [entry.probabilities for entry in answer.slices]
    np.testing.assert_allclose(told, own.slice_probabilities, atol=1e-5)
    assert answer.range == KnownRange(pytest.approx(own.range.score, abs=1e-4), 9.0, ())
    assert not answer.refused
    assert answer.warnings == ()
    assert answer.seconds > 0
    assert answer.provenance["LLMBoost.Model"] == "slices"
    assert answer.provenance["LLMBoost.Notice"] == "Not for clinical use"
    assert "classifying" in [p.text for p in progress]


def test_one_slice_and_a_region(warm, model, image):
    every = warm.call(request(model, image)).slices
    one = warm.call(request(model, image, slice_number=3))
    assert [entry.number for entry in one.slices] == [3]
    assert one.slices[0].probabilities == pytest.approx(every[3].probabilities, abs=1e-5)
    center = tuple((image.affine @ [10, 9, 2, 1])[:3].tolist())
    box = Box(center, (10.0, 11.0, 11.0), image.direction)
    found = warm.call(request(model, image, roi=box))
    own = classify(load_model(model), [image], roi=Roi(box.center, box.size, box.axes))
    assert [entry.number for entry in found.slices] == list(own.slices) == [1, 2, 3]
    assert [entry.probability for entry in found.classes] == pytest.approx(own.probabilities, abs=1e-5)


def test_a_case_of_another_kind_is_refused_unless_asked_for_anyway(warm, model, image):
    reasons = ("the image is CT, and model 'slices' takes MR",)
    refused = warm.call(request(model, image, modality="CT"))
    assert refused.refused
    assert refused.warnings == refused.range.reasons == reasons
    assert (refused.classes, refused.decision, refused.slices) == ((), (), ())
    with pytest.raises(WorkerError, match="not an image that this model knows: the image is CT") as error:
        warm.call(request(model, image, kind=ExplainRequest, modality="CT"))
    assert error.value.kind == "bad_input"
    answered = warm.call(request(model, image, modality="CT", anyway=True))
    plain = warm.call(request(model, image))
    assert (answered.refused, answered.range.reasons, answered.warnings) == (False, reasons, reasons)
    assert answered.classes == plain.classes
    assert answered.decision == plain.decision
    explained = warm.call(request(model, image, kind=ExplainRequest, modality="CT", anyway=True))
    assert explained.explanation.map.any()


def test_several_labels_and_no_positive_class(warm, image, tmp_path):
    path = write_model(tmp_path / "several.safetensors", multi_label=True, positive="", thresholds=(0.0, 1.0))
    answer = warm.call(request(path, image))
    assert answer.decision == ("healthy",)
    assert (answer.positive, answer.threshold) == ("", None)


def test_a_color_picture_is_three_volumes(warm, tmp_path):
    path = write_model(tmp_path / "colors.safetensors", channels=3)
    random = np.random.default_rng(1)
    colors = [Image(random.uniform(0, 255, (16, 16, 1)), (1, 1, 1), (0, 0, 0), np.eye(3)) for _ in range(3)]
    answer = warm.call(request(path, *colors))
    own = classify(load_model(path), colors)
    assert [entry.probability for entry in answer.classes] == pytest.approx(own.probabilities, abs=1e-5)
    with pytest.raises(WorkerError, match=r"takes 3 image\(s\) a case, 1 given") as error:
        warm.call(request(path, colors[0]))
    assert error.value.kind == "bad_input"


@pytest.mark.parametrize("number", [5, -1, "second", 1.5])
def test_slices_that_are_not_there(warm, model, image, number):
    with pytest.raises(WorkerError, match="slice") as error:
        warm.call(request(model, image, slice_number=number))
    assert error.value.kind == "bad_input"
    assert "\n" not in str(error.value)


def test_models_of_the_other_task_are_refused(warm, model, image):
    for kind, wrong, reason in ((ClassifyRequest, "hippocampus", "segments"), (SegmentRequest, model, "classifies")):
        with pytest.raises(WorkerError, match=reason) as error:
            warm.call(request(wrong, image, kind=kind))
        assert error.value.kind == "bad_input"


def test_the_worker_goes_on_after_many_cases(warm, model, image):
    worker = warm.call(HelloRequest()).pid
    warm.call(WarmUpRequest(model=str(model), device=Device.CPU))
    first = warm.call(request(model, image)).classes
    for _ in range(20):
        assert warm.call(request(model, image)).classes == first
    assert warm.call(HelloRequest()).pid == worker
