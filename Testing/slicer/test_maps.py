"""Maps as volumes and as the foreground of the views, and the table of sizes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import slicer

from llmboost.card import Pair, Volumetry
from llmboost.errors import LLMBoostError
from LLMBoostLib.scene.maps import THRESHOLD, UNCERTAINTY_COLORS, Overlay, writeMap
from LLMBoostLib.scene.segmentation import writeSegmentation
from LLMBoostLib.scene.tables import measureTable, writeSeriesTable, writeTable


@pytest.fixture
def volumeNode(makeVolume, oblique):
    return makeVolume(np.zeros((4, 5, 6), np.int16), oblique, "head")


@pytest.fixture
def values():
    return np.linspace(0, 255, 120).astype(np.uint8).reshape(4, 5, 6)


def layers():
    """(background, foreground, opacity) of each view."""
    return [
        (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID(), view.GetForegroundOpacity())
        for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    ]


def legend(node):
    return slicer.modules.colors.logic().GetColorLegendDisplayNode(node)


def test_a_map_is_a_volume_from_0_to_1_over_its_volume(scene, volumeNode, values, makeTransform):
    hierarchy = scene.GetSubjectHierarchyNode()
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "case")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volumeNode), folder)
    volumeNode.SetAndObserveTransformNodeID(makeTransform((10, 20, 30)).GetID())
    node = writeMap(values, volumeNode, "entropy", "Entropy", provenance={"LLMBoost.Notice": "Not for clinical use"})
    assert node.GetName() == "head entropy"
    array = slicer.util.arrayFromVolume(node)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, values / 255, rtol=1e-6)
    assert (array.min(), array.max()) == (0, 1)
    matrices = [slicer.util.vtkMatrixFromArray(np.eye(4)) for _ in range(2)]
    for each, matrix in zip((node, volumeNode), matrices, strict=True):
        each.GetIJKToRASMatrix(matrix)
    np.testing.assert_allclose(*map(slicer.util.arrayFromVTKMatrix, matrices))
    assert node.GetParentTransformNode() is volumeNode.GetParentTransformNode()
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == folder
    assert node.GetAttribute("LLMBoost.Notice") == "Not for clinical use"


def test_a_map_is_shown_in_color_from_a_threshold_on_with_a_legend(volumeNode, values):
    node = writeMap(values, volumeNode, "entropy", "Entropy")
    display = node.GetDisplayNode()
    assert display.GetColorNodeID() == UNCERTAINTY_COLORS
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 1)
    assert (display.GetLowerThreshold(), display.GetApplyThreshold()) == (THRESHOLD, 1)
    assert legend(node).GetTitleText() == "Entropy"
    assert not legend(node).GetVisibility()


def test_a_map_of_the_same_kind_is_updated_and_keeps_its_looks(volumeNode, makeVolume, values):
    node = writeMap(values, volumeNode, "entropy", "Entropy")
    node.GetDisplayNode().SetLowerThreshold(0.4)
    assert writeMap(255 - values, volumeNode, "entropy", "Entropy") is node
    np.testing.assert_allclose(slicer.util.arrayFromVolume(node), (255 - values) / 255, rtol=1e-6)
    assert node.GetDisplayNode().GetLowerThreshold() == 0.4
    liver, spleen = (writeMap(values, volumeNode, "probability_1", "Probability", x) for x in ("liver", "spleen"))
    assert len({node.GetID(), liver.GetID(), spleen.GetID()}) == 3
    assert (liver.GetName(), spleen.GetName()) == ("head liver probability", "head spleen probability")
    assert writeMap(values, makeVolume(np.zeros((4, 5, 6))), "entropy", "Entropy") is not node


def test_maps_of_a_volume_that_is_gone_or_another_are_refused(scene, volumeNode, values):
    with pytest.raises(LLMBoostError, match="head: was changed meanwhile"):
        writeMap(values[1:], volumeNode, "entropy", "Entropy")
    scene.RemoveNode(volumeNode)
    with pytest.raises(LLMBoostError, match="the volume was removed"):
        writeMap(values, volumeNode, "entropy", "Entropy")
    assert not slicer.util.getNodesByClass("vtkMRMLVolumeNode")


@pytest.fixture
def own(volumeNode, makeVolume):
    """Each view shows a pair of the user's own volumes, in its own way."""
    other = makeVolume(np.ones((4, 5, 6)), name="PET")
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    for n, view in enumerate(views):
        view.SetBackgroundVolumeID((volumeNode, other)[n % 2].GetID())
        view.SetForegroundVolumeID(None if n == 2 else other.GetID())
        view.SetForegroundOpacity(0.1 * n)
    return other


def test_an_overlay_comes_and_goes_without_a_trace(own, volumeNode, values):
    before = layers()
    maps = [writeMap(values, volumeNode, kind, kind) for kind in ("entropy", "probability_1")]
    overlay = Overlay()
    for node in maps:  # the second takes the place of the first
        overlay.show(node, volumeNode, 0.6)
        assert layers() == [(volumeNode.GetID(), node.GetID(), 0.6)] * 3
        assert legend(node).GetVisibility()
    assert not legend(maps[0]).GetVisibility()
    overlay.setOpacity(0.3)
    assert {opacity for *_, opacity in layers()} == {0.3}
    overlay.hide()
    assert layers() == before
    assert not legend(maps[1]).GetVisibility()
    overlay.hide()
    assert layers() == before


def test_a_foreground_chosen_meanwhile_stays(own, volumeNode, values):
    before = layers()
    overlay = Overlay()
    overlay.show(writeMap(values, volumeNode, "entropy", "Entropy"), volumeNode)
    first = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    first.SetForegroundVolumeID(own.GetID())
    chosen = layers()[0]
    overlay.hide()
    assert layers() == [chosen, *before[1:]]


def test_an_overlay_survives_the_removal_of_volumes(scene, own, volumeNode, values):
    overlay = Overlay()
    node = writeMap(values, volumeNode, "entropy", "Entropy")
    overlay.show(node, volumeNode)
    scene.RemoveNode(own)
    overlay.hide()
    assert [foreground for _, foreground, _ in layers()] == [None] * 3
    overlay.show(node, volumeNode)
    scene.RemoveNode(node)
    overlay.hide()
    assert layers()[0][0] == volumeNode.GetID()
    overlay.show(writeMap(values, volumeNode, "entropy", "Entropy"), volumeNode)
    scene.Clear(False)
    overlay.hide()
    assert [shown for *shown, _ in layers()] == [[None, None]] * 3


def test_the_table_lists_the_segments_and_is_updated(scene, makeVolume, answer):
    volumeNode = makeVolume(np.zeros((7, 8, 9)))
    node = writeSegmentation(answer.labelmap, answer.labels, volumeNode, name="organs").segmentationNode
    volumes = {"liver": 1.25, "spleen": 0.5, "kidney": 0.0}
    table = writeTable(answer.labelmap, answer.labels, volumes, node)
    counts = np.bincount(answer.labelmap.ravel(), minlength=8)

    def rows():
        return [[table.GetCellText(row, column) for column in range(3)] for row in range(table.GetNumberOfRows())]

    assert [table.GetColumnName(n) for n in range(3)] == ["Segment", "Volume (mL)", "Voxels"]
    assert rows() == [["liver", "1.25", str(counts[1])], ["spleen", "0.5", str(counts[2])], ["kidney", "0", "0"]]
    assert writeTable(answer.labelmap, answer.labels[:1], {"liver": 2.5}, node) is table
    assert rows() == [["liver", "2.5", str(counts[1])]]


SIDES = Volumetry((Pair("organ", "liver", "spleen"),), ("liver", "spleen"))


def test_the_table_tells_what_volumes_say_together(scene, makeVolume, answer):
    volumeNode = makeVolume(np.zeros((7, 8, 9)))
    node = writeSegmentation(answer.labelmap, answer.labels, volumeNode, name="organs").segmentationNode
    table = writeTable(answer.labelmap, answer.labels, {"liver": 1.25, "spleen": 0.75, "kidney": 1.0}, node, SIDES)
    counts = np.bincount(answer.labelmap.ravel(), minlength=8)

    def rows():
        width = table.GetNumberOfColumns()
        return [[table.GetCellText(row, column) for column in range(width)] for row in range(table.GetNumberOfRows())]

    titles = ["Segment", "Volume (mL)", "% of TIV", "Asymmetry (%)", "Voxels"]
    assert [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())] == titles
    assert rows() == [
        ["Total intracranial (TIV)", "2", "100.000", "", str(counts[1] + counts[2])],
        ["liver", "1.25", "62.500", "50.0", str(counts[1])],
        ["spleen", "0.75", "37.500", "50.0", str(counts[2])],
        ["kidney", "1", "", "", "0"],
    ]
    share, index = (table.GetColumnDescription(title) for title in titles[2:4])
    assert "100 * volume / total intracranial volume" in share
    assert "100 * (left - right) / ((left + right) / 2)" in index
    measureTable(table, node, SIDES)  # the segments themselves
    scale = 100 / (counts[1] + counts[2])
    asymmetry = f"{(counts[1] - counts[2]) * scale * 2:.1f}"
    assert [row[2:4] for row in rows()] == [
        ["100.000", ""],
        [f"{counts[1] * scale:.3f}", asymmetry],
        [f"{counts[2] * scale:.3f}", asymmetry],
        ["", ""],
    ]
    measureTable(table, node, SIDES)
    assert len(rows()) == 4, "the total is no segment"


def test_what_is_removed_is_missed_by_what_it_belonged_to(scene, makeVolume, answer):
    volumeNode = makeVolume(np.zeros((7, 8, 9)))
    node = writeSegmentation(answer.labelmap, answer.labels, volumeNode, name="organs").segmentationNode
    table = writeTable(answer.labelmap, answer.labels, {"liver": 1.25, "spleen": 0.75, "kidney": 1.0}, node, SIDES)
    node.GetSegmentation().RemoveSegment(node.GetSegmentation().GetSegmentIdBySegmentName("spleen"))
    measureTable(table, node, SIDES)
    assert [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())] == ["Segment", "Volume (mL)", "Voxels"]
    assert [table.GetCellText(row, 0) for row in range(table.GetNumberOfRows())] == ["liver", "spleen", "kidney"]


def test_a_table_of_time_points_tells_what_volumes_say_together(answer):
    def at(volumetry, *volumes):
        ml = dict(zip(("liver", "spleen", "kidney"), volumes, strict=True))
        return SimpleNamespace(**vars(answer), volumes_ml=ml, volumetry=volumetry)

    first, cut = at(SIDES, 1.25, 0.75, 1.0), at(Volumetry(), 1.0, 0.5, 1.0)
    table = writeSeriesTable("volumes", "time", ("0", "0.5"), (first, cut))
    titles = ["liver (mL)", "spleen (mL)", "kidney (mL)", "Total intracranial (TIV) (mL)"]
    titles = ["time", *titles, "liver (% of TIV)", "spleen (% of TIV)", "organ asymmetry (%)"]
    assert [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())] == titles
    assert [[table.GetCellText(row, column) for column in range(len(titles))] for row in range(2)] == [
        ["0", "1.25", "0.75", "1", "2.000", "62.500", "37.500", "50.0"],
        ["0.5", "1", "0.5", "1", "", "", "", ""],  # a time point that does not tell has no number
    ]
    assert "100 * (left - right)" in table.GetColumnDescription(titles[-1])
    plain = writeSeriesTable("volumes", "time", ("0",), (cut,))
    assert plain.GetNumberOfColumns() == 4
