"""Explanations and the expected quality in the panel of LLMBoost Segment: maps over the slices, and what goes wrong."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from Testing.gui.panelcase import SEGMENTS
from Testing.gui.qthost import choose, click
from Testing.gui.traincase import erase

from llmboost.messages.images import SegmentRequest
from llmboost.messages.worker import HelloRequest


def red() -> tuple:
    view = slicer.util.getNode("vtkMRMLSliceCompositeNodeRed")
    return view.GetBackgroundVolumeID(), view.GetForegroundVolumeID(), round(view.GetForegroundOpacity(), 3)


def maps() -> list:
    """The volumes that explain something."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node for node in nodes if (node.GetAttribute("LLMBoost.Role") or "").startswith("explanation")]


def legends() -> list:
    """The maps whose color legend is seen."""
    logic = slicer.modules.colors.logic()
    found = ((node, logic.GetColorLegendDisplayNode(node)) for node in slicer.util.getNodesByClass("vtkMRMLVolumeNode"))
    return [node for node, legend in found if legend and legend.GetVisibility()]


@pytest.fixture
def segmented(case):
    """A segmentation was made; the views show a PET over the image."""
    volumeNode = case.addImage()
    pet = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4)), name="PET")
    case.chooseImage(volumeNode)
    slicer.util.setSliceViewerLayers(background=volumeNode, foreground=pet, foregroundOpacity=0.3)
    case.run()
    return volumeNode


def targets(case) -> list[str]:
    return [case.ui.targetBox.itemText(n) for n in range(case.ui.targetBox.count)]


def test_a_segment_is_explained_by_a_map_over_the_slices(case, segmented):
    before = red()
    assert targets(case) == SEGMENTS
    assert not case.ui.explanationOverlayBox.enabled
    assert not case.ui.explanationLabel.visible
    case.explain()
    (made,) = maps()
    assert made.GetName() == "head Anterior hippocampus grad-cam"
    assert made.GetAttribute("LLMBoost.Notice") == "Not for clinical use"
    assert case.status.endswith("head Anterior hippocampus grad-cam")
    assert red() == (segmented.GetID(), made.GetID(), 0.5)
    assert legends() == [made]
    display = made.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax(), display.GetApplyThreshold()) == (0, 1, 1)
    assert "not whether it is right" in case.ui.explanationLabel.text
    case.ui.explanationOpacitySlider.value = 0.8
    assert red()[2] == 0.8
    click(case.ui.explanationOverlayBox)
    assert red() == before
    assert legends() == []
    assert not case.ui.explanationOpacitySlider.enabled
    click(case.ui.explanationOverlayBox)
    assert red() == (segmented.GetID(), made.GetID(), 0.8)


def test_maps_are_kept_and_switched_without_computing_again(case, segmented):
    before = red()
    case.explain()
    choose(case.ui.targetBox, SEGMENTS[1])
    assert red() == before  # nothing made yet
    case.explain()
    first, second = maps()
    assert red()[1] == second.GetID()
    case.client.shutDown()
    case.useWorker("crash")
    choose(case.ui.targetBox, SEGMENTS[0])
    assert red()[1] == first.GetID()
    assert legends() == [first]
    choose(case.ui.targetBox, SEGMENTS[1])
    assert red()[1] == second.GetID()
    assert not case.client.busy
    click(case.ui.removeMapsButton)
    assert maps() == []
    assert red() == before
    assert not case.ui.removeMapsButton.enabled


def test_method_and_layer_are_under_more_and_reach_the_worker(case, segmented):
    assert case.ui.moreButton.collapsed
    case.ui.moreButton.collapsed = False
    choose(case.ui.methodBox, "Attention rollout")
    choose(case.ui.layerBox, "Before the booster")
    case.explain()
    (made,) = maps()
    assert made.GetName() == "head Anterior hippocampus (before the booster) attention rollout"
    choose(case.ui.layerBox, "After the booster")
    case.explain()
    assert len(maps()) == 2
    case.explain()  # again: updated
    assert len(maps()) == 2


def test_the_box_explains_with_the_result_in_one_request(case, monkeypatch):
    case.addImage()
    click(case.ui.explanationBox)
    asked, start = [], case.client.start

    def hear(request, *rest, **named):
        asked.append(type(request))
        start(request, *rest, **named)

    monkeypatch.setattr(case.client, "start", hear)
    case.run()
    assert [kind for kind in asked if kind is not HelloRequest] == [SegmentRequest]
    case.waitFor(lambda: maps())
    case.finish()
    assert red()[1] == maps()[0].GetID()
    case.run()  # again
    case.finish()
    assert len(maps()) == 1
    assert red()[1] == maps()[0].GetID()
    assert case.ui.explanationOverlayBox.checked


def test_a_class_is_explained_the_decision_first(case, makeClassifier):
    makeClassifier()
    node = slicer.util.addVolumeFromArray(np.full((3, 30, 40), 150, np.int16), name="chest")
    case.chooseImage(node)
    case.run()
    assert targets(case) == ["pneumonia", "normal"]
    case.explain()
    (made,) = maps()
    np.testing.assert_allclose(slicer.util.arrayFromVolume(made), 100 / 255, rtol=1e-5)  # of value 1
    assert made.GetName() == "chest pneumonia grad-cam"
    click(case.ui.revertButton)  # takes its explanations back, too
    assert maps() == []
    assert red()[1] is None
    case.assertUntouched(apply="Cl&assify")


def test_uncertainty_and_explanation_take_turns_in_the_views(case):
    case.addImage()
    click(case.ui.uncertaintyBox)
    case.run()
    before = red()
    click(case.ui.overlayBox)
    case.explain()
    assert red()[1] == maps()[0].GetID()
    assert not case.ui.overlayBox.checked
    click(case.ui.overlayBox)
    assert red()[1] == case.result.mapNodes["entropy"].GetID()
    assert not case.ui.explanationOverlayBox.checked
    click(case.ui.explanationOverlayBox)
    click(case.ui.explanationOverlayBox)
    assert red() == before
    assert legends() == []


def test_a_new_result_begins_without_the_maps_of_the_one_before(case, segmented):
    before = red()
    case.explain()
    case.run()
    assert red() == before
    assert not case.ui.explanationOverlayBox.enabled


# Trouble


def test_cancel_with_either_button(case, segmented):
    case.client.shutDown()
    case.useWorker("slow-explain")
    for button in (case.ui.explainButton, case.ui.applyButton):
        case.waitFor(lambda: not case.panel.run.resting)
        click(case.ui.explainButton)
        case.waitFor(lambda: "explaining" in case.status and case.ui.explainButton.enabled)
        assert case.ui.explainButton.text == "Cancel"
        assert not case.ui.targetBox.enabled
        click(button)
        case.finish()
        assert case.status == "Cancelled"
        assert maps() == []
        assert case.ui.resultButton.visible  # the result itself stays
        assert case.ui.explainButton.text == "Ex&plain"


@pytest.mark.parametrize(
    ("how", "message"),
    [("no-explanation", "cannot be explained"), ("crash", "ended unexpectedly"), ("memory", "memory")],
)
def test_a_model_without_explanation_and_a_worker_that_gives_up(case, segmented, how, message):
    before = red()
    case.client.shutDown()
    case.useWorker(how)
    case.explain()
    assert message in case.error()
    assert maps() == []
    assert red() == before
    case.client.shutDown()
    case.useWorker()
    case.explain()
    assert len(maps()) == 1


def test_the_result_is_taken_back_while_it_is_explained(case, segmented):
    case.client.shutDown()
    case.useWorker("slow-explain")
    click(case.ui.explainButton)
    case.waitFor(lambda: "explaining" in case.status)
    click(case.ui.revertButton)
    case.finish()
    assert maps() == []
    case.assertUntouched()


def test_warnings_of_an_explanation_are_told_under_it(case, segmented):
    case.client.shutDown()
    case.useWorker("warn")
    case.explain()
    assert "The map is the same everywhere" in case.ui.explanationLabel.text


def test_the_scene_is_closed_while_it_is_explained(case, host, segmented):
    case.client.shutDown()
    case.useWorker("slow-explain")
    click(case.ui.explainButton)
    case.waitFor(lambda: "explaining" in case.status)
    host.closeScene()
    case.finish()
    assert case.status == "Cancelled, for the scene was closed"
    assert not slicer.util.getNodesByClass("vtkMRMLVolumeNode")
    assert not case.ui.resultButton.visible


def test_the_scene_is_closed_under_a_shown_map(case, host, segmented):
    case.explain()
    host.closeScene()
    assert red()[:2] == (None, None)
    assert not case.ui.explanationGroup.visible


def test_the_image_is_removed_while_it_is_explained_and_after(case, segmented):
    case.client.shutDown()
    case.useWorker("slow-explain")
    click(case.ui.explainButton)
    case.waitFor(lambda: "explaining" in case.status)
    slicer.mrmlScene.RemoveNode(segmented)
    case.finish()
    assert case.status == "Cancelled, for head was removed from the scene"
    assert maps() == []
    assert not case.ui.explanationGroup.visible
    assert case.ui.resultButton.visible  # the segments stay


def test_a_map_that_the_user_deletes_leaves_the_views_and_can_be_made_again(case, segmented):
    before = red()
    case.explain()
    slicer.mrmlScene.RemoveNode(maps()[0])
    assert red() == before
    assert not case.ui.explanationOverlayBox.enabled
    case.explain()
    assert red()[1] == maps()[0].GetID()


def test_a_roi_that_was_moved_since_is_refused(case):
    case.addImage()
    roi = case.addRoi()
    case.run()
    roi.SetCenter(15, 20, 15)
    case.explain()
    assert "The ROI was moved since" in case.error()
    assert maps() == []


def test_another_model_chosen_meanwhile_does_not_change_what_is_explained(case, segmented, makeClassifier):
    makeClassifier()
    case.explain()
    assert maps()[0].GetName() == "head Anterior hippocampus grad-cam"


def test_the_module_is_reloaded_under_a_shown_map(case, host, segmented):
    before = red()
    case.explain()
    case.widget = host.reload("LLMBoostSegment")
    assert red() == before


# The expected quality of segments


@pytest.mark.parametrize(
    ("how", "text"), [("", ""), ("good", "Agreement: Dice 0.87"), ("poor", "look &lt;closely&gt;")]
)
def test_the_expected_quality_is_told_where_it_is_known(case, how, text):
    case.useWorker(how)
    case.addImage()
    case.run()
    assert case.ui.verdictLabel.visible == bool(text)
    assert text in case.ui.verdictLabel.text
    assert ("background" in case.ui.verdictLabel.styleSheet) == (how == "poor")
    last = [row[-1] for row in case.table()]
    assert (last == ["Expected Dice", "0.91", ""]) == (how == "good")  # of the segments that it is known of


def test_what_a_person_corrected_is_rated_no_more(case):
    case.useWorker("good")
    case.addImage()
    case.run()
    rated = case.table()
    click(case.ui.editButton)
    erase(case.result.segmentationNode, 0)
    click(case.ui.backButton)
    assert not case.ui.verdictLabel.visible
    assert "Expected Dice" not in case.table()[0]
    click(case.ui.revertButton)
    assert case.ui.verdictLabel.visible
    assert case.table() == rated
