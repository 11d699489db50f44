"""Segment, correct, add, train, accept, segment again: better. With the real worker, on real MRML, with clicks.

LLMBOOST_PICTURES names a folder that the pictures are kept in.
"""

from __future__ import annotations

import os
from pathlib import Path

import slicer
from Testing.gui.trainwalk import Walk

STEPS = 8


def test_the_whole_loop_makes_the_model_better(host, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMBOOST_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("LLMBOOST_TRAINING", str(tmp_path / "cases"))
    walk = Walk(host, STEPS, Path(os.environ.get("LLMBOOST_PICTURES") or tmp_path))
    before = walk.segmentLast()
    walk.correctFirst()
    walk.addOthers()
    walk.run()
    assert len(set(walk.growth)) > 2  # the curve grew while the loop turned, which holds Python's lock
    outcome = walk.train.logic.pending()
    assert outcome.after.mean_dice > outcome.before.mean_dice + 0.05
    walk.compare()
    walk.accept()
    after = walk.segmentLast()
    assert after > before + 0.05
    assert len({path.read_bytes() for path in walk.pictures}) == len(walk.pictures)
    (chart,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    assert chart.GetNthPlotSeriesNode(1).GetTableNode().GetNumberOfRows() > 3
