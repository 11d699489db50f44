"""LLMBoost Train at a glance: how much of the screen it takes, in which order, what can be read, what is told."""

from __future__ import annotations

from Testing.gui.qthost import choose, click
from Testing.gui.traincase import grabTrain, selectRows

from llmboost import library
from llmboost.card import read_card

TALL = 900  # pixels of a laptop's window
LONG = "A patient's head after the operation, T1, thin slices"


def test_all_that_is_done_fits_900_pixels_and_what_was_chosen_is_one_line(ready):
    ui, measured = ready.ui, {}

    def heights(name: str) -> None:
        measured[name] = ready.height
        grabTrain(ready.widget, ready.folder / f"{name}.png")

    for seed in range(3, 8):
        ready.add(f"head {seed}", seed)
    heights("cases")
    ready.startSlow()
    heights("running")
    assert ui.choiceButton.collapsed
    assert ui.choiceButton.text == "8 cases · Hippocampus, ante…osterior · 2 min 00 s"
    assert ui.plotFrame.visible
    assert "left" in ready.status
    ready.gate.touch()
    ready.finish()
    heights("result")
    assert ui.startButton.y < ui.statusLabel.y < ui.resultButton.y < ui.curvesButton.y
    assert ui.acceptButton.y == ui.showButton.y < ui.diceTable.y < ui.goOnButton.y
    assert not ui.plotFrame.visible, "the curves are there on demand"
    click(ui.acceptButton)
    heights("accepted")
    click(ui.choiceButton)
    heights("again")
    assert max(measured.values()) <= TALL, measured
    assert max(measured["running"], measured["result"]) <= 700, measured


def test_what_is_chosen_opens_again_where_nothing_came_of_it(ready):
    ready.startSlow()
    click(ready.ui.startButton)  # cancels
    ready.finish()
    assert not ready.ui.choiceButton.collapsed
    ready.logic.client.shutDown()
    ready.start("full")
    ready.finish()
    ready.error()
    assert not ready.ui.choiceButton.collapsed
    ready.logic.client.shutDown()
    ready.start()
    ready.finish()
    click(ready.ui.discardButton)
    assert not ready.ui.choiceButton.collapsed


def test_beside_start_stands_why_it_cannot_be_clicked_or_how_long_it_takes(case):
    label, button = case.ui.startLabel, case.ui.startButton
    assert "add an image with its segmentation" in label.text
    assert label.text == button.toolTip
    assert label.x > button.x
    assert abs(label.y - button.y) < label.height
    for seed in range(4):
        case.add(f"head {seed}", seed)
    assert label.text == "about 2 min 00 s on this machine"
    case.ui.minutesBox.value = 0.5
    assert label.text == "about 30 s on this machine"


def test_labels_are_one_line_until_one_is_in_question(case):
    case.add("good", 1)
    assert case.ui.labelsButton.collapsed
    assert case.ui.labelsButton.text == "Labels: 2 of 2 kinds of segments are learned"
    case.add("odd", 2, ("Segment_1", "Posterior hippocampus"))
    assert not case.ui.labelsButton.collapsed
    assert case.ui.mappingTable.cellWidget(0, 1).placeholderText == "no label yet"
    choose(case.ui.mappingTable.cellWidget(0, 1), "Anterior hippocampus")
    click(case.ui.labelsButton)
    assert case.ui.labelsButton.text == "Labels: 3 of 3 kinds of segments are learned"


def test_what_a_table_cuts_its_tool_tip_has(ready):
    ready.add(LONG, 9, (f"{LONG}, left", f"{LONG}, right"))
    choose(ready.ui.taskBox, "New labels, those of the cases")
    click(ready.ui.labelsButton)
    ready.start()
    ready.finish()
    click(ready.ui.acceptButton)
    selectRows(ready.ui.adapterTable, 0)
    for table in (ready.ui.caseTable, ready.ui.mappingTable, ready.ui.diceTable, ready.ui.adapterTable):
        assert table.rowCount
        for row in range(table.rowCount):
            for column in range(table.columnCount):
                item, box = table.item(row, column), table.cellWidget(row, column)
                text, tip = (
                    (box.currentText, box.toolTip) if box else (item.text(), item.toolTip()) if item else ("",) * 2
                )
                assert text in tip
    assert LONG in ready.ui.caseTable.item(3, 0).toolTip()


def test_no_word_of_adapters(ready):
    """A clinician trains models; that what is learned lies beside a base is the program's matter."""
    import qt

    ready.start()
    ready.finish()
    click(ready.ui.acceptButton)
    assert read_card(library.find("hippocampus-local-1")).adapter
    shown = [
        kind for name in ("QLabel", "QPushButton", "QTableWidget") for kind in ready.widget.parent.findChildren(name)
    ]
    assert len(shown) > 20
    for widget in shown:
        texts = [widget.toolTip, "" if isinstance(widget, qt.QTableWidget) else widget.text]
        assert not any("adapter" in text.lower() for text in texts), texts
