"""The module as Slicer's build machines test it, and what it registers at Slicer's start."""

from __future__ import annotations

import socket
import subprocess
import sys

import slicer
from Testing.gui.panelcase import MODULE
from Testing.gui.qthost import MODULES
from Testing.host.sampledata import SampleDataLogic

FILE = MODULES / MODULE / f"{MODULE}.py"


def refuse(*_, **__):
    raise AssertionError("neither a network nor a worker is there")


def test_its_own_test_passes_without_main_window_torch_network_and_worker(host, monkeypatch):
    for package in ("torch", "monai", "safetensors"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    with host.withoutMainWindow():
        host.loadModule(FILE)
        slicer.selfTests[MODULE]()
        ui = slicer.modules.llmboostsegment.widgetRepresentation().self().ui  # as Slicer's generic tests do
    assert "no person" in ui.inputSelector.currentNode().GetName()  # its last test has left the phantom
    assert ui.applyButton.enabled


def test_samples_are_registered_once_slicer_has_started(host):
    SampleDataLogic.sources.clear()
    host.loadModule(FILE)
    assert "HippocampusPhantom" in [source["sampleName"] for source in SampleDataLogic.sources]
