"""What runs leave in the scene: with Undo nothing, nothing of what failed; and applications of fewer modules."""

from __future__ import annotations

import sys
from collections import Counter

import pytest
import slicer
import vtk
from Testing.gui.qthost import choose, click
from Testing.gui.test_panel import beating  # noqa: F401
from Testing.gui.traincase import TrainCase

from LLMBoostLib.scene import maps, result, samples


def everything() -> Counter:
    """How many nodes of each class the scene holds, and how many items its hierarchy has."""
    scene = slicer.mrmlScene
    found = Counter(scene.GetNthNode(n).GetClassName() for n in range(scene.GetNumberOfNodes()))
    hierarchy, items = scene.GetSubjectHierarchyNode(), vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    return found + Counter({"items": items.GetNumberOfIds()})


def revert(case, host) -> None:
    if case.panel.results.edited:
        host.answer(True)
    click(case.ui.revertButton)
    assert case.status == "Undone: result"
    host.dialogs.shown.clear()


def test_runs_that_are_taken_back_leave_nothing(case, host):
    case.addImage()
    case.run()
    revert(case, host)
    before = everything()
    for _ in range(3):
        case.run()
        click(case.ui.show3DBox)
        click(case.ui.editButton)
        click(case.ui.backButton)
        case.result.segmentationNode.AddDefaultStorageNode("a.seg.nrrd")
        case.result.tableNode.AddDefaultStorageNode("a.tsv")
        case.explain()
        revert(case, host)
        choose(case.ui.outputSelector, "Create new segmentation")
    # one for all times, which an earlier editor may have made
    assert everything() - before <= Counter({"vtkMRMLSegmentEditorNode": 1})


def test_a_run_into_the_users_segmentation_leaves_it_as_it_was(case, host):
    case.addImage()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    before = everything()
    choose(case.ui.outputSelector, "mine")
    case.run()
    assert node.GetDisplayNode()
    revert(case, host)
    assert everything() == before


def test_maps_that_are_removed_take_their_display_and_legend_along(case, host):
    case.addImage()
    case.run()
    before = everything()
    case.explain()
    assert everything() != before
    click(case.ui.removeMapsButton)
    assert everything() == before


def test_a_sequence_that_is_taken_back_leaves_nothing(case, host, beating):  # noqa: F811
    before = everything()
    choose(case.ui.framesBox, "All 3")
    for _ in range(2):
        case.run()
        revert(case, host)
    assert everything() == before


def test_runs_that_fail_or_are_cancelled_leave_nothing(case, host, monkeypatch):
    case.addImage()
    before = everything()
    case.start()
    click(case.ui.applyButton)
    case.finish()
    assert everything() == before
    case.client.shutDown()
    case.useWorker()
    click(case.ui.uncertaintyBox)

    def fail(*_):
        raise MemoryError("no room for the map")

    monkeypatch.setattr(maps.slicer.util, "updateVolumeFromArray", fail)
    case.run()
    assert "no room" in case.error()
    monkeypatch.undo()
    assert everything() == before
    monkeypatch.setattr(result, "writeTable", fail)
    click(case.ui.uncertaintyBox)
    case.run()
    case.error()
    assert everything() == before


def test_trainings_share_their_chart(host, tmp_path, monkeypatch):
    train = TrainCase(host, tmp_path, monkeypatch)
    train.add("a", 1)
    for number in range(3):
        train.start()
        train.finish()
        if not number:
            before = everything()
        click(train.ui.discardButton)
    assert everything() == before


def test_a_comparison_that_is_made_again_takes_the_same_nodes(host, tmp_path, monkeypatch):
    train = TrainCase(host, tmp_path, monkeypatch)
    train.add("a", 1)
    for number in range(3):
        train.panel._onCompareAdapter("hippocampus", "hippocampus")
        train.finish()
        if not number:
            before = everything()
    assert everything() == before


@pytest.mark.parametrize("name", ["sequences", "colors"])
def test_an_application_without_a_module(case, monkeypatch, name):
    monkeypatch.delattr(slicer.modules, name)
    case.addImage()
    click(case.ui.uncertaintyBox)
    case.run()
    assert case.result.mapNodes
    click(case.ui.overlayBox)
    case.explain()
    assert case.ui.removeMapsButton.enabled
    case.widget.exit()
    case.widget.enter()


def test_an_application_without_sample_data(monkeypatch):
    monkeypatch.setitem(sys.modules, "SampleData", None)
    samples.register()


def test_a_sequence_of_which_nothing_is_selected(case, beating):  # noqa: F811
    _proxy, browser, _sequence = beating
    browser.SetSelectedItemNumber(-1)
    case.panel.update()
    assert [case.ui.framesBox.itemText(n) for n in range(2)] == ["This one, of 3", "All 3"]
