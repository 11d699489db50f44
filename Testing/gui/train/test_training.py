"""A training in the panel of LLMBoost Train, from its start to its end, whatever the user does meanwhile."""

from __future__ import annotations

import time

import pytest
import slicer
from Testing.gui.qthost import MODULES, click, isGone
from Testing.gui.traincase import MODULE, erase, selectRows

from llmboost import library
from llmboost.card import read_card


def diceTable():
    """The points of the Dice's curve in the one chart; it need not be the second one: few steps leave no loss's."""
    (chart,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    return next(one for one in series if one.GetName().startswith("Dice")).GetTableNode()


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
