"""Names and texts from files, nodes and workers that look like HTML: on the screen they are what is written."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest
import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from Testing.gui.qthost import MODULES, choose, click
from Testing.gui.traincase import TrainCase

from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from LLMBoostLib.panels.errordisplay import showError
from LLMBoostLib.panels.plaintext import tip
from LLMBoostLib.worker.client import WorkerError

EVIL = '<img src="file:///etc/x"><b>bold</b>&lt;i&gt;'
LINK = "<a href='http://x'>anterior</a>"


def shownText(richText: str) -> str:
    """What a reader sees of a text that Qt may take for HTML."""
    if not QtGui.Qt.mightBeRichText(richText):
        return richText
    document = QtGui.QTextDocument()
    document.setHtml(richText)
    return document.toPlainText()


def assertPlain(widget: Any) -> None:
    """No label below takes HTML for markup, unless it is told to; no tool tip holds a tag of somebody else's."""
    for label in widget.findChildren(QtWidgets.QLabel):
        if "<" in label.text:
            assert label.textFormat != QtCore.Qt.AutoText, label.objectName
            if label.textFormat == QtCore.Qt.RichText:
                assert "<img" not in label.text
                assert "<a" not in label.text
    for each in widget.findChildren(QtWidgets.QWidget):
        assert "<img" not in each.toolTip, each.objectName
        assert "<a" not in each.toolTip, each.objectName
    for table in widget.findChildren(QtWidgets.QTableWidget):
        for row in range(table.rowCount):
            for column in range(table.columnCount):
                item = table.item(row, column)
                assert item is None or "<img" not in item.toolTip()
    for box in widget.findChildren(QtWidgets.QListWidget):
        assert not any("<img" in box.item(row).toolTip() for row in range(box.count))


@pytest.mark.parametrize("text", ["plain", "a < b", "R&D", "<h1>a", EVIL, "two\nlines <b>x</b>", "&lt;b&gt;"])
def test_a_tool_tip_shows_what_is_written(host, text):
    assert shownText(tip(text)) == text


@pytest.mark.parametrize("module", ["LLMBoostSegment", "LLMBoostTrain"])
def test_no_label_that_the_code_fills_guesses_what_its_text_is(module):
    form = ElementTree.parse(MODULES / module / "Resources" / "UI" / f"{module}.ui")
    for label in (each for each in form.iter("widget") if each.get("class") == "QLabel"):
        own = {each.get("name"): "".join(each.itertext()).strip() for each in label.findall("property")}
        assert own.get("text") or own["textFormat"] in ("Qt::PlainText", "Qt::RichText"), label.get("name")


def test_models_nodes_and_segments_of_such_names(case, makeModel, host):
    labels = read_card(case.panel.chooser.current.path).labels
    makeModel(
        "evil",
        title=EVIL,
        description=EVIL,
        license=EVIL,
        labels=(dataclasses.replace(labels[0], name=LINK), *labels[1:]),
        cascade=None,
    )
    case.addImage("<h1>a", (100, 120, 100))
    case.parameters.model = "evil"
    assertPlain(case.widget.parent)
    assert EVIL in shownText(case.ui.modelDetails.text)
    assert "anterior</a>" in shownText(case.ui.modelDetails.text)
    rows = [case.ui.modelList.item(row) for row in range(case.ui.modelList.count)]
    (row,) = [row for row in rows if row.text().startswith(EVIL)]
    assert shownText(row.toolTip()) == EVIL
    case.run()
    assert "<h1>a evil" in case.status
    assertPlain(case.widget.parent)
    case.explain()
    choose(case.ui.outputSelector, case.result.segmentationNode.GetName())
    assert f"Replaces {LINK}" in case.ui.fitLabel.text
    assertPlain(case.widget.parent)
    host.answer(False)
    click(case.ui.removeModelButton)
    assert host.dialogs.take("question").isPlain
    broken = slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name=EVIL)
    broken.SetAndObserveImageData(None)
    case.chooseImage(broken)
    assert EVIL in shownText(case.ui.applyButton.toolTip)
    assertPlain(case.widget.parent)


@pytest.mark.parametrize(
    "error", [LLMBoostError(f"{EVIL}: broken"), WorkerError("internal", EVIL, EVIL, EVIL), ValueError(EVIL)]
)
def test_messages_of_errors(host, error):
    showError(error)
    shown = host.dialogs.take("error")
    assert shown.isPlain
    assert EVIL in shown.text


def test_the_table_of_a_classification(case, makeClassifier):
    makeClassifier(classes=("normal", EVIL))
    case.addImage(EVIL, (1, 30, 30))
    case.run()
    assertPlain(case.widget.parent)
    assert EVIL in shownText(case.ui.verdictLabel.text)


def test_cases_and_adapters_of_such_names(host, tmp_path, monkeypatch):
    train = TrainCase(host, tmp_path, monkeypatch)
    train.add(EVIL, 1, (EVIL, LINK))
    assert EVIL in train.cell(train.ui.caseTable, 0, 0)
    assert EVIL in train.ui.casesLabel.text
    assertPlain(train.widget.parent)
    train.select(*train.store.cases.values())
    click(train.ui.editButton)
    assert EVIL in train.ui.editorLabel.text
    assertPlain(train.widget.parent)
    click(train.ui.backButton)
    train.ui.nameEdit.text = EVIL
    assert EVIL in train.ui.startLabel.text
    assertPlain(train.widget.parent)
    host.answer(False)
    click(train.ui.removeButton)
    assert host.dialogs.take("question").isPlain
