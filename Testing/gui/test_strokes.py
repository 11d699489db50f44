"""The effect "LLMBoost strokes" in the Segment Editor: painted by mouse, answered by a light worker."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from Testing.gui.autocomplete import slicersOwn
from Testing.gui.editorcase import Editor
from Testing.gui.qthost import MODULES, Host, choose, click, press

from llmboost import library
from LLMBoostLib.strokes.registration import NAME
from LLMBoostLib.strokes.session import sharedClient
from LLMBoostLib.training.casestore import FOLDER_VARIABLE, CaseStore
from LLMBoostLib.worker.launcher import COMMAND_SETTING

WORKER = Path(__file__).with_name("light_strokes.py")
FRONT, BACK = (12, 15, 10), (28, 15, 10)  # RAS, in the two bright blocks of the image
BETWEEN = (20, 15, 10)


def blocks() -> np.ndarray:
    """Two bright blocks, each in a half-bright shell, along i."""
    array = np.zeros((20, 30, 40), np.int16)
    for start in (6, 22):
        array[4:16, 8:22, start : start + 12] = 80
        array[6:14, 10:20, start + 2 : start + 10] = 200
    return array


class Strokes:
    """The effect in an editor, and what a test does with it."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.gate = host, folder / "gate"
        self.useWorker()
        host.loadModule(Path(__file__).parents[2] / "LLMBoostSegment" / "LLMBoostSegment.py")

    def useWorker(self, how: str = "") -> None:
        import qt  # there only once the host has started

        sharedClient().shutDown()
        command = [sys.executable, str(WORKER), str(self.gate), *([how] if how else [])]
        qt.QSettings().setValue(COMMAND_SETTING, shlex.join(command))

    def open(self, names: tuple[str, ...] = ("first", "second"), **options: Any) -> Editor:
        self.editor = Editor(self.host, array=options.pop("array", blocks()), names=names, **options)
        return self.editor

    @property
    def effect(self) -> Any:
        return self.editor.widget.effectByName(NAME).self()

    @property
    def status(self) -> str:
        return self.effect.options.statusLabel.text

    def choose(self) -> None:
        """Click the effect's button, which begins by itself where something is painted."""
        click(self._button())
        assert self.editor.widget.activeEffect().self() is self.effect

    def _button(self) -> Any:
        import qt

        return self.editor.widget.findChild(qt.QToolButton, NAME)

    def waitFor(self, condition: Callable[[], bool]) -> None:
        self.host.runUntil(condition, 60)

    def waitForAnswer(self, text: str = "Random walker") -> None:
        self.waitFor(lambda: text in self.status and "learns" not in self.status)

    def shown(self, name: str) -> np.ndarray:
        return self.editor.voxels(name, self.editor.preview)


@pytest.fixture
def strokes(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Strokes]:
    monkeypatch.setenv(library.FOLDER_VARIABLE, str(tmp_path / "models"))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cases"))
    yield Strokes(host, tmp_path)
    sharedClient().shutDown()


@pytest.fixture(params=["stand-in", "Slicer's own"])
def eitherBase(host: Host, request: pytest.FixtureRequest) -> str:
    """Effects derive from this base class."""
    folder = slicersOwn() if request.param != "stand-in" else None
    if folder is None and request.param != "stand-in":
        pytest.skip("no slicer_effects in the folder of real data")
    host.useEffectClasses(folder)
    return request.param


def test_paint_a_little_get_the_whole_apply_and_undo(eitherBase, strokes):
    editor = strokes.open()
    editor.paint("first", FRONT)
    editor.paint("second", BACK)
    painted = {name: editor.voxels(name).copy() for name in ("first", "second")}
    strokes.choose()
    strokes.waitForAnswer()
    assert "2 strokes" in strokes.status
    bright = blocks() >= 100
    assert strokes.shown("first").sum() > 10 * painted["first"].sum()
    for name, half in (("first", slice(0, 20)), ("second", slice(20, 40))):
        shown = strokes.shown(name)
        assert (shown & painted[name]).sum() == painted[name].sum()
        assert not (shown & ~bright & ~painted[name]).any()
        assert shown[:, :, half].sum() == shown.sum()

    result = strokes.shown("first").copy()
    click(strokes.effect.applyButton)
    assert np.array_equal(editor.voxels("first"), result)
    assert editor.preview is None
    assert not strokes.effect.options.unsureButton.enabled
    editor.widget.undo()
    assert np.array_equal(editor.voxels("first"), painted["first"])


def test_what_is_painted_on_updates_the_preview_by_itself(eitherBase, strokes):
    editor = strokes.open()
    editor.paint("first", FRONT)
    strokes.choose()
    strokes.waitForAnswer()
    assert strokes.shown("first")[10, 15, 28] == 0
    editor.paint("second", BACK)
    strokes.waitFor(lambda: bool(strokes.shown("second").sum() > 100))
    editor.addSegment("background")
    editor.paint("background", (15, 15, 10), (15, 18, 10))
    strokes.waitFor(lambda: "3 strokes" in strokes.status)
    painted = editor.voxels("background")
    assert not (strokes.shown("first") & painted).any()
    assert np.array_equal(strokes.shown("background"), painted)


def test_cancel_leaves_the_strokes_and_nothing_else(eitherBase, strokes):
    editor = strokes.open()
    editor.paint("first", FRONT)
    painted = editor.voxels("first").copy()
    strokes.useWorker("slow")
    strokes.choose()
    strokes.waitFor(lambda: "drawing" in strokes.status)
    assert np.array_equal(strokes.shown("first"), painted)  # at once, while the worker computes
    click(strokes.effect.cancelButton)
    assert editor.preview is None
    strokes.waitFor(lambda: not sharedClient().busy)
    assert np.array_equal(editor.voxels("first"), painted)
    assert strokes.status == ""
    strokes.gate.touch()
    click(strokes.effect.previewButton)
    strokes.waitForAnswer()


def test_a_new_stroke_takes_the_place_of_what_still_computes(strokes):
    editor = strokes.open()
    editor.paint("first", FRONT)
    strokes.useWorker("slow")
    strokes.choose()
    strokes.waitFor(lambda: "drawing" in strokes.status)
    editor.paint("second", BACK)
    strokes.gate.touch()
    strokes.waitFor(lambda: "2 strokes" in strokes.status)
    assert strokes.shown("second").sum() > 100


def test_a_killed_worker_costs_a_message_not_a_stroke(strokes):
    editor = strokes.open()
    editor.paint("first", FRONT)
    strokes.useWorker("crash")
    strokes.choose()
    strokes.waitForAnswer()
    before = strokes.shown("first").copy()
    editor.paint("second", BACK)
    strokes.waitFor(lambda: "ended unexpectedly" in strokes.status)
    assert np.array_equal(strokes.shown("first"), before)
    assert strokes.shown("second").sum() == editor.voxels("second").sum() > 0
    click(strokes.effect.previewButton)
    strokes.waitFor(lambda: "2 strokes" in strokes.status)


def test_a_worker_that_has_forgotten_the_image_gets_it_again(strokes):
    editor = strokes.open()
    editor.paint("first", FRONT)
    strokes.useWorker("forget")
    strokes.choose()
    strokes.waitForAnswer()
    editor.paint("second", BACK)
    strokes.waitFor(lambda: "2 strokes" in strokes.status)


KNOWN = ("Anterior hippocampus", "Posterior hippocampus")


def test_a_model_that_knows_the_segments_is_taught_and_kept(strokes):
    editor = strokes.open(KNOWN)
    editor.paint(KNOWN[0], FRONT)
    editor.paint(KNOWN[1], BACK)
    strokes.useWorker("slow-teach")
    strokes.choose()
    strokes.waitFor(lambda: "learns" in strokes.status)
    byWalker = strokes.shown(KNOWN[0]).sum()
    assert strokes.gate.with_suffix(".opened").read_text() == "1"  # the image is sent once
    assert not strokes.effect.options.keepButton.enabled
    strokes.gate.touch()
    strokes.waitForAnswer("hippocampus, taught by 2 strokes")
    assert strokes.shown(KNOWN[0]).sum() > byWalker
    click(strokes.effect.options.keepButton)
    strokes.waitFor(lambda: "Kept as model" in strokes.status)


def test_what_knows_can_be_chosen(strokes):
    editor = strokes.open(KNOWN)
    editor.paint(KNOWN[0], FRONT)
    strokes.choose()
    strokes.waitForAnswer("taught")
    options = strokes.effect.options
    assert [options.modelBox.itemText(n) for n in range(options.modelBox.count)][:2] == [
        "Automatic",
        "None: random walker",
    ]
    choose(options.modelBox, "None: random walker")
    strokes.waitForAnswer()
    assert not options.learnBox.enabled
    assert not options.keepButton.enabled
    choose(options.modelBox, "Automatic")
    strokes.waitForAnswer("taught")
    click(options.learnBox)
    strokes.waitForAnswer()


def seen() -> np.ndarray:
    """The place (RAS) that the slice views show."""
    views = slicer.app.layoutManager()
    nodes = [views.sliceWidget(name).mrmlSliceNode().GetSliceToRAS() for name in ("Yellow", "Green", "Red")]
    return np.array([node.GetElement(axis, 3) for axis, node in enumerate(nodes)])


def test_a_roi_limits_the_whole_and_its_new_place_counts(strokes):
    editor = strokes.open()
    editor.paint("first", FRONT)
    editor.paint("second", BACK)
    strokes.choose()
    strokes.waitForAnswer()
    everywhere = strokes.shown("first").sum()
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetCenter(*FRONT)
    roi.SetSize(4, 4, 4)
    options = strokes.effect.options
    choose(options.roiBox, "box")
    strokes.waitFor(lambda: strokes.shown("first").sum() < everywhere)
    inside = np.zeros(blocks().shape, bool)
    inside[8:13, 13:18, 10:15] = True
    assert not (strokes.shown("first") & ~inside & ~editor.voxels("first")).any()
    assert np.array_equal(strokes.shown("second"), editor.voxels("second"))

    roi.SetCenter(*BACK)
    click(strokes.effect.previewButton)
    strokes.waitFor(lambda: strokes.shown("second").sum() > editor.voxels("second").sum())
    assert np.array_equal(strokes.shown("first"), editor.voxels("first"))

    choose(options.roiBox, "Around the strokes")
    strokes.waitFor(lambda: strokes.shown("first").sum() == everywhere)
    choose(options.roiBox, "box")
    strokes.waitFor(lambda: strokes.shown("first").sum() < everywhere)
    slicer.mrmlScene.RemoveNode(roi)
    strokes.waitFor(lambda: strokes.shown("first").sum() == everywhere)


def surfaces(node: Any) -> list[str]:
    """The segments that have one."""
    name = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
    segmentation = node.GetSegmentation()
    found = {each: segmentation.GetSegment(each).GetRepresentation(name) for each in segmentation.GetSegmentIDs()}
    return [each for each, surface in found.items() if surface is not None and surface.GetNumberOfPoints()]


def test_surfaces_follow_the_strokes_and_are_kept(eitherBase, strokes):
    editor = strokes.open()
    editor.paint("first", FRONT)
    strokes.choose()
    strokes.waitForAnswer()
    assert surfaces(editor.preview) == []
    click(strokes.effect.previewShow3DButton)
    assert surfaces(editor.preview) == ["first"]
    editor.paint("second", BACK)
    strokes.waitFor(lambda: bool(strokes.shown("second").sum() > 100))
    assert surfaces(editor.preview) == ["first", "second"]
    click(strokes.effect.applyButton)
    assert surfaces(editor.segmentation) == ["first", "second"]


def test_the_next_unsure_place_is_shown_by_button_and_key(strokes):
    editor = strokes.open()
    editor.paint("first", FRONT)
    strokes.choose()
    strokes.waitForAnswer()
    assert "2 unsure places" in strokes.status
    click(strokes.effect.options.unsureButton)
    first = seen()
    assert np.abs(first - FRONT).max() < 10
    editor.widget.setActiveEffectByName("Paint")
    press(editor.widget, "N")
    np.testing.assert_allclose(seen(), first - [1, 0, 0])  # LPS to RAS
    press(editor.widget, "N")
    np.testing.assert_allclose(seen(), first)  # there are two
    editor.widget.setActiveEffectByName(NAME)
    click(strokes.effect.cancelButton)
    press(editor.widget, "N")
    np.testing.assert_allclose(seen(), first)  # nothing is unsure any more


def test_painted_voxels_become_a_case_and_the_rest_is_not_labeled(strokes):
    editor = strokes.open((*KNOWN, "background"))
    editor.paint(KNOWN[0], FRONT)
    editor.paint("background", BETWEEN)
    strokes.choose()
    strokes.waitForAnswer("taught")
    click(strokes.effect.options.addButton)
    assert "Added as case" in strokes.status
    (case,) = CaseStore().cases.values()
    kinds = CaseStore().kinds
    counted = {kinds[value].name: count for value, count in case.voxels.items()}
    assert case.partly
    assert counted == {name: int(editor.voxels(name).sum()) for name in (*KNOWN, "background")}

    click(strokes.effect.options.rightBox)
    click(strokes.effect.options.addButton)
    (case,) = CaseStore().cases.values()
    counted = {kinds[value].name: count for value, count in case.voxels.items()}
    assert case.partly is False
    assert counted[KNOWN[0]] == int(strokes.shown(KNOWN[0]).sum())


@pytest.mark.parametrize(
    ("names", "task", "called"),
    [
        (KNOWN, "IMPROVE", "hippocampus-local-1"),
        (("front", "back"), "NEW_LABELS", "front-back-local-1"),
    ],
)
def test_train_chooses_by_whether_a_model_knows_what_is_painted(host, strokes, names, task, called):
    panel = slicer.util.mainWindow().takeCentralWidget()  # the modules', whose place the editor takes
    host.loadModule(MODULES / "LLMBoostTrain" / "LLMBoostTrain.py")
    editor = strokes.open(names)
    editor.paint(names[0], FRONT)
    editor.paint(names[1], BACK)
    strokes.choose()
    strokes.waitForAnswer("2 strokes")
    options = strokes.effect.options
    assert not options.trainButton.enabled, "before a case is added, there is nothing to train with"
    click(options.rightBox)
    click(options.addButton)
    click(options.trainButton)
    module = slicer.util.getModuleWidget("LLMBoostTrain")
    node, ui = module.panel.parameterNode, module.ui
    assert node.task.name == task
    assert ui.nameEdit.text == called
    assert ui.startButton.enabled, ui.startLabel.text
    if task == "IMPROVE":
        assert node.base == "hippocampus"
    else:
        node.task = type(node.task).IMPROVE  # by hand: what is proposed follows, as nothing was written
        assert ui.nameEdit.text.endswith("-local-1")
        assert not ui.nameEdit.text.startswith("front")
    assert panel is not None


def turned() -> np.ndarray:
    """Around the axis from feet to head, with spacings of its own, i mirrored as in files of DICOM's."""
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]
    return turn @ np.diag([-0.8, 1.2, 1.5, 1]) @ np.array([[1, 0, 0, 7], [0, 1, 0, -3], [0, 0, 1, 4], [0, 0, 0, 1]])


@pytest.mark.parametrize("transformed", [False, True])
def test_volumes_that_lie_askew(strokes, transformed):
    matrix, transform = turned(), None
    world = matrix
    if transformed:
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        own = turned() * [[1.0, 1, 1, 1]] / np.array([0.8, 1.2, 1.5, 1])
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(own))
        world = own @ matrix
    editor = strokes.open(matrix=matrix, transform=transform)
    editor.paint("first", (world @ [*FRONT, 1])[:3])
    editor.paint("second", (world @ [*BACK, 1])[:3])
    assert editor.voxels("first")[10, 15, 12]
    strokes.choose()
    strokes.waitForAnswer()
    bright = blocks() >= 100
    assert strokes.shown("first").sum() > 100
    assert not (strokes.shown("first") & ~bright & ~editor.voxels("first")).any()
    expected = (world @ [*np.argwhere(strokes.shown("second")).mean(axis=0)[::-1], 1])[:3]
    center = np.zeros(3)
    editor.preview.GetSegmentCenterRAS("second", center)
    assert np.linalg.norm(center - expected) < 2


def test_a_picture(strokes):
    editor = strokes.open(array=blocks()[10:11])
    editor.paint("first", (12, 15, 0))
    strokes.choose()
    strokes.waitForAnswer()
    assert strokes.shown("first").sum() > 40


def test_many_segments(strokes):
    names = tuple(f"segment {n}" for n in range(30))
    editor = strokes.open(names)
    editor.paint(names[-1], FRONT)
    editor.paint(names[3], BACK)
    strokes.choose()
    strokes.waitForAnswer()
    assert strokes.shown(names[-1])[10, 15, 12]
    assert strokes.shown(names[3])[10, 15, 28]


def test_masking_of_the_editor_holds_in_the_preview(strokes):
    editor = strokes.open()
    editor.paint("first", FRONT)
    node = editor.widget.mrmlSegmentEditorNode()
    node.SetSourceVolumeIntensityMask(True)
    node.SetSourceVolumeIntensityMaskRange(0, 100)
    strokes.choose()
    strokes.waitForAnswer()
    assert not (strokes.shown("first") & (blocks() > 100)).any()
