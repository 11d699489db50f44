"""What the worker answers, asked within this process: the requests that need no network, and the refusals."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from llmboost.errors import LLMBoostError
from llmboost.handlers import Engine
from llmboost.library import find
from llmboost.service import Job
from llmboost.wire import Message, Volume, pack_volumes

VOLUME = Volume(np.zeros((4, 5, 6), np.float32), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """``ask(kind, fields, arrays)`` gives an answer's fields; the user's library is an empty folder."""
    monkeypatch.setenv("LLMBOOST_MODELS", str(tmp_path))
    engine = Engine()

    def request(kind: str, fields=None, arrays=None) -> dict:
        job = Job(Message(1, kind, fields or {}, arrays or {}), lambda message: None, lambda: False)
        return engine.handlers[kind](job)[0]

    return request


def test_models_are_listed_with_their_cards_and_damaged_ones_as_warnings(ask, tmp_path):
    shutil.copyfile(find("hippocampus"), tmp_path / "copy.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(find("hippocampus").read_bytes()[:1000])
    answer = ask("models")
    assert set(answer["models"]) == {"adrenal", "brain", "breast", "hippocampus", "pneumonia", "retina", "copy"}
    assert answer["models"]["copy"]["labels"][0]["name"]
    (warning,) = answer["warnings"]
    assert "broken.safetensors" in warning


def test_a_model_is_shown_by_name_path_and_digest(ask, tmp_path):
    shutil.copyfile(find("hippocampus"), tmp_path / "copy.safetensors")
    shown = ask("show", {"model": "hippocampus"})
    assert shown["bytes"] == find("hippocampus").stat().st_size
    assert ask("show", {"model": str(tmp_path / "copy.safetensors")}) == shown
    assert ask("show", {"model": "sha256:" + shown["card"]["digest"]}) == shown


@pytest.mark.parametrize("fields", [{}, {"model": ""}, {"model": None}, {"model": 3}, {"model": "nothing"}])
def test_a_model_has_to_be_named(ask, fields):
    with pytest.raises(LLMBoostError, match="model"):
        ask("show", fields)


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
    geometry, arrays = pack_volumes([replace(VOLUME, **change)])
    with pytest.raises(LLMBoostError, match=reason):
        ask("segment", {"model": "hippocampus", "geometry": geometry}, arrays)


def test_a_request_without_volumes_is_refused(ask):
    with pytest.raises(LLMBoostError, match="no voxels"):
        ask("segment", {"model": "hippocampus", "geometry": []})
    with pytest.raises(LLMBoostError, match="cannot be used"):
        ask("segment", {"model": "hippocampus", "geometry": pack_volumes([VOLUME])[0]})
