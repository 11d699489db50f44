"""The cases in the panel of LLMBoost Train: added, edited, used for this or that, and what is wrong with them told."""

from __future__ import annotations

import numpy as np
import slicer
from Testing.gui.qthost import choose, click
from Testing.gui.traincase import MODULE, erase, selectRows


def test_an_empty_panel_says_what_to_do(case):
    assert "No cases yet" in case.ui.casesLabel.text
    assert not case.ui.startButton.enabled
    assert "add an image with its segmentation" in case.ui.startLabel.text


def test_adding_choosing_a_use_and_removing(case, host):
    first, second = case.add("head 1", 1), case.add("head 2", 2)
    table = case.ui.caseTable
    assert [case.cell(table, row, 0) for row in range(2)] == ["head 1", "head 2"]
    assert case.ui.startButton.enabled
    choose(table.cellWidget(1, 1), "val")
    assert case.store.cases[second.id].role == "val"
    assert case.ui.casesLabel.text == "1 to train with, 1 to check with"
    case.select(first)
    host.answer(True)
    click(case.ui.removeButton)
    assert "Delete the copy of this case?" in host.dialogs.take("question").text
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
    assert [case.cell(table, row, 3) for row in range(2)] == ["ready", "ready"]
    assert case.ui.startButton.enabled, case.ui.startLabel.text
    case.select(*list(case.store.cases.values())[:1])
    click(case.ui.editButton)  # in the head, not in a crop of it
    assert case.ui.editorFrame.findChild(slicer.qMRMLSegmentEditorWidget).sourceVolumeNode() is head
    click(case.ui.saveButton)
    assert len(case.store.cases) == 2


def test_problems_stand_in_the_row_until_they_are_mended(case):
    case.add("good", 1)
    case.add("odd", 2, ("Segment_1", "Posterior hippocampus"))
    assert "'Segment_1' has no label" in case.cell(case.ui.caseTable, 1, 3)
    assert "odd: 'Segment_1' has no label: choose one, in the section Labels" in case.ui.casesLabel.text
    assert not case.ui.startButton.enabled
    assert "One case has problems" in case.ui.startLabel.text
    assert case.cell(case.ui.mappingTable, 0, 0) == "Segment_1", "what is in question comes first"
    choose(case.ui.mappingTable.cellWidget(0, 1), "Anterior hippocampus")
    assert "found by: chosen" in case.ui.mappingTable.cellWidget(2, 1).toolTip
    assert case.cell(case.ui.caseTable, 1, 3) == "ready"
    assert case.ui.startButton.enabled


def test_a_partly_labelled_case_is_told_and_can_be_made_a_complete_one(case):
    case.add("whole", 1)
    partly = case.add("partly", 2, ("Anterior hippocampus",))
    table = case.ui.caseTable
    assert [case.cell(table, row, 2) for row in range(2)] == ["background", "some not drawn"]
    assert "no Posterior hippocampus: it counts as not drawn, wherever it is" in case.cell(table, 1, 3)
    choose(table.cellWidget(1, 2), "background")
    assert case.store.cases[partly.id].partly is False
    assert "it counts as absent" in case.cell(table, 1, 3)
    choose(table.cellWidget(1, 2), "not labeled")
    assert case.store.cases[partly.id].partly is True
    assert "what has no segment counts as not labeled" in case.cell(table, 1, 3)
    choose(table.cellWidget(1, 2), "some not drawn")
    assert case.store.cases[partly.id].partly is None
    assert table.cellWidget(0, 2).count == 2, "where nothing is missing, nothing can be not drawn"


def test_edits_in_the_scene_are_noticed_and_taken_over(case):
    one = case.add("head", 1)
    case.select(one)
    assert not case.ui.updateButton.enabled
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    erase(node, 0)
    case.host.selectModule("")
    case.host.selectModule(MODULE)
    assert "was edited since" in case.cell(case.ui.caseTable, 0, 3)
    case.select(one)
    click(case.ui.updateButton)
    assert sorted(case.store.cases[one.id].voxels.values()) == [400, 800]
    assert case.cell(case.ui.caseTable, 0, 3) == "ready"


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
    assert case.status == "2 cases added from the scene"
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
    assert "cases.json: cannot be read" in case.ui.startLabel.text
    assert not case.ui.startButton.enabled


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
    waiting = case.ui.nextTable.item(0, 0).toolTip().split("\n")[-1]
    selectRows(case.ui.nextTable, 0)
    click(case.ui.labelButton)
    case.finish()
    assert case.ui.editorFrame.visible
    click(case.ui.saveButton)
    assert case.store.cases[waiting].role == "train"
    assert case.ui.nextTable.rowCount == 1
    case.assertTidy()
