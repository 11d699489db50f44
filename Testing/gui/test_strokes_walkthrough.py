"""Paint, get the whole, see where it is unsure, correct, add the case, apply; teach a model, keep it, start the next
image from it; train a model of what no model knew: with the real worker, on real MRML."""

from __future__ import annotations

import pytest
from Testing.gui.strokeswalk import NEW, Walk

from llmboost import library
from llmboost.card import read_card
from LLMBoostLib.segment.logic import LLMBoostSegmentLogic
from LLMBoostLib.strokes.session import sharedClient
from LLMBoostLib.training.casestore import CaseStore

STEPS = 50  # of the training: seconds of a core


@pytest.fixture
def walk(host, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMBOOST_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("LLMBOOST_TRAINING", str(tmp_path / "cases"))
    yield Walk(host)
    sharedClient().shutDown()


def test_from_the_first_stroke_to_a_case(walk):
    walk.go()
    first, then = (sum(dice) / len(dice) for dice in walk.rounds)
    assert first > 0.4
    assert then > first
    assert walk.dice(walk.editor.segmentation) == walk.rounds[-1]
    assert walk.clicks == 4  # the effect, the next unsure place, Add this case, Apply
    (case,) = CaseStore().cases.values()
    assert case.partly
    kinds = CaseStore().kinds
    assert {kinds[value].name for value in case.voxels} == {*NEW, "background"}


def test_what_strokes_taught_is_kept_and_starts_the_next_image(walk):
    walk.learn()
    (path,) = library.user_folder().iterdir()
    adapter = read_card(path).adapter
    assert (path.stem, adapter.base) == ("hippocampus-local-1", "hippocampus")
    assert walk.kept == 2  # from the first stroke: the effect, Keep as a model
    assert "hippocampus-local-1" in walk.status
    assert all(sum(dice) / len(dice) > 0.6 for dice in walk.rounds)
    logic = LLMBoostSegmentLogic(sharedClient())  # without a stroke
    before, after = (logic.process(walk.editor.volume, model) for model in ("hippocampus", path.stem))
    assert sum(walk.dice(after)) > sum(walk.dice(before)) + 0.1


def test_a_case_that_was_painted_trains_a_model_that_draws_the_next_image(walk):
    walk.train(STEPS)
    assert walk.kept == 6  # from the first stroke: the effect, All of the result is right, Add, Train, Start, Accept
    (path,) = library.user_folder().iterdir()
    assert tuple(label.name for label in read_card(path).labels) == NEW
    assert path.stem in walk.status
    whole = LLMBoostSegmentLogic(sharedClient()).process(walk.editor.volume, path.stem)  # without a stroke
    assert all(dice > 0.4 for dice in walk.dice(whole))
