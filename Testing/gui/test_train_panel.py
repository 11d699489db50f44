"""The panel of LLMBoost Train, with clicks and with a trainer that needs no torch: cases, a training, its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import slicer
from Testing.gui.qthost import MODULES, choose, click, isGone
from Testing.gui.traincase import MODULE, TrainCase, selectRows

from llmboost import library
from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from llmboost.messages.worker import ValidationEvent


@pytest.fixture
def case(host, tmp_path, monkeypatch) -> TrainCase:
    return TrainCase(host, tmp_path, monkeypatch)


@pytest.fixture
def ready(case) -> TrainCase:
    """Two cases to train with, and one to check with."""
    for seed in range(3):
        case.add(f"head {seed}", seed)
    choose(case.ui.caseTable.cellWidget(2, 2), "val")
    return case


def refuse(*_, **__):
    raise AssertionError("neither a network nor a worker is there")


def diceTable():
    """The points of the Dice's curve in the one chart; it need not be the second one: few steps leave no loss's."""
    (chart,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    return next(one for one in series if one.GetName().startswith("Dice")).GetTableNode()


# The module


def test_its_own_test_passes_without_main_window_torch_network_and_worker(host, monkeypatch, tmp_path):
    monkeypatch.setenv("LLMBOOST_TRAINING", str(tmp_path / "cases"))
    for package in ("torch", "monai", "safetensors"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    with host.withoutMainWindow():
        host.loadModule(MODULES / MODULE / f"{MODULE}.py")
        slicer.selfTests[MODULE]()
        slicer.modules.llmboosttrain.widgetRepresentation()  # as Slicer's generic tests do
    assert not (tmp_path / "cases").exists()
    assert slicer.modules.llmboosttrain.dependencies == ["LLMBoostSegment"]


# Cases


def test_an_empty_panel_says_what_to_do(case):
    assert "No cases yet" in case.ui.casesLabel.text
    assert not case.ui.startButton.enabled
    assert "add an image with its segmentation" in case.ui.problemsLabel.text


def test_adding_choosing_a_use_and_removing(case, host):
    first, second = case.add("head 1", 1), case.add("head 2", 2)
    table = case.ui.caseTable
    assert [case.cell(table, row, 0) for row in range(2)] == ["head 1", "head 2"]
    assert case.ui.startButton.enabled
    choose(table.cellWidget(1, 2), "val")
    assert case.store.cases[second.id].role == "val"
    assert case.ui.casesLabel.text == "1 to train with, 1 to check with"
    case.select(first)
    host.answer(True)
    click(case.ui.removeButton)
    assert "Delete the copies of 1 case(s)" in host.dialogs.take("question").text
    assert list(case.store.cases) == [second.id]
    assert not case.ui.startButton.enabled
    host.answer(True)
    click(case.ui.removeAllButton)
    host.dialogs.take("question")
    assert not case.cases.exists()
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 2


def test_a_whole_head_of_the_other_module_is_added_and_can_be_trained_with(case, host):
    other = host.openModule("LLMBoostSegment")
    head = slicer.util.addVolumeFromArray(
        np.random.default_rng(0).integers(0, 99, (100, 140, 150), np.int16), name="head"
    )
    choose(other.ui.inputSelector, "head")
    host.runUntil(lambda: other.ui.applyButton.enabled)
    click(other.ui.applyButton)
    host.runUntil(lambda: not other.panel.run.active and not other.panel.run.resting)
    click(other.ui.addCaseButton)
    assert other.ui.statusLabel.text.endswith("as 2 crops, a side each (2 in all)")
    host.selectModule(MODULE)
    table = case.ui.caseTable
    assert [case.cell(table, row, 0) for row in range(2)] == ["head (left)", "head (right)"]
    assert [case.cell(table, row, 4) for row in range(2)] == ["ready", "ready"]
    assert case.ui.startButton.enabled, case.ui.problemsLabel.text
    case.select(*list(case.store.cases.values())[:1])
    click(case.ui.editButton)  # in the head, not in a crop of it
    assert case.ui.editorFrame.findChild(slicer.qMRMLSegmentEditorWidget).sourceVolumeNode() is head
    click(case.ui.saveButton)
    assert len(case.store.cases) == 2


def test_problems_stand_in_the_row_until_they_are_mended(case):
    case.add("good", 1)
    case.add("odd", 2, ("Segment_1", "Posterior hippocampus"))
    assert "'Segment_1' has no label" in case.cell(case.ui.caseTable, 1, 4)
    assert "odd: 'Segment_1' has no label: choose one, in the section Labels" in case.ui.casesLabel.text
    assert not case.ui.startButton.enabled
    assert "1 case(s) have problems" in case.ui.problemsLabel.text
    choose(case.ui.mappingTable.cellWidget(2, 2), "Anterior hippocampus")
    assert case.cell(case.ui.mappingTable, 2, 3) == "chosen"
    assert case.cell(case.ui.caseTable, 1, 4) == "ready"
    assert case.ui.startButton.enabled


def test_a_partly_labelled_case_is_told_and_can_be_made_a_complete_one(case):
    case.add("whole", 1)
    partly = case.add("partly", 2, ("Anterior hippocampus",))
    box = case.ui.caseTable.cellWidget(1, 3)
    assert box.checked
    assert "no Posterior hippocampus: what has no segment counts as not labeled" in case.cell(case.ui.caseTable, 1, 4)
    click(box)
    assert case.store.cases[partly.id].partly is False
    assert "it counts as absent" in case.cell(case.ui.caseTable, 1, 4)


def test_edits_in_the_scene_are_noticed_and_taken_over(case):
    one = case.add("head", 1)
    case.select(one)
    assert not case.ui.updateButton.enabled
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    erase(node, 0)
    case.host.selectModule("")
    case.host.selectModule(MODULE)
    assert "was edited since" in case.cell(case.ui.caseTable, 0, 4)
    case.select(one)
    click(case.ui.updateButton)
    assert sorted(case.store.cases[one.id].voxels.values()) == [400, 800]
    assert case.cell(case.ui.caseTable, 0, 4) == "ready"


def test_a_case_is_edited_here_also_when_its_nodes_are_gone(case, host):
    one = case.add("head", 1)
    host.closeScene()
    assert case.cell(case.ui.caseTable, 0, 0) == one.id
    case.select(one)
    click(case.ui.editButton)
    assert case.ui.editorFrame.visible
    assert not case.ui.mainFrame.visible
    editor = case.ui.editorFrame.findChild(slicer.qMRMLSegmentEditorWidget)
    erase(editor.segmentationNode(), 0)
    click(case.ui.saveButton)
    assert case.ui.mainFrame.visible
    assert sorted(case.store.cases[one.id].voxels.values()) == [400, 800]
    case.select(one)
    click(case.ui.editButton)
    erase(editor.segmentationNode(), 1)
    click(case.ui.backButton)
    assert sorted(case.store.cases[one.id].voxels.values()) == [400, 800]


def test_the_scene_and_a_folder_fill_the_table(case, host, tmp_path):
    case.makeNodes("a", 1), case.makeNodes("b", 2)
    click(case.ui.addAllButton)
    assert len(case.store.cases) == 2
    assert case.status == "2 case(s) added from the scene"
    source = tmp_path / "source"
    case.cases.rename(source)
    case.panel.refresh()
    host.answer(str(source))
    click(case.ui.importButton)
    host.dialogs.take("folder")
    assert len(case.store.cases) == 2
    host.answer(str(tmp_path))
    click(case.ui.importButton)
    host.dialogs.take("folder")
    assert "dataset.json" in case.error()


def test_another_folder_holds_other_cases(case, tmp_path):
    case.add("head", 1)
    case.ui.folderEdit.currentPath = str(tmp_path / "other")
    assert case.ui.caseTable.rowCount == 0
    case.add("head", 1)
    assert (tmp_path / "other" / "cases.json").is_file()
    case.ui.folderEdit.currentPath = str(case.cases)
    assert case.ui.caseTable.rowCount == 1


def test_a_damaged_folder_is_told(case):
    case.add("head", 1)
    (case.cases / "cases.json").write_text("{")
    case.panel.refresh()
    assert "cases.json: cannot be read" in case.ui.problemsLabel.text
    assert not case.ui.startButton.enabled


# A training


def test_from_cases_to_an_adapter_in_the_list_of_the_other_module(ready, host):
    case = ready
    case.useWorker("old")
    click(case.ui.startButton)
    case.waitFor(lambda: len(case.panel.training.curves.points["dice"]) >= 2)
    assert case.ui.startButton.text == "&Cancel"
    assert "left" in case.status
    assert case.ui.outlookLabel.text == "Kept aside to check with: head 2"
    assert host.loop.longestTick < 5
    table = diceTable()
    shown = table.GetNumberOfRows()
    case.finish()
    assert table.GetNumberOfRows() > shown  # the curve grew
    assert table.GetTable().GetColumnByName("dice").GetRange() == (0.65, 0.8)
    names = [series.GetName() for series in slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")]
    assert names[1:] == ["Dice, mean", "Anterior hippocampus", "Posterior hippocampus"]
    assert "planned" in case.status
    case.assertTidy()
    assert "Dice of what it has not learned from (1): 0.60 → 0.80." in case.ui.resultLabel.text
    assert "0.88 → 0.88" in case.ui.resultLabel.text
    assert [case.cell(case.ui.diceTable, 0, column) for column in range(4)] == ["head 2", "0.60", "0.80", "+0.20"]
    click(case.ui.showButton)
    case.finish()
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")]
    assert names[-2:] == ["head 2 before training", "head 2 after training"]
    click(case.ui.acceptButton)
    assert not case.ui.resultButton.visible
    card = read_card(library.find("hippocampus-local-1"))
    assert card.adapter.base == "hippocampus"
    assert not (case.cases / "pending").exists()
    host.loadModule(MODULES / "LLMBoostSegment" / "LLMBoostSegment.py")
    selectRows(case.ui.adapterTable, 0)
    click(case.ui.useButton)
    segment = slicer.util.getModuleWidget("LLMBoostSegment")
    assert segment.panel.chooser.current.name == "hippocampus-local-1"


def test_discarding_leaves_nothing(ready):
    ready.start()
    ready.finish()
    click(ready.ui.discardButton)
    assert not ready.ui.resultButton.visible
    assert not (ready.cases / "pending").exists()
    assert "hippocampus-local-1" not in library.installed()


def test_a_model_that_has_learnt_nothing_is_accepted_only_when_confirmed(ready, host):
    ready.start("useless")
    ready.finish()
    host.answer(False)
    click(ready.ui.acceptButton)
    question = host.dialogs.take("question").text
    assert "has learned nothing (Dice 0.03 on held-out cases)" in question
    assert "Give it more minutes or more cases" in question
    assert "hippocampus-local-1" not in library.installed()
    assert ready.ui.resultButton.visible  # it waits
    with pytest.raises(LLMBoostError, match=r"has learned nothing.*anyway=True"):
        ready.logic.accept(ready.logic.pending())
    host.answer(True)
    click(ready.ui.acceptButton)
    host.dialogs.take("question")
    assert "hippocampus-local-1" in library.installed()
    path = library.export_model("hippocampus-local-1", ready.folder)
    library.remove_model("hippocampus-local-1")
    host.answer(str(path), False)
    ready.ui.adaptersButton.collapsed = False
    click(ready.ui.importAdapterButton)
    assert "has learned nothing" in host.dialogs.take("question").text
    assert "hippocampus-local-1" not in library.installed()
    host.answer(str(path), True)
    click(ready.ui.importAdapterButton)
    assert "hippocampus-local-1" in library.installed()
    host.dialogs.shown.clear()


def test_a_training_goes_on_and_the_new_result_takes_the_place_of_the_old(ready, host):
    ready.start()
    ready.finish()
    before = ready.logic.pending()
    ready.ui.moreBox.value = 1.5
    click(ready.ui.goOnButton)
    assert not ready.ui.goOnButton.enabled
    ready.finish()
    assert "0.60 → 0.90" in ready.ui.resultLabel.text
    assert "1 min 30 s planned" in ready.status
    ready.assertTidy()
    widget = host.reload(MODULE)  # the next Slicer can go on with it, too
    host.selectModule(MODULE)
    after = widget.logic.pending()
    assert (after.path, after.after.mean_dice) == (before.path, 0.9)
    assert after.path.with_suffix(".run").is_dir()
    click(widget.ui.discardButton)
    assert not (ready.cases / "pending").exists()


def test_what_stands_in_the_way_of_going_on_is_told_and_the_result_stays(ready, host):
    ready.start()
    ready.finish()
    ready.add("another", 9)
    click(ready.ui.goOnButton)
    ready.finish()
    assert "of a run that ended and is another one" in ready.error()
    assert ready.ui.resultButton.visible
    assert "0.60 → 0.80" in ready.ui.resultLabel.text
    ready.assertTidy()
    ready.useWorker("slow")
    ready.store.remove([list(ready.store.cases)[-1]])
    ready.panel.refresh()
    click(ready.ui.goOnButton)
    ready.waitFor(lambda: len(ready.panel.training.curves.points["dice"]) > 4)
    click(ready.ui.startButton)  # cancels
    ready.finish()
    assert ready.logic.pending().after.mean_dice == 0.8
    ready.assertTidy()
    click(ready.ui.acceptButton)
    assert not (ready.cases / "pending").exists()


def test_new_labels_are_checked_on_every_case(ready, host):
    """On request, for a price that is told; what was found waits with the model, also in the next Slicer."""
    from LLMBoostLib.panels.speed import duration
    from LLMBoostLib.training.casesview import title

    ready.start()
    ready.finish()
    assert not ready.ui.checkButton.visible, "the base's own labels are no new ones"
    click(ready.ui.discardButton)
    choose(ready.ui.taskBox, "New labels, those of the cases")
    ready.start()
    ready.finish()
    assert ready.ui.diceTable.rowCount == 1, "of three cases, one was kept aside"
    button = ready.ui.checkButton
    seconds = ready.logic.pending().seconds
    assert button.text == f"C&heck on every case (about {duration(3 * seconds)})"
    assert "3 more networks learn as long as it did" in button.toolTip

    steps = len(ready.panel.training.curves.points["loss"])
    ready.logic.client.shutDown()
    ready.useWorker("slow")
    click(button)
    ready.waitFor(lambda: "network 2 of 3" in ready.status)
    assert not ready.ui.finishButton.visible, "there is nothing to keep of a half check"
    assert not button.enabled
    click(ready.ui.startButton)  # cancels
    ready.finish()
    assert ready.status == "Cancelled"
    assert ready.logic.pending().outOfFold is None
    ready.assertTidy()

    ready.logic.client.shutDown()
    ready.useWorker()
    click(button)
    ready.finish()
    ready.assertTidy()
    assert len(ready.panel.training.curves.points["loss"]) == steps, "the curves are the training's"
    assert not button.visible
    text = ready.ui.resultLabel.text
    assert "Checked on every case (3), each by one of 3 networks that had not seen it: Dice 0.75." in text
    names = [title(case) for case in ready.store.cases.values()]
    assert f"Anterior hippocampus 0.80 (at worst 0.70, {names[2]})" in text
    assert "Posterior hippocampus 0.70 (at worst 0.60" in text
    assert "a label is rare" in ready.ui.warningsLabel.text
    table = ready.ui.diceTable
    assert [ready.cell(table, row, 0) for row in range(3)] == names
    row = [ready.cell(table, 1, column) for column in (4, 5)]
    assert row == ["0.75", "Anterior hippocampus 0.80, Posterior hippocampus 0.70"]

    widget = host.reload(MODULE)
    host.selectModule(MODULE)
    assert "Checked on every case (3)" in widget.ui.resultLabel.text
    click(widget.ui.goOnButton)  # to another model, which nobody has checked
    host.runUntil(lambda: not widget.panel.run.active, 60)
    host.processEvents()
    assert "Checked" not in widget.ui.resultLabel.text
    assert widget.ui.checkButton.visible
    click(widget.ui.discardButton)


def test_two_patients_are_too_few_to_check_on_every_case(case):
    for name, seed in (("one", 1), ("another", 2)):
        case.add(name, seed)
    choose(case.ui.taskBox, "New labels, those of the cases")
    case.start()
    case.finish()
    assert case.ui.checkButton.visible
    assert not case.ui.checkButton.enabled
    assert "Takes cases of 3 patients" in case.ui.checkButton.toolTip
    click(case.ui.discardButton)


def test_figures_that_are_no_numbers_are_none():
    from LLMBoostLib.training.candidateview import mean
    from LLMBoostLib.training.figures import change

    nan, inf = float("nan"), float("inf")
    assert [change(nan, 0.5), change(0.5, inf), change(nan, None)] == ["– → 0.50", "0.50 → –", "–"]
    assert mean({"1": nan, "2": 0.25, "3": None}) == 0.25
    assert mean({"1": nan}) is None


def test_stop_and_keep_the_best(ready):
    ready.startSlow()
    click(ready.ui.finishButton)
    ready.finish()
    assert "stopped by you" in ready.ui.resultLabel.text
    ready.assertTidy()


def test_cancel(ready):
    ready.startSlow()
    assert ready.ui.startButton.text == "&Cancel"
    click(ready.ui.startButton)
    ready.finish()
    assert ready.status == "Cancelled"
    assert not ready.ui.resultButton.visible
    ready.assertTidy()


def test_a_trainer_that_does_not_listen_is_killed(ready):
    ready.logic.client.cancelSeconds = 0.2
    ready.start("deaf")
    ready.waitFor(lambda: len(ready.panel.training.curves.points["loss"]) >= 1)
    click(ready.ui.startButton)
    ready.finish()
    ready.assertTidy()


def test_what_is_edited_and_removed_meanwhile_does_not_change_a_training(ready, host):
    """The trainer itself checks that its files are the same at the end."""
    ready.startSlow()
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        erase(node, 0)
    ready.panel.refresh()
    ready.select(*ready.store.cases.values())
    click(ready.ui.updateButton)
    assert [sorted(one.voxels.values()) for one in ready.store.cases.values()] == [[400, 800]] * 3
    host.answer(True)
    click(ready.ui.removeButton)
    host.dialogs.take("question")
    ready.gate.touch()
    ready.finish()
    assert "0.60 → 0.80" in ready.ui.resultLabel.text
    click(ready.ui.showButton)  # the case is gone
    assert "This case was removed since" in ready.error()


def test_leaving_the_panel_does_not_end_a_training(ready, host):
    ready.startSlow()
    host.openModule("LLMBoostSegment")
    ready.gate.touch()
    ready.finish()
    host.selectModule(MODULE)
    assert ready.ui.resultButton.visible
    ready.assertTidy()


def test_closing_the_scene_does_not_end_a_training(ready, host):
    ready.startSlow()
    host.closeScene()
    assert ready.ui.plotFrame.visible
    ready.gate.touch()
    ready.finish()
    assert diceTable().GetNumberOfRows() == 4  # made anew
    assert ready.ui.resultButton.visible
    ready.assertTidy()


def test_quitting_in_mid_run_ends_the_worker_and_leaves_nothing(ready, host):
    ready.startSlow()
    pid = ready.pid
    host.quit()
    ends = time.monotonic() + 10
    while not isGone(pid):
        assert time.monotonic() < ends
        time.sleep(0.01)
    assert not (ready.cases / "runs").exists()
    assert not (ready.cases / "pending").exists()


def test_a_result_waits_for_a_decision_also_in_the_next_slicer(ready, host):
    ready.start()
    ready.finish()
    widget = host.reload(MODULE)
    host.selectModule(MODULE)
    assert widget.ui.resultButton.visible
    assert "0.60 → 0.80" in widget.ui.resultLabel.text
    host.answer(False)
    click(widget.ui.startButton)
    assert "'hippocampus-local-1' waits for a decision" in host.dialogs.take("question").text
    assert not widget.panel.run.active


def test_what_a_killed_slicer_left_is_removed_when_it_is_old(case, host):
    from LLMBoostLib.training.runfolders import STALE_SECONDS  # needs the host's Qt

    old, new = case.cases / "runs" / "0123456a", case.cases / "runs" / "0123456b"
    for run in (old, new):
        run.mkdir(parents=True)
    past = time.time() - STALE_SECONDS - 10
    os.utime(old, (past, past))
    host.reload(MODULE)
    assert not old.exists()
    assert new.exists()


def test_in_a_folder_of_others_nothing_is_trained_and_nothing_removed(case, host):
    from LLMBoostLib.training.runfolders import STALE_SECONDS  # needs the host's Qt

    theirs = [case.cases / "runs" / "0123456a" / "weights.pt", case.cases / "pending" / "outcome.json"]
    for path in (*theirs, case.cases / "dataset.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("theirs")
    past = time.time() - STALE_SECONDS - 10
    os.utime(theirs[0].parent, (past, past))
    host.reload(MODULE)
    with pytest.raises(LLMBoostError, match="not a folder of LLMBoost Train's"):
        case.logic.train(dataset=case.cases, steps=1)
    assert all(path.read_text() == "theirs" for path in theirs)
    assert not case.ui.removeAllButton.enabled


# Trouble


def test_a_trainer_that_is_killed(ready):
    ready.start("crash")
    ready.finish()
    assert "the worker ended unexpectedly" in ready.error().lower()
    ready.assertTidy()
    ready.start()  # and a fresh one
    ready.finish()
    assert ready.ui.resultButton.visible


def test_kill_9_from_outside(ready):
    ready.startSlow()
    os.kill(ready.pid, signal.SIGKILL)
    ready.finish()
    assert "unexpectedly" in ready.error()
    ready.assertTidy()


@pytest.mark.parametrize(("how", "text"), [("full", "No space left on device"), ("nan", "the loss is not a number")])
def test_a_trainer_that_fails_says_why(ready, how, text):
    ready.start(how)
    ready.finish()
    assert text in ready.error()
    assert text in ready.status
    ready.assertTidy()


def test_a_full_disk_before_the_start(ready, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    for name in ("os.link", "shutil.copyfile"):
        monkeypatch.setattr(name, full)
    ready.start()
    ready.finish()
    assert "No space left on device" in ready.error()
    ready.assertTidy()


def test_a_disk_without_links(ready, monkeypatch):
    def cannot(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.link", cannot)
    ready.start()
    ready.finish()
    assert ready.ui.resultButton.visible


def test_a_worker_elsewhere_gets_no_cases(ready):
    ready.start("remote")
    ready.finish()
    text = ready.error()
    assert "The worker runs on another computer, gpu-box" in text
    assert "nothing was sent" in text
    ready.assertTidy()


def test_a_name_that_is_taken(ready):
    ready.ui.nameEdit.text = "hippocampus"
    assert "A model named 'hippocampus' is installed already" in ready.ui.problemsLabel.text
    assert not ready.ui.startButton.enabled
    ready.ui.nameEdit.text = "mine"
    assert ready.ui.startButton.enabled


def test_one_computation_at_a_time_in_both_modules(ready, host):
    ready.startSlow()
    segment = host.openModule("LLMBoostSegment")
    volumeNode = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")[0]
    with pytest.raises(Exception, match="a training runs"):
        segment.logic.process(volumeNode)
    assert ready.logic.training.running
    host.selectModule(MODULE)
    click(ready.ui.startButton)
    ready.finish()


def test_what_cannot_be_adapted_is_no_base_to_choose(ready):
    from llmboost.ensemble import combine
    from llmboost.model import load_model, save_model

    one, other = load_model(library.find("hippocampus")), ready.folder / "other.safetensors"
    changed = load_model(library.find("hippocampus")).network
    for parameter in changed.heads.parameters():
        parameter.data += 1
    save_model(changed, replace(one.card, name="other", title="Other one"), other)
    combine([one, load_model(other)], ready.folder / "both.safetensors", title="Both as one")
    library.import_model(other)
    library.import_model(ready.folder / "both.safetensors")
    ready.panel.refresh()
    box = ready.ui.baseBox
    offered = [box.itemText(index) for index in range(box.count)]
    assert any(text.startswith("Other one") for text in offered)
    assert not any(text.startswith("Both as one") for text in offered)
    ready.panel.parameterNode.base = "both"  # of a scene
    ready.panel.refresh()
    assert not ready.ui.startButton.enabled
    assert "Choose a base model" in ready.ui.problemsLabel.text


# Label next


def test_the_next_case_is_segmented_corrected_and_learnt_from(ready, host):
    case = ready
    for seed in (11, 12):
        case.logic.addCase(case.makeNodes(f"new {seed}", seed)[0])
    case.panel.refresh()
    click(case.ui.nextButton)
    click(case.ui.rankButton)
    case.finish()
    assert case.ui.nextTable.rowCount == 2
    assert case.ui.nextLabel.text == "The first would teach the model most."
    waiting = case.ui.nextTable.item(0, 0).toolTip()
    selectRows(case.ui.nextTable, 0)
    click(case.ui.labelButton)
    case.finish()
    assert case.ui.editorFrame.visible
    click(case.ui.saveButton)
    assert case.store.cases[waiting].role == "train"
    assert case.ui.nextTable.rowCount == 1
    case.assertTidy()


# Adapters


def test_adapters_are_compared_exported_removed_and_imported(ready, host, tmp_path):
    case = ready
    case.start()
    case.finish()
    click(case.ui.acceptButton)

    selectRows(case.ui.adapterTable, 0)
    assert [case.cell(case.ui.adapterTable, 0, column) for column in range(4)] == [
        "hippocampus-local-1", "hippocampus", "2", "0.60 → 0.80",
    ]  # fmt: skip
    click(case.ui.compareButton)
    case.finish()
    assert "before training (outlines)" in case.status
    folder = tmp_path / "out"
    folder.mkdir()
    selectRows(case.ui.adapterTable, 0)
    host.answer(str(folder))
    click(case.ui.exportButton)
    host.dialogs.take("folder")
    host.answer(True)
    click(case.ui.removeAdapterButton)
    host.dialogs.take("question")
    assert case.ui.adapterTable.rowCount == 0
    host.answer(str(folder / "hippocampus-local-1.safetensors"))
    click(case.ui.importAdapterButton)
    host.dialogs.take("file")
    assert case.ui.adapterTable.rowCount == 1


def test_a_network_of_its_own_needs_no_base_to_be_compared_with(ready):
    from safetensors.torch import load_file

    from llmboost.model import save_tensors

    path = library.find("brain")
    card = replace(read_card(path), name="egg", training={"cases": ["digest"] * 3}, figures={"after": 0.7})
    save_tensors(load_file(path), card, ready.folder / "egg.safetensors")
    library.import_model(ready.folder / "egg.safetensors")
    ready.panel.refresh()
    table = ready.ui.adapterTable
    assert [ready.cell(table, 0, column) for column in range(4)] == ["egg", "none", "3", "– → 0.70"]
    selectRows(table, 0)
    assert ready.ui.useButton.enabled
    assert not ready.ui.compareButton.enabled


# Scripts


def test_scripts_train_and_wait(ready):
    news = []
    outcome = ready.logic.train(name="mine", minutes=1, onProgress=news.append)
    assert outcome.after.mean_dice == 0.8
    assert any(isinstance(one.event, ValidationEvent) for one in news)
    assert ready.logic.accept(outcome).name == "mine"
    with pytest.raises(LLMBoostError, match="'mine' is installed already"):
        ready.logic.train(name="mine")
    outcome = ready.logic.train(dataset=ready.cases, task="new-labels", steps=5, name="other")
    ready.logic.discard(outcome)
    assert ready.logic.pending() is None


def test_scripts_are_told_what_is_wrong_with_cases(case):
    with pytest.raises(LLMBoostError, match="No case to train with"):
        case.logic.train()
    case.add("odd", 1, ("Segment_1",))
    with pytest.raises(LLMBoostError, match=r"case \w{8}: 'Segment_1' has no label"):
        case.logic.train()
    assert not (case.cases / "runs").exists()


def erase(segmentationNode, number: int) -> None:
    """Half of a segment, as an effect of the Segment Editor does."""
    from vtk.util.numpy_support import vtk_to_numpy

    segmentID = segmentationNode.GetSegmentation().GetNthSegmentID(number)
    labelmap = slicer.vtkOrientedImageData()
    segmentationNode.GetBinaryLabelmapRepresentation(segmentID, labelmap)
    array = vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(labelmap.GetDimensions()[::-1])
    planes = np.flatnonzero(array.any(axis=(1, 2)))
    array[planes[len(planes) // 2 :]] = 0
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(labelmap, segmentationNode, segmentID)


OF_0_1 = (
    '<MRML version="Slicer5" userTags=""><ScriptedModule id="vtkMRMLScriptedModuleNodeLLMBoostTrain"'
    ' name="LLMBoostTrain" hideFromEditors="true" selectable="true" selected="false" singletonTag="LLMBoostTrain"'
    ' attributes="ModuleName:LLMBoostTrain" parameter0="base hippocampus" parameter1="device CPU"'
    ' parameter2="inputSegmentation " parameter3="inputVolume " parameter4="minutes 7.5" parameter5="task NEW_LABELS">'
    "</ScriptedModule></MRML>"
)


def test_a_scene_of_version_0_1_keeps_what_was_chosen(case, host, tmp_path):
    path = tmp_path / "old.mrml"
    path.write_text(OF_0_1)
    slicer.util.loadScene(str(path))
    host.processEvents()
    assert case.ui.deviceBox.currentText == "CPU"
    assert case.ui.taskBox.currentText == "New labels, those of the cases"
    assert case.ui.minutesBox.value == 7.5
