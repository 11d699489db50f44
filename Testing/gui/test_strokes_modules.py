"""The effect "LLMBoost strokes" in the editors inside both modules."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from Testing.gui.painting import showSlice, stroke
from Testing.gui.qthost import Host, click, press
from Testing.gui.segmenteditor import qMRMLSegmentEditorWidget
from Testing.gui.test_strokes import BACK, FRONT, WORKER, blocks, seen
from Testing.gui.traincase import TrainCase

from LLMBoostLib.strokes.registration import NAME
from LLMBoostLib.strokes.session import sharedClient
from LLMBoostLib.worker.launcher import COMMAND_SETTING


class Embedded:
    """The editor of a module, opened, and what a test does with it."""

    def __init__(self, host: Host, ui: Any, folder: Path) -> None:
        import qt

        self.host, self.editor = host, ui.editorFrame.findChild(qMRMLSegmentEditorWidget)
        self.gate = folder / "strokes-gate"
        qt.QSettings().setValue(COMMAND_SETTING, shlex.join([sys.executable, str(WORKER), str(self.gate)]))
        self.node, self.volumeNode = self.editor.segmentationNode(), self.editor.sourceVolumeNode()
        display = self.node.GetDisplayNode()
        for segmentID in self.node.GetSegmentation().GetSegmentIDs():
            display.SetSegmentVisibility(segmentID, False)  # what is hidden is no stroke

    @property
    def effect(self) -> Any:
        return self.editor.effectByName(NAME).self()

    def paint(self, name: str, place: tuple[float, float, float]) -> None:
        if self.node.GetSegmentation().GetSegment(name) is None:
            self.node.GetSegmentation().AddEmptySegment(name, name)
        self.editor.setActiveEffectByName("Paint")
        self.editor.setCurrentSegmentID(name)
        stroke(showSlice("Red", self.volumeNode, place), [place])

    def draw(self) -> None:
        """Click the effect's button, and wait for the whole."""
        import qt

        click(self.editor.findChild(qt.QToolButton, NAME))
        self.host.runUntil(lambda: "Random walker" in self.effect.options.statusLabel.text, 60)

    def voxels(self, name: str, node: Any = None) -> np.ndarray:
        return slicer.util.arrayFromSegmentBinaryLabelmap(node or self.node, name, self.volumeNode) > 0


@pytest.fixture
def embed(host: Host, tmp_path: Path) -> Iterator[Callable[[Any], Embedded]]:
    """``embed(ui)``: the editor of the module with these widgets."""
    yield lambda ui: Embedded(host, ui, tmp_path)
    sharedClient().shutDown()


@pytest.fixture
def segmented(case: Any) -> Any:
    """LLMBoost Segment with the editor open on what it has drawn."""
    volumeNode = slicer.util.addVolumeFromArray(blocks(), np.eye(4), "head")
    case.chooseImage(volumeNode)
    case.run()
    click(case.ui.editButton)
    return case


def test_a_structure_more_is_drawn_in_llmboost_segment(segmented, embed):
    inside = embed(segmented.ui)
    before = {name: inside.voxels(name) for name in inside.node.GetSegmentation().GetSegmentIDs()}
    inside.paint("front", FRONT)
    inside.paint("back", BACK)
    inside.draw()
    assert "2 strokes" in inside.effect.options.statusLabel.text
    click(inside.effect.applyButton)
    drawn = [inside.voxels(name) for name in ("front", "back")]
    assert all(voxels.sum() > 100 for voxels in drawn)
    for name, voxels in before.items():  # Slicer's own masking: what is drawn takes its place from all segments
        assert np.array_equal(inside.voxels(name), voxels & ~np.logical_or(*drawn))
    click(segmented.ui.backButton)
    assert segmented.ui.mainFrame.visible


def test_nothing_of_a_preview_stays_when_the_editor_is_left(segmented, embed, host):
    inside = embed(segmented.ui)
    inside.paint("front", FRONT)
    painted = inside.voxels("front")
    inside.draw()
    place = seen()
    click(segmented.ui.backButton)
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == [inside.node]
    assert inside.node.GetDisplayNode().GetOpacity() == 1
    assert np.array_equal(inside.voxels("front"), painted)
    press(slicer.util.mainWindow(), "N")
    np.testing.assert_array_equal(seen(), place)

    click(segmented.ui.editButton)
    inside.draw()
    click(inside.effect.cancelButton)


def test_another_module_leaves_the_preview_and_comes_back_to_it(segmented, embed, host):
    inside = embed(segmented.ui)
    inside.paint("front", FRONT)
    inside.draw()
    preview = inside.effect.getPreviewNode()
    host.selectModule("")
    host.selectModule("LLMBoostSegment")
    assert inside.effect.getPreviewNode() is preview
    inside.paint("back", BACK)
    host.runUntil(lambda: "2 strokes" in inside.effect.options.statusLabel.text, 60)
    inside.editor.setActiveEffectByName(NAME)
    click(inside.effect.applyButton)
    assert inside.voxels("back").sum() > 100


def test_a_case_of_llmboost_train_is_drawn_by_strokes(host, tmp_path, monkeypatch, embed):
    host.loadModule(Path(__file__).parents[2] / "LLMBoostSegment" / "LLMBoostSegment.py")  # as at start-up
    case = TrainCase(host, tmp_path, monkeypatch)
    one = case.add("head", 1)
    case.select(one)
    click(case.ui.editButton)
    inside = embed(case.ui)
    bounds = np.zeros(6)
    inside.volumeNode.GetRASBounds(bounds)
    inside.paint("more", tuple(bounds.reshape(3, 2).mean(axis=1)))
    inside.draw()
    click(inside.effect.applyButton)
    drawn = int(inside.voxels("more").sum())
    assert drawn > 1
    click(case.ui.saveButton)
    counted = {case.store.kinds[value].name: count for value, count in case.store.cases[one.id].voxels.items()}
    assert counted["more"] == drawn
