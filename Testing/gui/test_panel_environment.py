"""Packages and the worker's private environment in the panel: what is missing is told, made, used and removed."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
from Testing.gui.panelcase import setCommand
from Testing.gui.qthost import click

from llmboost.errors import LLMBoostError
from LLMBoostLib.worker.launcher import COMMAND_SETTING

# Packages


def test_packages_are_missing_and_declined(case, monkeypatch):
    from LLMBoostLib.worker import consent

    asked = []

    def decline(purpose):
        asked.append(purpose)
        raise LLMBoostError("Python packages are missing (torch), and were not installed")

    monkeypatch.setattr(consent, "ensureInstalled", decline)
    case.addImage()
    case.run()
    assert "were not installed" in case.error()
    assert asked == ["segment"]
    case.assertUntouched()


def test_the_panel_tells_beforehand_that_packages_are_missing(case, host, monkeypatch):
    from LLMBoostLib.worker import consent

    needed = ["torch>=2.8"]
    monkeypatch.setattr(consent, "missing", lambda purpose: needed)
    host.selectModule("")
    host.selectModule("LLMBoostSegment")
    assert "Not installed yet" in case.status
    needed.clear()
    click(case.ui.advancedButton)
    click(case.ui.copyButton)  # whatever asks the worker looks again
    case.waitFor(lambda: not case.client.busy)
    assert case.status == ""
    setCommand("'")  # cannot be read
    monkeypatch.undo()
    host.selectModule("")
    host.selectModule("LLMBoostSegment")
    assert case.status == ""


def test_the_hint_says_what_apply_would_refuse(case, host, monkeypatch):
    """Without the extension PyTorch, Apply can install nothing: there is no use in promising that it will ask."""
    from LLMBoostLib.install import packages
    from LLMBoostLib.worker import consent

    monkeypatch.setattr(consent, "missing", lambda purpose: [packages.TORCH])
    monkeypatch.setattr(packages, "missing", lambda purpose: [packages.TORCH])
    monkeypatch.setattr(packages, "_version", lambda name: "")
    host.selectModule("")
    host.selectModule("LLMBoostSegment")
    assert "the extension PyTorch is missing; install it with the Extensions Manager" in case.status
    assert "Apply asks" not in case.status
    case.addImage()
    setCommand("")  # Slicer's own Python
    case.run()
    assert "extension PyTorch is missing" in case.error()
    utilities = ModuleType("PyTorchUtils")
    utilities.__spec__ = ModuleSpec("PyTorchUtils", None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", utilities)
    monkeypatch.setattr(packages, "_freeGB", lambda: 100.0)
    host.selectModule("")
    host.selectModule("LLMBoostSegment")
    assert "Apply asks before it installs" in case.status


def test_cancelled_while_packages_are_installed(case, monkeypatch):
    from LLMBoostLib.worker import consent

    monkeypatch.setattr(consent, "ensureInstalled", lambda purpose: click(case.ui.applyButton))
    case.addImage()
    case.panel.run.restMs = 0
    case.apply()
    case.finish()
    if case.segmentations():  # the button rested
        pytest.fail("a cancelled run went on")
    assert case.status == "Cancelled"


# The private environment


@pytest.fixture
def environmentFolder(case, monkeypatch):
    """Where the private environment of this test lies."""
    from LLMBoostLib.install import environment

    folder = case.folder / "environment"
    monkeypatch.setattr(environment, "defaultFolder", lambda: folder)
    click(case.ui.advancedButton)
    case.panel.advanced.refresh()
    return folder


@pytest.mark.parametrize(
    ("python", "wheels", "message"),
    [("/no/such/python", "", "/no/such/python: cannot be started"), ("", "empty", "holds no wheels")],
)
def test_an_environment_that_cannot_be_made(case, host, environmentFolder, python, wheels, message):
    case.addImage()
    case.ui.interpreterEdit.currentPath = python
    if wheels:
        (case.folder / wheels).mkdir()
        case.ui.wheelsEdit.currentPath = str(case.folder / wheels)
    host.answer(False)
    click(case.ui.createEnvironmentButton)
    assert str(environmentFolder) in host.dialogs.take("question").text
    host.answer(True)
    click(case.ui.createEnvironmentButton)
    host.dialogs.take("question")
    assert message in case.error()
    assert not environmentFolder.exists()
    assert case.ui.createEnvironmentButton.text == "Create"
    case.run()  # the worker is the same as before
    assert len(case.segmentations()) == 1


def test_making_an_environment_can_be_cancelled_and_keeps_apply_off(case, host, environmentFolder, monkeypatch):
    from LLMBoostLib.install.environment import PrivateEnvironment
    from LLMBoostLib.worker.commandline import Cancelled

    seen = []

    def create(self, python, wheels, purpose, onLine, shouldCancel):
        onLine("downloading")
        seen.extend([case.ui.applyButton.enabled, case.ui.createEnvironmentButton.text])
        click(case.ui.createEnvironmentButton)
        assert shouldCancel()
        raise Cancelled("cancelled")

    monkeypatch.setattr(PrivateEnvironment, "create", create)
    case.addImage()
    host.answer(True)
    click(case.ui.createEnvironmentButton)
    host.dialogs.take("question")
    assert seen == [False, "Cancel"]
    assert case.ui.applyButton.enabled
    assert "downloading" in case.ui.logEdit.toPlainText()
    assert "cancelled" in case.ui.logEdit.toPlainText()


def test_the_module_is_reloaded_while_an_environment_is_made(case, host, environmentFolder, monkeypatch):
    from LLMBoostLib.install.environment import PrivateEnvironment
    from LLMBoostLib.worker.commandline import Cancelled

    def create(self, python, wheels, purpose, onLine, shouldCancel):
        case.widget = host.reload("LLMBoostSegment")
        assert shouldCancel()
        raise Cancelled("cancelled")

    monkeypatch.setattr(PrivateEnvironment, "create", create)
    host.answer(True)
    click(case.ui.createEnvironmentButton)
    host.dialogs.take("question")
    assert case.refused() == "Choose an image"


def test_apply_offers_an_environment_where_slicers_python_cannot_compute(case, host, environmentFolder, monkeypatch):
    import qt

    from LLMBoostLib.install.environment import PrivateEnvironment
    from LLMBoostLib.worker import consent

    def command():
        return str(qt.QSettings().value(COMMAND_SETTING) or "")

    worker = command()

    def create(self, python, wheels, purpose, onLine, shouldCancel):
        (environmentFolder / "bin").mkdir(parents=True)
        (environmentFolder / "bin" / "python").touch()
        (environmentFolder / "llmboost-environment.json").write_text('{"complete": true}')

    monkeypatch.setattr(PrivateEnvironment, "create", create)
    monkeypatch.setattr(PrivateEnvironment, "use", lambda self: setCommand(worker))
    monkeypatch.setattr(consent, "obstacle", lambda: "no current PyTorch")
    monkeypatch.setattr(consent, "missing", lambda purpose: [] if command() == worker else ["torch>=2.8"])
    case.addImage()
    setCommand("")
    host.answer(False)
    case.apply()
    assert str(environmentFolder) in host.dialogs.take("question").text
    assert not environmentFolder.exists()
    case.assertUntouched()
    host.answer(True)
    case.apply()
    host.dialogs.take("question")
    setCommand("")
    case.apply()  # it is there: no question
    assert command() == worker
    case.run()
    assert len(case.segmentations()) == 1


def test_an_environment_is_used_and_removed(case, host, environmentFolder):
    import qt

    assert not case.ui.useEnvironmentButton.enabled
    (environmentFolder / "bin").mkdir(parents=True)
    (environmentFolder / "bin" / "python").touch()
    (environmentFolder / "llmboost-environment.json").write_text('{"complete": true}')
    case.panel.advanced.refresh()
    click(case.ui.useEnvironmentButton)
    command = qt.QSettings().value(COMMAND_SETTING)
    assert command == f"{environmentFolder / 'bin' / 'python'} -m llmboost.worker"
    assert case.ui.commandEdit.text == command
    assert not case.ui.useEnvironmentButton.enabled
    host.answer(False, True)
    click(case.ui.removeEnvironmentButton)
    host.dialogs.take("question")
    assert environmentFolder.exists()
    click(case.ui.removeEnvironmentButton)
    host.dialogs.take("question")
    assert not environmentFolder.exists()
    assert case.ui.commandEdit.text == ""
