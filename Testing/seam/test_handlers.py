"""What the worker answers, asked within this process: the requests that need no network, and the refusals."""

from __future__ import annotations

import shutil
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from Testing.engine.nnunet_samples import nnunet_network, write_results

from llmboost.errors import LLMBoostError
from llmboost.handlers import Engine
from llmboost.library import find
from llmboost.messages.codec import Answer, Request, from_parts, to_parts
from llmboost.messages.foreign import ImportRequest, LookRequest
from llmboost.messages.images import DrawnLabel, SegmentRequest, Volume
from llmboost.messages.report import ReportRequest
from llmboost.messages.words import ReportForm
from llmboost.messages.worker import ModelsRequest, ShowRequest
from llmboost.service import Job, RequestError

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
    assert set(answer.models) == {
        "adrenal",
        "brain",
        "brain-1mm",
        "breast",
        "headneck",
        "hippocampus",
        "pneumonia",
        "retina",
        "copy",
    }
    assert answer.models["copy"].labels[0].name
    (warning,) = answer.warnings
    assert "broken.safetensors" in warning


def test_a_model_is_shown_by_name_path_and_digest(ask, tmp_path):
    shutil.copyfile(find("hippocampus"), tmp_path / "copy.safetensors")
    shown = ask(ShowRequest(model="hippocampus"))
    assert shown.size == find("hippocampus").stat().st_size
    assert ask(ShowRequest(model=str(tmp_path / "copy.safetensors"))) == shown
    assert ask(ShowRequest(model="sha256:" + shown.card.digest)) == shown


def test_a_model_of_another_program_is_offered_imported_and_timed(ask, tmp_path):
    for folds, name in (((0, 1), "many"), ((0,), "one")):
        write_results(tmp_path / name, {fold: nnunet_network(seed=fold) for fold in folds}, license="CC0")
    (offer,) = ask(LookRequest(path=str(tmp_path / "many"))).offers
    assert (offer.title, offer.folds) == ("Dataset007_Test_Organ, 3d_fullres", ("0", "1"))
    assert (offer.program, offer.license) == ("nnU-Net v2", "CC0")
    assert len(ask(LookRequest(path=str(tmp_path))).offers) == 2
    made = ask(ImportRequest(path=offer.path, name="mine", folds="all", terms="", device="cpu"))
    assert made.card.training["folds"] == ["0", "1"]
    assert 0 < made.seconds < 60
    assert ask(ShowRequest(model="mine")).card == made.card
    with pytest.raises(LLMBoostError, match="installed already"):
        ask(ImportRequest(path=offer.path, name="mine"))


def test_folders_and_archives_without_one_model_are_refused(ask, tmp_path):
    (tmp_path / "empty").mkdir()
    for path, reason in ((tmp_path / "empty", "no model that can be imported"), (tmp_path / "x.zip", "no such file")):
        with pytest.raises(LLMBoostError, match=reason):
            ask(LookRequest(path=str(path)))
    write_results(tmp_path / "a", {0: nnunet_network()})
    write_results(tmp_path / "b", {0: nnunet_network()})
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        for file in (tmp_path / "a").rglob("*.*"):
            archive.write(file, f"a/{file.relative_to(tmp_path / 'a')}")
            archive.write(file, f"b/{file.relative_to(tmp_path / 'a')}")
    with pytest.raises(LLMBoostError, match="holds 2 models; unpack it"):
        ask(LookRequest(path=str(tmp_path / "both.zip")))


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


@pytest.mark.parametrize("form", ReportForm)
def test_a_report_of_a_case(ask, form):
    labelmap = np.zeros((4, 5, 6), np.uint8)
    labelmap[1:3, 1:4, 1:5] = 1
    request = ReportRequest(
        model="hippocampus",
        form=form,
        title="head <1>",
        volume=VOLUME,
        labelmap=labelmap,
        labels=(DrawnLabel(1, "front", (230, 159, 0)),),
        volumes_ml={"front": 0.024},
        entropy=labelmap * 51,
    )
    data = ask(request).file.tobytes()
    assert data.startswith(b"%PDF" if form == ReportForm.PDF else b"<!DOCTYPE html>")
    if form == ReportForm.HTML:
        assert all(told in data for told in (b"head &lt;1&gt;", b"<td>0.024</td>", b"(entropy, from 0 to 1) is 0.20"))
    for wrong in ({"labelmap": labelmap[1:]}, {"entropy": labelmap[:, 1:]}, {"volumes_ml": {}}):
        with pytest.raises(LLMBoostError, match="segments cannot be used"):
            ask(replace(request, **wrong))


def test_a_report_without_the_library_that_draws(ask, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as where it is not installed
    labels = (DrawnLabel(1, "front", (230, 159, 0)),)
    request = ReportRequest(
        model="hippocampus",
        form=ReportForm.HTML,
        title="head",
        volume=VOLUME,
        labelmap=np.ones(VOLUME.array.shape, np.uint8),
        labels=labels,
        volumes_ml={"front": 0.12},
    )
    with pytest.raises(RequestError, match="need matplotlib"):
        ask(request)
