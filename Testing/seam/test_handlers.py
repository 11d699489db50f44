"""What the worker answers, asked within this process: the requests that need no network, and the refusals."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from llmboost.errors import LLMBoostError
from llmboost.handlers import Engine
from llmboost.library import find
from llmboost.messages.codec import Answer, Request, from_parts, to_parts
from llmboost.messages.images import SegmentRequest, Volume
from llmboost.messages.worker import ModelsRequest, ShowRequest
from llmboost.service import Job

VOLUME = Volume(np.zeros((4, 5, 6), np.float32), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """``ask(request)`` gives its answer; the user's library is an empty folder."""
    monkeypatch.setenv("LLMBOOST_MODELS", str(tmp_path))
    engine = Engine()

    def request(asked: Request) -> Answer:
        return engine.handlers[type(asked)](Job(asked))

    return request


def test_models_are_listed_with_their_cards_and_damaged_ones_as_warnings(ask, tmp_path):
    shutil.copyfile(find("hippocampus"), tmp_path / "copy.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(find("hippocampus").read_bytes()[:1000])
    answer = ask(ModelsRequest())
    assert set(answer.models) == {"adrenal", "brain", "breast", "hippocampus", "pneumonia", "retina", "copy"}
    assert answer.models["copy"].labels[0].name
    (warning,) = answer.warnings
    assert "broken.safetensors" in warning


def test_a_model_is_shown_by_name_path_and_digest(ask, tmp_path):
    shutil.copyfile(find("hippocampus"), tmp_path / "copy.safetensors")
    shown = ask(ShowRequest(model="hippocampus"))
    assert shown.size == find("hippocampus").stat().st_size
    assert ask(ShowRequest(model=str(tmp_path / "copy.safetensors"))) == shown
    assert ask(ShowRequest(model="sha256:" + shown.card.digest)) == shown


@pytest.mark.parametrize("fields", [{}, {"model": ""}, {"model": None}, {"model": 3}, {"model": "nothing"}])
def test_a_model_has_to_be_named(ask, fields):
    with pytest.raises(LLMBoostError, match="model"):
        ask(from_parts(ShowRequest, fields))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"array": np.full((4, 5, 6), np.nan)}, "NaN"),
        ({"array": np.full((4, 5, 6), np.inf, np.float16)}, "infinite"),
        ({"array": np.zeros((0, 5, 6))}, "no voxels"),
        ({"array": np.zeros((5, 6))}, "3 axes"),
        ({"spacing": (1.0, 0.0, 1.0)}, "spacing"),
        ({"spacing": (1.0, np.nan, 1.0)}, "spacing"),
        ({"origin": (0.0, np.inf, 0.0)}, "spacing or axes"),
        ({"direction": np.ones((3, 3))}, "axes"),
    ],
    ids=str,
)
def test_volumes_that_cannot_be_used_are_refused(ask, change, reason):
    with pytest.raises(LLMBoostError, match=reason):
        ask(SegmentRequest(model="hippocampus", volumes=(replace(VOLUME, **change),)))


def test_a_request_without_volumes_is_refused(ask):
    with pytest.raises(LLMBoostError, match="no voxels"):
        ask(SegmentRequest(model="hippocampus", volumes=()))
    with pytest.raises(LLMBoostError, match="cannot be used"):
        from_parts(SegmentRequest, to_parts(SegmentRequest(model="hippocampus", volumes=(VOLUME,)))[0])
