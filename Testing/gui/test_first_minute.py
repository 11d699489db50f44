"""LLMBoost Segment as somebody meets it: ways in, what a glance at it tells, and how much of the screen it takes."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from Testing.gui.panelcase import SEGMENTS, rows
from Testing.gui.qthost import click, typeText

from llmboost.card import Label


def test_a_result_and_its_next_steps_fit_900_pixels_and_what_was_chosen_is_one_line(case):
    case.addImage()
    assert case.height <= 900
    case.run()
    assert case.height <= 900
    assert case.ui.choiceButton.collapsed
    assert case.ui.choiceButton.text == "head · Hippocampus, an…osterior · new segmentation"
    for wanted in (case.ui.editButton, case.ui.addCaseButton, case.ui.segmentTable):
        assert wanted.visible
    assert case.ui.editButton.y < case.ui.segmentTable.y
    click(case.ui.choiceButton)
    assert case.ui.choiceButton.text == "Image, model and output"
    click(case.ui.revertButton)
    assert not case.ui.choiceButton.collapsed


def test_beside_apply_stands_why_it_cannot_be_clicked_or_how_long_it_takes(case, makeModel):
    assert case.ui.applyLabel.text == "Choose an image" == case.refused()
    case.addImage()
    assert case.ui.applyLabel.text == ""
    case.run()
    assert case.ui.applyLabel.text == "about 1 s on this machine"
    case.addRoi(center=(500, 500, 500))
    assert "lies outside of head" in case.ui.applyLabel.text
    assert abs(case.ui.applyLabel.y - case.ui.applyButton.y) < case.ui.applyLabel.height  # beside it
    assert not case.ui.fitLabel.visible


def test_a_figure_of_crops_is_not_told_of_a_whole_head(case):
    case.addImage()
    assert case.ui.modelLine.text == "MR, a head or a crop of it · Dice 0.89 on test cases (crops)"
    case.addImage("large", (160, 224, 160))
    assert "Dice 0.89 on test cases (crops); of a whole head, told with the result" in case.ui.modelLine.text
    assert "of a whole head, told with the result" in case.ui.modelDetails.text


def test_the_table_has_the_colors_of_the_views_and_leads_to_the_segments(case):
    case.addImage()
    case.run()
    node = case.result.segmentationNode
    segmentation = node.GetSegmentation()
    item = case.ui.segmentTable.item(1, 0)
    color = item.icon().pixmap(14, 14).toImage().pixelColor(5, 5)
    expected = segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName(SEGMENTS[1])).GetColor()
    assert [color.redF(), color.greenF(), color.blueF()] == pytest.approx(expected, abs=0.01)
    click(case.ui.segmentTable.viewport(), case.ui.segmentTable.visualItemRect(item).center())
    center = node.GetSegmentCenterRAS(segmentation.GetSegmentIdBySegmentName(SEGMENTS[1]))
    offsets = [slicer.util.getNode(f"vtkMRMLSliceNode{name}").GetSliceOffset() for name in ("Yellow", "Green", "Red")]
    assert list(map(abs, offsets)) == pytest.approx(list(map(abs, center)), abs=1.0)
    assert case.ui.targetBox.currentText == SEGMENTS[1]


def test_uncertainty_and_explanation_have_colors_of_their_own_and_their_boxes_show_them(case):
    case.addImage()
    click(case.ui.uncertaintyBox)
    case.run()
    case.explain()
    explained = case.panel.explanations._made
    maps = [case.result.mapNodes["entropy"], next(iter(explained.values())).mapNode]
    tables = [node.GetDisplayNode().GetColorNode() for node in maps]
    assert tables[0] is not tables[1]
    for box, table in zip((case.ui.overlayBox, case.ui.explanationOverlayBox), tables, strict=True):
        last = [0.0] * 4
        table.GetColor(table.GetNumberOfColors() - 1, last)
        shown = box.icon.pixmap(42, 14).toImage().pixelColor(41, 5)
        assert [shown.redF(), shown.greenF(), shown.blueF()] == pytest.approx(last[:3], abs=0.01)


def test_models_are_listed_by_parts_of_the_body_from_head_to_foot(case, makeModel):
    names = ["Left kidney", "Heart", "Vertebra L1", "Brain"]
    labels = tuple(Label(n, name, (n, n, n)) for n, name in enumerate(names, 1))
    makeModel("total", title="All of it", labels=labels)
    makeModel("heart", title="The pump", labels=(Label(1, "Left ventricle of the heart", (1, 1, 1)),))
    case.panel.refresh()
    items = [case.ui.modelList.item(n) for n in range(case.ui.modelList.count)]
    headers = [item.text() for item in items if not item.flags()]
    assert headers == ["Head", "Chest", "Abdomen", "Whole body"]
    texts = [item.text().split(" · ")[0] for item in items]
    assert texts.index("Head") < texts.index("Hippocampus, anterior and posterior") < texts.index("Chest")
    assert texts.index("Chest") < texts.index("The pump") < texts.index("Abdomen")
    assert texts[-2:] == ["Whole body", "All of it"]
    typeText(case.ui.searchEdit, "kidney")
    assert rows(case) == ["All of it · MR"]


def test_three_ways_in(case, host, monkeypatch):
    from Testing.host.sampledata import SampleDataLogic

    head = np.ones((40, 56, 40), np.int16)

    def download(self):
        return slicer.util.addVolumeFromArray(head, name="MRHead")

    assert case.ui.welcomeFrame.visible
    monkeypatch.setattr(SampleDataLogic, "downloadMRHead", lambda self: None, raising=False)
    click(case.ui.sampleButton)
    assert "begin with the phantom" in case.error()
    monkeypatch.setattr(SampleDataLogic, "downloadMRHead", download)
    click(case.ui.sampleButton)
    assert case.parameters.inputVolume.GetName() == "MRHead"
    assert not case.ui.welcomeFrame.visible
    host.closeScene()
    assert case.ui.welcomeFrame.visible
    monkeypatch.setattr(slicer.util, "openAddDataDialog", lambda: slicer.util.addVolumeFromArray(head, name="mine"))
    click(case.ui.loadButton)
    assert case.parameters.inputVolume.GetName() == "mine"


def test_the_seconds_that_are_left_are_told(case):
    from llmboost.messages.worker import Progress

    progress = case.panel.progress
    progress.start("segmenting", expected=100)
    assert "about 1 min 40 s left" in case.status
    progress.tell(Progress(0.1, "segmenting"))
    progress._pace._first = progress._pace._first[0] - 10, 0.1
    progress.tell(Progress(0.6, "segmenting"))
    assert "about 8 s left" in case.status
    progress.stop("")
