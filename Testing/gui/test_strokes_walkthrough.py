"""Paint, get the whole, see where it is unsure, correct, add the case, apply: with the real worker, on real MRML."""

from __future__ import annotations

from Testing.gui.strokeswalk import Walk

from LLMBoostLib.strokes.session import sharedClient
from LLMBoostLib.training.casestore import CaseStore


def test_from_the_first_stroke_to_a_case(host, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMBOOST_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("LLMBOOST_TRAINING", str(tmp_path / "cases"))
    walk = Walk(host)
    try:
        walk.go()
    finally:
        sharedClient().shutDown()
    first, then = (sum(dice) / len(dice) for dice in walk.rounds)
    assert first > 0.4
    assert then > first
    assert walk.dice(walk.editor.segmentation) == walk.rounds[-1]
    assert walk.clicks == 4  # the effect, the next unsure place, Add this case, Apply
    (case,) = CaseStore().cases.values()
    assert case.partly
