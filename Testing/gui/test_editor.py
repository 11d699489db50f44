"""The stand-in for the Segment Editor: painting with the mouse, effects in Python, previews, undo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from Testing.gui.autocomplete import slicersOwn
from Testing.gui.editorcase import Editor
from Testing.gui.painting import showSlice, stroke
from Testing.gui.qthost import click, press

FILLING = '''
import slicer
from SegmentEditorEffects import *


class BoxEffect(AbstractScriptedSegmentEditorAutoCompleteEffect):
    """Fills what lies around a stroke, in rows along i."""

    def __init__(self, scriptedEffect):
        super().__init__(scriptedEffect)
        scriptedEffect.name = "Boxes"
        self.clippedMasterImageDataRequired = self.clippedMaskImageDataRequired = True

    def clone(self):
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        copy = effects.qSlicerSegmentEditorScriptedEffect(None)
        copy.setPythonSource(__file__)
        return copy

    def computePreviewLabelmap(self, mergedImage, outputLabelmap):
        from vtk.util.numpy_support import vtk_to_numpy

        outputLabelmap.DeepCopy(mergedImage)
        shape = tuple(reversed(outputLabelmap.GetDimensions()))
        voxels = vtk_to_numpy(outputLabelmap.GetPointData().GetScalars()).reshape(shape)
        voxels[:] = voxels.max(axis=2, keepdims=True)
'''


@pytest.fixture(params=["stand-in", "Slicer's own"])
def editor(host: Any, request: pytest.FixtureRequest, tmp_path: Path) -> Editor:
    folder = slicersOwn() if request.param != "stand-in" else None
    if folder is None and request.param != "stand-in":
        pytest.skip("no slicer_effects in the folder of real data")
    host.useEffectClasses(folder)
    file = tmp_path / "boxes" / "BoxEffect.py"
    file.parent.mkdir()
    file.write_text(FILLING)
    effect = slicer.qSlicerSegmentEditorScriptedEffect(None)
    effect.setPythonSource(str(file))
    effect.self().register()
    return Editor(host)


def test_paint_draws_where_the_mouse_went_in_the_segment_that_is_selected(host):
    editor = Editor(host)
    view = showSlice("Red", editor.volume, (20, 15, 10))
    stroke(view, [(10, 15, 10), (30, 15, 10)])
    drawn = editor.voxels("first")
    assert drawn[10, 15, 10:31].all()
    assert not drawn[np.arange(20) != 10].any()
    assert not editor.voxels("second").any()


def test_keys_select_undo_and_go_back(host):
    editor = Editor(host)
    editor.widget.installKeyboardShortcuts()
    view = showSlice("Green", editor.volume, (20, 15, 10))
    press(editor.widget, "W")
    stroke(view, [(10, 15, 10), (30, 15, 10)])
    assert editor.voxels("second")[10, 15, 10:31].all()
    press(editor.widget, "Z")
    assert not editor.voxels("second").any()
    press(editor.widget, "Y")
    assert editor.voxels("second").any()
    press(editor.widget, "2")
    assert editor.widget.activeEffect().name == "Erase"
    stroke(view, [(10, 15, 10), (30, 15, 10)])
    assert not editor.voxels("second").any()
    press(editor.widget, "Space")
    assert editor.widget.activeEffect().name == "Paint"
    press(editor.widget, "Esc")
    assert editor.widget.activeEffect() is None


def test_paint_follows_an_oblique_volume(host):
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]
    editor = Editor(host, turn)
    start, end = (turn @ [10, 12, 10, 1])[:3], (turn @ [30, 12, 10, 1])[:3]
    stroke(showSlice("Red", editor.volume, start), [start, end])
    assert editor.voxels("first")[10, 12, 10:31].all()


def test_an_effect_of_both_kinds_of_base_class_previews_follows_and_applies(editor):
    widget, node = editor.widget, editor.widget.mrmlSegmentEditorNode()
    view = showSlice("Red", editor.volume, (20, 15, 10))
    stroke(view, [(20, 15, 10), (20, 18, 10)])
    widget.setActiveEffectByName("Boxes")
    effect = widget.activeEffect().self()
    click(effect.previewButton)
    preview = node.GetNodeReference("SegmentationResultPreview")
    assert _count(preview, "first", editor.volume) > editor.voxels("first").sum() > 0
    assert editor.segmentation.GetDisplayNode().GetOpacity() < 1

    before = _count(preview, "first", editor.volume)
    widget.setActiveEffectByName("Paint")
    stroke(view, [(20, 22, 10), (20, 24, 10)])
    preview = node.GetNodeReference("SegmentationResultPreview")
    editor.host.runUntil(
        lambda: (
            (now := node.GetNodeReference("SegmentationResultPreview")) and _count(now, "first", editor.volume) > before
        )
    )
    widget.setActiveEffectByName("Boxes")
    strokes = editor.voxels("first").copy()
    click(effect.applyButton)
    assert editor.voxels("first").sum() > strokes.sum()
    assert node.GetNodeReference("SegmentationResultPreview") is None
    widget.undo()
    assert np.array_equal(editor.voxels("first"), strokes)


def test_an_effect_of_both_kinds_of_base_class_forgets_on_cancel(editor):
    stroke(showSlice("Red", editor.volume, (20, 15, 10)), [(20, 15, 10), (20, 18, 10)])
    strokes = editor.voxels("first").copy()
    editor.widget.setActiveEffectByName("Boxes")
    effect = editor.widget.activeEffect().self()
    click(effect.previewButton)
    click(effect.previewShow3DButton)
    click(effect.cancelButton)
    assert np.array_equal(editor.voxels("first"), strokes)
    assert [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")] == ["segments"]
    assert editor.segmentation.GetDisplayNode().GetOpacity() == 1


def _count(segmentationNode: Any, name: str, volumeNode: Any) -> int:
    return int((slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, name, volumeNode) > 0).sum())
