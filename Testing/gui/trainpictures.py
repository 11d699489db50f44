"""Pictures for the tutorial of LLMBoost Train: the whole loop, a problem, the editor, what to label next, the views."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from Testing.gui import qthost
from Testing.gui.qthost import click
from Testing.gui.traincase import grabTrain, selectRows
from Testing.gui.trainwalk import Walk
from Testing.host import SliceView, emptySession, mosaic

MODELS = ("hippocampus",)
STEPS = 16
VIEW = 230, 230  # pixels
FIELD = 60.0  # mm across a slice view


def takePictures(folder: Path, _data: Path) -> None:
    """Write train-*.png into a folder; the images are drawn."""
    with tempfile.TemporaryDirectory() as own, emptySession() as session, ExitStack() as windows:
        os.environ["LLMBOOST_MODELS"] = str(Path(own, "models"))  # the shipped models alone
        os.environ["LLMBOOST_TRAINING"] = str(Path(own, "training"))
        views = [windows.enter_context(SliceView(session, name, VIEW)) for name in ("Red", "Yellow", "Green")]
        host = qthost.install()
        host.start(session, Path(own))
        walk = Walk(host, STEPS, folder)
        walk.correctFirst()
        walk.addOthers()
        _problem(walk)
        _edit(walk)
        walk.run()
        _views(walk, views)
        _next(walk)
        walk.accept()
        walk.segmentLast()
        walk.picture("better")
        host.stop()
        host.check()


def _problem(walk: Walk) -> None:
    """A case whose segments somebody called otherwise; it is removed again."""
    from LLMBoostLib.training.cases import Kind  # needs the host's Qt

    store = walk.train.logic.store
    known = next(iter(store.cases.values()))
    image, masks = store.read(known), [mask for _, mask in store.masks(known)]
    kinds = [Kind("Segment_1"), Kind("posterior")]
    case = store.add(image.with_array(image.array + np.int16(1)), list(zip(kinds, masks, strict=True)))
    walk.train.panel.refresh()
    walk.picture("problem")
    store.remove([case.id])
    walk.train.panel.refresh()


def _edit(walk: Walk) -> None:
    selectRows(walk.ui.caseTable, 0)
    click(walk.ui.editButton)
    grabTrain(walk.train, walk.folder / "train-edit.png")
    click(walk.ui.backButton)


def _views(walk: Walk, views: list[Any]) -> None:
    """The case that was kept aside in the slice views, by the base (outlines) and by the adapted model (filled)."""
    _before, after = walk.compare()
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        if "training" not in node.GetName():
            node.GetDisplayNode().SetVisibility(False)
    center = after.GetSegmentCenterRAS(after.GetSegmentation().GetNthSegmentID(0))
    for view in views:
        view.show(center, FIELD)
    mosaic([view.render() for view in views], 3, walk.folder / "train-views.png")


def _next(walk: Walk) -> None:
    click(walk.ui.nextButton)
    click(walk.ui.rankButton)
    walk.wait()
    walk.picture("next")
    click(walk.ui.nextButton)
