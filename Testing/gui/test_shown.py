"""What the views show while the panels work: the image that is meant, and on a closer look its segments alone."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from Testing.gui.qthost import choose, click
from Testing.gui.traincase import TrainCase

from llmboost.messages.images import DrawnLabel
from llmboost.messages.worker import StepEvent, ValidationEvent
from LLMBoostLib.scene import samples
from LLMBoostLib.scene.segmentation import writeSegmentation
from LLMBoostLib.training.curves import Curves


@pytest.fixture
def train(host, tmp_path, monkeypatch) -> TrainCase:
    return TrainCase(host, tmp_path, monkeypatch)


def shownIn(name: str = "Red") -> tuple:
    """The names of a slice view's background and foreground."""
    view = slicer.util.getNode(f"vtkMRMLSliceCompositeNode{name}")
    nodes = [
        slicer.mrmlScene.GetNodeByID(id or "") for id in (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID())
    ]
    return tuple(node and node.GetName() for node in nodes)


def drawn(volumeNode, name: str, visible: bool = True):
    """A segmentation of one block, that the user shows or hides."""
    labelmap = np.zeros(volumeNode.GetImageData().GetDimensions()[::-1], np.uint8)
    labelmap[2:5, 2:5, 2:5] = 1
    label = DrawnLabel(1, "block", (255, 0, 0))
    node = writeSegmentation(labelmap, [label], volumeNode, name=name).segmentationNode
    node.GetDisplayNode().SetVisibility(visible)
    return node


def visible() -> list[str]:
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return sorted(node.GetName() for node in nodes if node.GetDisplayNode().GetVisibility())


# The image


def test_the_image_that_was_segmented_is_shown_below_the_result(case):
    other, head = case.addImage("other"), case.addImage("head")
    slicer.util.setSliceViewerLayers(background=other, foreground=other, foregroundOpacity=1.0)
    case.run()
    assert [shownIn(name) for name in ("Red", "Yellow", "Green")] == [("head", None)] * 3
    slicer.util.setSliceViewerLayers(background=other)
    click(case.ui.editButton)
    assert shownIn() == ("head", None)
    click(case.ui.backButton)
    assert shownIn() == ("head", None)
    assert case.panel.results.result.volumeNode is head


def test_views_that_show_the_image_already_stay_as_they_are(case):
    other, head = case.addImage("other"), case.addImage("head")
    slicer.util.setSliceViewerLayers(background=other, foreground=head, foregroundOpacity=0.4)
    case.run()
    assert shownIn() == ("other", "head")
    red = slicer.util.getNode("vtkMRMLSliceCompositeNodeRed")
    slicer.util.setSliceViewerLayers(background=other, foreground=None)
    red.SetBackgroundVolumeID(head.GetID())  # one view is enough
    click(case.ui.editButton)
    assert (shownIn("Red"), shownIn("Green")) == (("head", None), ("other", None))
    click(case.ui.backButton)


def test_a_view_that_the_layout_does_not_show_does_not_count(case):
    other, head = case.addImage("other"), case.addImage("head")
    slicer.util.setSliceViewerLayers(background=other)
    view = slicer.util.getNode("vtkMRMLSliceCompositeNodeGreen")
    view.SetBackgroundVolumeID(head.GetID())
    sliceNode = slicer.app.layoutManager().sliceWidget("Green").mrmlSliceNode()
    sliceNode.SetMappedInLayout(False)
    case.run()
    assert shownIn("Red") == ("head", None)
    sliceNode.SetMappedInLayout(True)


def test_a_map_lies_over_its_image_wherever_the_views_were(case):
    other, head = case.addImage("other", (20, 20, 20)), case.addImage("head")
    case.run()
    slicer.util.setSliceViewerLayers(background=other, fit=True)
    case.explain()
    assert shownIn()[0] == "head"
    view = slicer.util.getNode("vtkMRMLSliceNodeRed")
    bounds = [0.0] * 6
    head.GetRASBounds(bounds)
    assert view.GetSliceOffset() == pytest.approx((bounds[4] + bounds[5]) / 2, abs=1)
    click(case.ui.explanationOverlayBox)
    assert shownIn() == ("other", None)


# The segments


def test_only_what_is_edited_is_seen_until_the_page_is_left(case):
    head = case.addImage("head")
    drawn(head, "first")
    drawn(head, "hidden by the user", visible=False)
    case.run()
    before = visible()
    assert before == ["first", "head hippocampus"]
    click(case.ui.editButton)
    assert visible() == ["head hippocampus"]
    click(case.ui.backButton)
    assert visible() == before


def test_another_module_sees_what_the_user_had_chosen(case, host):
    head = case.addImage("head")
    drawn(head, "first")
    case.run()
    click(case.ui.editButton)
    host.selectModule("")
    assert visible() == ["first", "head hippocampus"]
    host.selectModule("LLMBoostSegment")
    assert visible() == ["head hippocampus"]
    host.closeScene()
    assert case.ui.mainFrame.visible
    assert not case.panel.spotlight._before


def test_what_is_removed_or_shown_by_the_user_meanwhile_is_left_alone(case):
    head = case.addImage("head")
    removed, shown = drawn(head, "removed"), drawn(head, "shown")
    drawn(head, "first")
    case.run()
    click(case.ui.editButton)
    shown.GetDisplayNode().SetVisibility(True)
    slicer.mrmlScene.RemoveNode(removed)
    slicer.mrmlScene.RemoveNode(case.result.segmentationNode)  # which ends the page
    assert case.ui.mainFrame.visible
    assert visible() == ["first", "shown"]


def test_a_result_that_the_user_hid_is_seen_while_it_is_edited(case):
    case.addImage("head")
    case.run()
    case.result.segmentationNode.GetDisplayNode().SetVisibility(False)
    click(case.ui.editButton)
    assert visible() == ["head hippocampus"]
    click(case.ui.backButton)
    assert visible() == []


def test_cases_are_edited_and_compared_alone_over_their_image(train, host):
    first = train.add("head 1", 1)
    train.add("head 2", 2)
    other = slicer.util.getNode("head 2")
    slicer.util.setSliceViewerLayers(background=other)
    train.select(first)
    click(train.ui.editButton)
    assert visible() == ["head 1 segments"]
    assert shownIn() == ("head 1", None)
    click(train.ui.backButton)
    assert visible() == ["head 1 segments", "head 2 segments"]
    slicer.util.setSliceViewerLayers(background=other)
    choose(train.ui.volumeSelector, "head 1")
    train.panel._onCompareAdapter("hippocampus", "hippocampus")
    train.finish()
    assert visible() == ["head 1 after training", "head 1 before training"]
    assert shownIn() == ("head 1", None)
    host.selectModule("")
    assert visible() == ["head 1 after training", "head 1 before training", "head 1 segments", "head 2 segments"]


def test_new_surfaces_are_brought_into_the_middle_of_the_3d_view(case):
    case.addImage("head")
    case.run()
    before = slicer.app.layoutManager()._resets
    click(case.ui.show3DBox)
    assert slicer.app.layoutManager()._resets == before + 1
    click(case.ui.show3DBox)
    assert slicer.app.layoutManager()._resets == before + 1


# Curves


def test_a_curve_is_drawn_from_its_second_point_on(session):
    curves = Curves()
    curves.hear(StepEvent(1, 2.0))
    chart = curves.show()
    assert chart.GetNumberOfPlotSeriesNodes() == 0
    curves.hear(StepEvent(2, 1.0))
    curves.hear(StepEvent(3, float("nan")))
    curves.hear(ValidationEvent(3, "dice", 0.5, 0.5))
    curves.show()
    (series,) = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    assert series.GetTableNode().GetNumberOfRows() == 2
    curves.clear()
    curves.show()
    assert chart.GetNumberOfPlotSeriesNodes() == 0
    assert len(slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")) == 2  # the same two, for the next training


def test_labels_have_curves_by_name_and_of_many_the_worst_ones(session):
    curves = Curves()
    for step in (1, 2):
        labels = {f"Vertebra {n}": (None if n == 3 else n / 20) for n in range(12)}
        curves.hear(ValidationEvent(step, "dice", 0.4, 0.4, labels))
    curves.hear(ValidationEvent(3, "dice", 0.4, 0.4, {**labels, "Vertebra 2": 0.9}))
    chart = curves.show()
    names = [chart.GetNthPlotSeriesNode(n).GetName() for n in range(chart.GetNumberOfPlotSeriesNodes())]
    assert sorted(names) == ["Dice, mean", "Vertebra 0", "Vertebra 1", "Vertebra 4"]
    curves.clear()
    curves.hear(ValidationEvent(1, "dice", 0.4, 0.4, {"Liver": 0.4}))
    curves.hear(ValidationEvent(2, "dice", 0.5, 0.5, {"Liver": 0.5}))
    assert curves.show() is chart
    assert chart.GetNumberOfPlotSeriesNodes() == 1  # the one label's is the mean's


# Small things


def test_a_scene_that_is_closed_takes_what_was_done_in_it_along(case, host, train):
    host.selectModule("LLMBoostSegment")
    case.addImage("head")
    case.run()
    assert case.status.startswith("Done in")
    host.closeScene()
    assert case.status == ""
    host.selectModule("LLMBoostTrain")
    train.add("head", 1)
    assert train.status == "head is a case now (1 in all)"
    host.closeScene()
    assert train.status == ""


def test_nothing_that_is_made_bears_the_name_of_its_image(host):
    samples.makeTrainingPhantoms()
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")]
    assert all(name.endswith("(drawn, no person) segments") for name in names)
    assert visible() == names[:1]


def test_rows_that_are_hidden_leave_no_gap(case):
    """Slicer's Qt keeps the spacing of hidden rows in a form layout, and that of a grid it does not."""
    import qt  # there only once the host has started

    ui = case.ui
    for name, rows in (
        ("inputLayout", ("inputSelector2", "slicesBox", "framesBox")),
        ("outputLayout", ("outputSelector",)),
    ):
        layout = ui.choiceButton.findChild(qt.QGridLayout, name)
        assert all(layout.indexOf(getattr(ui, row)) >= 0 for row in rows)


def test_the_columns_of_the_tables_fit_and_the_name_of_a_case_has_room(train):
    train.add("a patient's head with a long name", 1)
    train.add("another", 2)
    choose(train.ui.caseTable.cellWidget(1, 1), "val")
    train.start()
    train.finish()
    slicer.util.mainWindow().resize(400, 900)
    train.waitFor(lambda: train.ui.diceTable.viewport().width > 200)
    for table in (train.ui.caseTable, train.ui.diceTable):
        header = table.horizontalHeader()
        assert header.length() <= table.viewport().width
    header = train.ui.caseTable.horizontalHeader()
    assert header.sectionSize(0) > header.sectionSize(3)


def test_the_choice_of_a_segment_is_not_called_so_twice(case, makeClassifier):
    """Slicer's widget chooses a segmentation and, behind a label of its own, a segment of it."""
    makeClassifier(modality="SEG", preprocessing={})
    shown = [label for label in case.ui.choiceButton.findChildren("QLabel") if label.visible]
    labels = [label.text.replace("&", "").strip(" :") for label in shown]
    assert sorted(text for text in labels if text.startswith("Seg")) == ["Segment", "Segmentation"]
