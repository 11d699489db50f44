"""The module LLMBoost Train as a whole: its own test, its logic for scripts, scenes of earlier versions."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
import slicer
from Testing.gui.qthost import MODULES
from Testing.gui.traincase import MODULE

from llmboost.errors import LLMBoostError
from llmboost.messages.worker import ValidationEvent


def refuse(*_, **__):
    raise AssertionError("neither a network nor a worker is there")


def test_its_own_test_passes_without_main_window_torch_network_and_worker(host, monkeypatch, tmp_path):
    monkeypatch.setenv("LLMBOOST_TRAINING", str(tmp_path / "cases"))
    for package in ("torch", "monai", "safetensors"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    with host.withoutMainWindow():
        host.loadModule(MODULES / MODULE / f"{MODULE}.py")
        slicer.selfTests[MODULE]()
        slicer.modules.llmboosttrain.widgetRepresentation()  # as Slicer's generic tests do
    assert not (tmp_path / "cases").exists()
    assert slicer.modules.llmboosttrain.dependencies == ["LLMBoostSegment"]


def test_scripts_train_and_wait(ready):
    news = []
    outcome = ready.logic.train(name="mine", minutes=1, onProgress=news.append)
    assert outcome.after.mean_dice == 0.8
    assert any(isinstance(one.event, ValidationEvent) for one in news)
    assert ready.logic.accept(outcome).name == "mine"
    with pytest.raises(LLMBoostError, match="'mine' is installed already"):
        ready.logic.train(name="mine")
    outcome = ready.logic.train(dataset=ready.cases, task="new-labels", steps=5, name="other")
    ready.logic.discard(outcome)
    assert ready.logic.pending() is None


def test_scripts_are_told_what_is_wrong_with_cases(case):
    with pytest.raises(LLMBoostError, match="No case to train with"):
        case.logic.train()
    case.add("odd", 1, ("Segment_1",))
    with pytest.raises(LLMBoostError, match=r"case \w{8}: 'Segment_1' has no label"):
        case.logic.train()
    assert not (case.cases / "runs").exists()


OF_0_1 = (
    '<MRML version="Slicer5" userTags=""><ScriptedModule id="vtkMRMLScriptedModuleNodeLLMBoostTrain"'
    ' name="LLMBoostTrain" hideFromEditors="true" selectable="true" selected="false" singletonTag="LLMBoostTrain"'
    ' attributes="ModuleName:LLMBoostTrain" parameter0="base hippocampus" parameter1="device CPU"'
    ' parameter2="inputSegmentation " parameter3="inputVolume " parameter4="minutes 7.5" parameter5="task NEW_LABELS">'
    "</ScriptedModule></MRML>"
)


def test_a_scene_of_version_0_1_keeps_what_was_chosen(case, host, tmp_path):
    path = tmp_path / "old.mrml"
    path.write_text(OF_0_1)
    slicer.util.loadScene(str(path))
    host.processEvents()
    assert case.ui.deviceBox.currentText == "CPU"
    assert case.ui.taskBox.currentText == "New labels, those of the cases"
    assert case.ui.minutesBox.value == 7.5
