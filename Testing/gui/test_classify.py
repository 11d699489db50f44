"""Classifiers in the panel of LLMBoost Segment: what is offered, what is shown, and what goes wrong."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from Testing.gui.qthost import choose, click

from llmboost.card import read_card


def tables() -> list:
    return slicer.util.getNodesByClass("vtkMRMLTableNode")


def cells(table) -> list[list[str]]:
    rows, columns = range(table.GetNumberOfRows()), range(table.GetNumberOfColumns())
    return [[table.GetCellText(row, column) for column in columns] for row in rows]


@pytest.fixture
def lungs(case, makeClassifier):
    """A chosen 2D classifier and a stack of five slices, the last of which is bright."""
    makeClassifier()
    array = np.zeros((5, 30, 40), np.int16)
    array[:, 15, 20] = 20, 40, 60, 80, 180
    node = slicer.util.addVolumeFromArray(array, np.diag([1.0, 1.0, 3.0, 1.0]), name="chest")
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    case.chooseImage(node)
    return node


def test_choosing_a_classifier_turns_the_panel(case, lungs):
    ui = case.ui
    assert ui.applyButton.text == "Cl&assify"
    assert ui.applyButton.toolTip == "Classify the image"
    for widget in (ui.outputSelector, ui.outputLabel, ui.uncertaintyBox, ui.framesBox):
        assert not widget.visible
    click(ui.optionsButton)
    assert ui.explanationBox.visible
    assert ui.fitLabel.text == ""
    for text in ("Classes", "normal, pneumonia (positive)", "AUC 0.96 on test cases", "slice by slice"):
        assert text in ui.modelDetails.text
    assert "Chest · DX" in [ui.modelList.item(n).text() for n in range(ui.modelList.count)]
    case.parameters.model = "hippocampus"
    assert ui.applyButton.text == "&Apply"
    assert ui.outputSelector.visible
    assert not ui.slicesBox.visible


def test_all_slices_give_probabilities_the_decision_and_two_tables(case, lungs):
    case.run()
    text = case.ui.verdictLabel.text
    for part in ("<b>pneumonia</b>", "90.0 %", "10.0 %", "positive class: pneumonia, reported from 40.0 % on"):
        assert part in text
    assert "over 5 slices" in text
    assert "not for clinical use" in text
    assert not case.ui.rangeLabel.visible
    assert not case.ui.warningsLabel.visible
    assert case.status.endswith("s: pneumonia")
    classes, slices = case.result.tableNode, case.result.slicesNode
    assert cells(classes) == [["normal", "0.1", ""], ["pneumonia", "0.9", "yes"]]
    assert [slices.GetColumnName(n) for n in range(3)] == ["Slice", "normal", "pneumonia"]
    assert cells(slices)[1] == ["1", "0.8", "0.2"]
    assert case.ui.resultTable.visible
    assert case.ui.resultTable.model().rowCount() == 5
    for widget in (case.ui.show3DBox, case.ui.editButton, case.ui.overlayBox):
        assert not widget.visible
    assert not case.segmentations()
    assert classes.GetAttribute("LLMBoost.Notice") == "Not for clinical use"


def test_one_slice_is_the_one_that_a_view_shows(case, lungs):
    box = case.ui.slicesBox
    assert [box.itemText(n) for n in range(box.count)] == ["All 5", "The one shown in view Red"]
    slicer.util.getNode("vtkMRMLSliceNodeRed").JumpSliceByOffsetting(20, 15, 9.2)
    choose(box, "The one shown in view Red")
    case.run()
    assert "slice 3" in case.ui.verdictLabel.text
    assert "40.0 %" in case.ui.verdictLabel.text
    assert case.result.slicesNode is None
    assert not case.ui.resultTable.visible
    slicer.util.getNode("vtkMRMLSliceNodeRed").JumpSliceByOffsetting(20, 15, 900)
    case.run()
    assert "View Red shows no slice of chest" in case.error()
    slicer.util.getNode("vtkMRMLSliceNodeRed").SetOrientation("Coronal")
    case.run()
    assert "View Red cuts across the slices of chest" in case.error()
    choose(box, "All 5")
    case.run()
    assert case.result.slicesNode


def test_the_tables_lie_beside_the_image_are_updated_and_taken_back(case, lungs):
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(lungs), folder)
    case.run()
    made = tables()
    assert len(made) == 2
    assert {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in made} == {folder}
    slicer.util.updateVolumeFromArray(lungs, np.zeros((5, 30, 40), np.int16))
    case.run()
    assert tables() == made
    assert cells(case.result.tableNode) == [["normal", "1", "yes"], ["pneumonia", "0", ""]]
    click(case.ui.revertButton)
    assert case.status == "Undone: result"
    case.assertUntouched(apply="Cl&assify")


def test_an_image_outside_of_the_models_range_is_told(case, lungs):
    case.useWorker("outside")
    case.run()
    assert case.ui.rangeLabel.visible
    assert case.ui.rangeLabel.text.startswith("Outside of the model's range")
    assert "it is too bright" in case.ui.rangeLabel.text
    case.client.shutDown()
    case.useWorker("warn")
    case.run()
    assert not case.ui.rangeLabel.visible
    assert case.ui.warningsLabel.text == "the image was stretched"


def test_an_image_of_another_kind_gets_an_answer_on_request_alone(case, lungs):
    case.useWorker("foreign")
    case.run()
    assert case.status.endswith("not an image that this model knows")
    assert case.ui.rangeLabel.text == "Not an image that this model knows:\nit is too bright"
    assert not case.ui.verdictLabel.visible
    assert not case.ui.resultTable.visible
    assert not case.ui.explanationGroup.visible
    assert not tables()
    found = case.result
    assert (found.refused, found.reasons, found.classes, found.decision) == (True, ("it is too bright",), (), ())
    case.waitFor(lambda: case.ui.anywayButton.enabled)
    click(case.ui.anywayButton)
    case.finish()
    assert not case.ui.anywayButton.visible
    assert "90.0 %" in case.ui.verdictLabel.text
    assert case.ui.rangeLabel.text.startswith("Outside of the model's range: its answer means little here.")
    assert len(tables()) == 2
    case.explain()  # what was shown anyway
    assert case.ui.removeMapsButton.enabled
    case.run()  # asked as usual: the tables of the answer are none any more
    assert case.result.refused
    assert not tables()
    click(case.ui.revertButton)
    case.assertUntouched(apply="Cl&assify")


def test_what_is_asked_for_anyway_is_what_was_refused(case, lungs):
    case.useWorker("foreign")
    case.run()
    other = slicer.util.addVolumeFromArray(np.full((5, 30, 40), 20, np.int16), name="other")
    case.chooseImage(other)
    case.waitFor(lambda: case.ui.anywayButton.enabled)
    click(case.ui.anywayButton)
    case.finish()
    assert case.result.volumeNode is lungs
    assert "90.0 %" in case.ui.verdictLabel.text


def test_scripts_see_a_refusal_and_ask_for_the_answer(case, lungs):
    case.useWorker("foreign")
    found = case.widget.logic.classify(lungs, model="lungs")
    assert found.refused
    assert found.reasons == ("it is too bright",)
    assert found.tableNode is None
    answered = case.widget.logic.classify(lungs, model="lungs", anyway=True)
    assert not answered.refused
    assert answered.decision == ("pneumonia",)
    assert answered.reasons == ("it is too bright",)


def test_a_model_of_volumes_takes_a_volume_whole(case, makeClassifier):
    makeClassifier("nodules", ("benign", "malignant"), preprocessing={}, modality="MR")
    node = case.addImage(shape=(10, 180, 180))
    assert not case.ui.slicesBox.visible
    assert case.ui.fitLabel.text == ""  # the engine judges sizes
    case.run()
    assert case.result.slices == ()
    assert case.result.volumeNode is node
    assert not case.ui.resultTable.visible


def test_a_model_of_masks_classifies_a_segment(case, makeClassifier):
    volumeNode = case.addImage()
    case.run()
    (source,) = case.segmentations()
    makeClassifier("gland", ("normal", "hyperplasia"), preprocessing={}, modality="SEG")
    assert "a segment" in case.ui.modelDetails.text
    assert case.refused() == "Choose a segment"
    case.ui.segmentSelector.setCurrentNode(source)
    case.ui.segmentSelector.setCurrentSegmentID(source.GetSegmentation().GetNthSegmentID(1))
    case.run()
    assert case.result.tableNode.GetName() == "head hippocampus Posterior hippocampus gland classes"
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == [volumeNode]
    case.explain()
    view = slicer.util.getNode("vtkMRMLSliceCompositeNodeRed")
    mask = slicer.mrmlScene.GetNodeByID(view.GetBackgroundVolumeID())
    assert mask.GetName() == "head hippocampus Posterior hippocampus"


def test_names_of_classes_are_text_whatever_they_hold(case, makeClassifier):
    makeClassifier(classes=("<i>a</i>", "b & c", "d"))
    case.addImage(shape=(1, 30, 40))
    assert not case.ui.slicesBox.visible
    case.run()
    assert "&lt;i&gt;a" in case.ui.verdictLabel.text
    assert "b &amp; c" in case.ui.verdictLabel.text


# Trouble


def test_cancel(case, lungs):
    case.start(word="classifying")
    click(case.ui.applyButton)
    case.finish()
    assert case.status == "Cancelled"
    case.assertUntouched(apply="Cl&assify")


def test_the_image_is_removed_in_mid_run(case, lungs):
    case.start(word="classifying")
    slicer.mrmlScene.RemoveNode(lungs)
    case.finish()
    assert case.status == "Cancelled, for chest was removed from the scene"
    assert not tables()


def test_the_scene_is_closed_in_mid_run(case, host, lungs):
    case.start(word="classifying")
    host.closeScene()
    case.finish()
    assert case.status == "Cancelled, for the scene was closed"
    assert not tables()


def test_the_tables_are_deleted_by_the_user(case, lungs):
    case.run()
    slicer.mrmlScene.RemoveNode(case.result.slicesNode)
    assert not case.ui.resultButton.visible
    assert case.result is None


@pytest.mark.parametrize("how", ["crash", "memory", "refuse"])
def test_a_worker_that_gives_up(case, lungs, how):
    case.useWorker(how)
    case.run()
    case.error()
    case.assertUntouched(apply="Cl&assify")


def test_a_sequence_is_classified_at_the_time_point_that_is_shown(case, makeClassifier):
    makeClassifier(preprocessing={}, modality="MR")
    case.parameters.allFrames = True  # of a segmentation before
    case.addImage()
    case.run()
    assert case.result.decision == ("pneumonia",)


def test_an_output_segmentation_chosen_before_plays_no_role(case, lungs):
    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    case.parameters.outputSegmentation = output
    assert case.ui.fitLabel.text == ""
    case.run()
    assert output.GetSegmentation().GetNumberOfSegments() == 0
    assert read_card(case.models / "lungs.safetensors").name == "lungs"
