"""What a training gave, in the panel of LLMBoost Train: gone on with, checked on every case, decided about."""

from __future__ import annotations

import pytest
from Testing.gui.qthost import choose, click
from Testing.gui.traincase import MODULE

from llmboost import library
from llmboost.errors import LLMBoostError


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
