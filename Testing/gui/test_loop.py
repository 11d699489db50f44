"""Correct, learn, next case: one loop in one panel, at most four clicks a case, and a way back from each step."""

from __future__ import annotations

import shlex
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
from PySide6 import QtTest
from Testing.gui import qthost
from Testing.gui.panelcase import grabPanel
from Testing.gui.qthost import click
from Testing.gui.traincase import TRAINER, erase

from llmboost import library
from llmboost.card import Adapter
from LLMBoostLib.training.casestore import FOLDER_VARIABLE
from LLMBoostLib.worker.launcher import COMMAND_SETTING


class Loop:
    """The panel of LLMBoost Segment with a worker that segments and trains without torch."""

    def __init__(self, case, host):
        self.case, self.host, self.ui = case, host, case.ui
        self.train = host.openModule("LLMBoostTrain")
        host.selectModule("LLMBoostSegment")
        self.use("")

    def use(self, how: str) -> None:
        import qt  # there only once the host has started

        command = [sys.executable, str(TRAINER), str(self.case.folder / "gate"), *([how] if how else [])]
        qt.QSettings().setValue(COMMAND_SETTING, shlex.join(command))

    @property
    def store(self):
        return self.train.logic.store

    @property
    def model(self) -> str:
        return self.case.parameters.model

    def addOther(self, number: int):
        """An image unlike the others."""
        node = self.case.addImage(f"image {number}")
        slicer.util.updateVolumeFromArray(node, slicer.util.arrayFromVolume(node) + np.int16(number))
        return node

    def correct(self) -> None:
        """Half of the first segment is wiped off on the editor's page."""
        click(self.ui.editButton)
        erase(self.case.result.segmentationNode, 0)
        click(self.ui.backButton)

    def learn(self) -> str:
        """Click, wait, and give what is told."""
        click(self.ui.learnButton)
        self.wait()
        return self.ui.learnLabel.text

    def wait(self) -> None:
        self.host.runUntil(lambda: not self.case.panel.loop.learning.active, 120)

    def next(self) -> None:
        click(self.ui.nextButton)
        self.case.finish()


@pytest.fixture
def loop(case, host, monkeypatch) -> Loop:
    monkeypatch.setenv(FOLDER_VARIABLE, str(case.folder / "cases"))
    return Loop(case, host)


@pytest.fixture
def clicks(monkeypatch) -> list:
    """Every click of the mouse, those on headers of sections, too."""
    made = []

    def mouseClick(widget, *more):
        made.append(widget)
        QtTest.QTest.mouseClick(widget, *more)

    counting = SimpleNamespace(**{**vars(QtTest.QTest), "mouseClick": mouseClick})
    monkeypatch.setattr(qthost, "QtTest", SimpleNamespace(QTest=counting))
    return made


def test_a_case_takes_four_clicks_and_the_panel_never_more_than_900_pixels(loop, case, clicks):
    first, second = loop.addOther(1), loop.addOther(2)
    case.chooseImage(first)
    case.run()
    one = case.result.segmentationNode
    heights = [case.height]
    clicks.clear()
    loop.correct()
    heights.append(case.height)
    assert "gain is not measured yet" in loop.learn()
    heights.append(case.height)
    loop.next()
    heights.append(case.height)
    assert len(clicks) <= 4
    assert max(heights) <= 900
    grabPanel(case.widget, case.folder / "second.png")
    assert case.result.volumeNode is second is case.parameters.inputVolume
    assert case.widget.logic.asked.model == loop.model == "hippocampus-local-1"
    assert not one.GetDisplayNode().GetVisibility()
    assert len(loop.store.cases) == 1


def test_the_steps_are_undone_one_by_one(loop, case):
    first = loop.addOther(1)
    loop.addOther(2)
    case.chooseImage(first)
    case.run()
    node = case.result.segmentationNode
    before = case.table()
    loop.correct()
    corrected = case.table()
    assert corrected != before
    loop.learn()
    (learned,) = [name for name in library.installed() if "local" in name]
    assert loop.model == learned
    click(case.ui.nextButton)
    case.finish()
    for name in ("result", "next case"):
        assert case.ui.revertButton.text == f"Undo: {name}"
        click(case.ui.revertButton)
    assert case.parameters.inputVolume is first
    assert case.result.segmentationNode is node
    assert node.GetDisplayNode().GetVisibility()
    assert case.table() == corrected
    click(case.ui.revertButton)
    assert (loop.model, list(loop.store.cases)) == ("hippocampus", [])
    assert learned not in library.installed()
    click(case.ui.revertButton)
    assert case.table() == before
    click(case.ui.revertButton)
    case.assertUntouched()
    assert not case.ui.revertButton.visible


def test_the_gain_is_told_once_it_can_be_measured(loop, case):
    for number in range(4):
        image = loop.addOther(number)
        case.run()
        (added,) = loop.train.logic.addCases(image, case.result.segmentationNode)
        loop.store.setRole(added.id, "train" if number else "val")
    assert "from 4 cases, Dice 0.60 → 0.80 on what was kept aside: in use from now on" in loop.learn()


def test_what_learned_nothing_is_not_used(loop, case):
    loop.use("useless")
    for number in range(4):
        image = loop.addOther(number)
        case.run()
        (added,) = loop.train.logic.addCases(image, case.result.segmentationNode)
        loop.store.setRole(added.id, "train" if number else "val")
    assert "the model stays as it was" in loop.learn()
    assert loop.model == "hippocampus"
    assert loop.train.logic.pending() is None


def test_cases_that_come_during_a_training_are_learned_from_after_it(loop, case):
    case.addImage("first")
    case.run()
    loop.use("slow")
    click(case.ui.learnButton)
    case.waitFor(lambda: "left" in case.ui.learnLabel.text)
    assert "Learning from one case; from 4 on, some are kept aside and tell the gain" in case.ui.learnLabel.text
    loop.correct()
    click(case.ui.learnButton)
    assert "as soon as the present training is done" in case.ui.learnLabel.text
    (case.folder / "gate").touch()
    case.waitFor(lambda: loop.model == "hippocampus-local-2")
    loop.wait()
    click(case.ui.revertButton)
    assert loop.model == "hippocampus"


def test_a_learning_that_is_undone_while_it_runs_ends(loop, case):
    case.addImage("first")
    case.run()
    loop.use("slow")
    click(case.ui.learnButton)
    case.waitFor(lambda: "left" in case.ui.learnLabel.text)
    click(case.ui.revertButton)
    loop.wait()
    assert case.ui.learnLabel.text == "Learning was stopped"
    assert not loop.store.cases
    assert not loop.train.logic.training.running


def test_a_model_that_cannot_learn_says_so(loop, case, makeModel):
    makeModel("orphan", adapter=Adapter("gone", "1.0", "0" * 64, 8))
    case.addImage("first")
    case.parameters.model = "orphan"
    case.run()
    assert not case.ui.learnButton.enabled
    assert "cannot learn" in case.ui.learnButton.toolTip


def test_the_next_case_comes_from_the_folder_where_the_scene_has_none(loop, case):
    folder = case.folder / "images"
    folder.mkdir()
    for name in ("a.nrrd", "b.nrrd"):
        node = slicer.util.addVolumeFromArray(np.ones((40, 56, 40), np.int16), name=name)
        slicer.util.saveNode(node, str(folder / name), {})
        slicer.mrmlScene.RemoveNode(node)
    (folder / "notes.txt").write_text("")
    case.chooseImage(slicer.util.loadVolume(str(folder / "a.nrrd"), {"name": "a"}))
    case.run()
    loop.next()
    assert case.parameters.inputVolume.GetStorageNode().GetFileName().endswith("b.nrrd")
    assert case.result.volumeNode is case.parameters.inputVolume
    click(case.ui.nextButton)
    assert "no next image" in case.error()
