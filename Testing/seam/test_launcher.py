"""Which command starts the worker, in which environment; and that Slicer's process stays free of torch."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

import llmboost
from llmboost.messages.worker import HelloRequest
from LLMBoostLib.worker import launcher
from LLMBoostLib.worker.client import Client

LIGHT = """
import sys
import LLMBoostLib.worker.client, llmboost.wire, llmboost.card, llmboost.library
from llmboost.messages import cases, images, worker
client = LLMBoostLib.worker.client.Client()
assert client.call(worker.ShowRequest(model="hippocampus")).card.name == "hippocampus"
client.shutDown()
print(*sorted({"torch", "monai", "transformers", "SimpleITK", "scipy", "slicer", "qt"} & set(sys.modules)))
"""


@pytest.fixture
def setting(monkeypatch):
    """``setting(text)`` puts an application setting into a stand-in for Qt."""

    def put(text: str | None) -> None:
        qt = ModuleType("qt")
        qt.QSettings = lambda: SimpleNamespace(value={launcher.COMMAND_SETTING: text}.get)
        monkeypatch.setitem(sys.modules, "qt", qt)

    return put


@pytest.fixture
def in_slicer(monkeypatch):
    """As in Slicer's own process: an environment of Slicer's, and the one that it was started in."""
    slicer, own = ModuleType("slicer"), {"PATH": os.environ["PATH"], "PYTHONPATH": "/own", "HOME": "/home/user"}
    slicer.app, slicer.util = object(), SimpleNamespace(startupEnvironment=lambda: own)
    monkeypatch.setitem(sys.modules, "slicer", slicer)
    monkeypatch.setenv("PYTHONHOME", "/opt/Slicer/lib/Python")
    monkeypatch.setenv("PYTHONPATH", "/opt/Slicer/modules")


def test_slicers_python_is_the_default(monkeypatch, setting):
    setting(None)
    monkeypatch.setattr(launcher.shutil, "which", {"PythonSlicer": "/opt/Slicer/bin/PythonSlicer"}.get)
    assert launcher.workerCommand() == ["/opt/Slicer/bin/PythonSlicer", "-m", "llmboost.worker"]


def test_without_slicer_this_python_is_the_default(monkeypatch):
    monkeypatch.setattr(launcher.shutil, "which", lambda name: None)
    assert launcher.workerCommand() == [sys.executable, "-m", "llmboost.worker"]


@pytest.mark.skipif(sys.platform == "win32", reason="quotes follow POSIX rules here")
@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("ssh -T gpu-box python -m llmboost.worker", ["ssh", "-T", "gpu-box", "python", "-m", "llmboost.worker"]),
        ("'/opt/my venv/bin/python' -m llmboost.worker", ["/opt/my venv/bin/python", "-m", "llmboost.worker"]),
    ],
)
def test_the_application_setting_names_another_command(setting, text, command):
    setting(text)
    assert launcher.workerCommand() == command


def test_slicers_python_gets_slicers_environment(in_slicer):
    environment = launcher.workerEnvironment(launcher.defaultCommand())
    package = os.path.dirname(os.path.dirname(llmboost.__file__))
    assert environment["PYTHONHOME"] == "/opt/Slicer/lib/Python"
    assert environment["PYTHONPATH"] == os.pathsep.join([package, "/opt/Slicer/modules"])


def test_any_other_program_gets_the_environment_that_slicer_was_started_in(in_slicer):
    environment = launcher.workerEnvironment(["ssh", "-T", "gpu-box"])
    assert "PYTHONHOME" not in environment
    assert environment["HOME"] == "/home/user"
    assert environment["PYTHONPATH"].endswith(os.pathsep + "/own")


def test_slicers_package_without_its_application_changes_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "slicer", ModuleType("slicer"))  # as in PythonSlicer
    monkeypatch.setenv("PYTHONHOME", "/opt/Python")
    assert launcher.workerEnvironment(["ssh", "-T", "gpu-box"])["PYTHONHOME"] == "/opt/Python"


def test_modules_in_the_current_folder_are_not_taken(tmp_path, monkeypatch):
    (tmp_path / "queue.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    client = Client()
    assert client.call(HelloRequest()).llmboost == llmboost.__version__
    client.shutDown()


def test_the_slicer_side_imports_nothing_heavy():
    environment = launcher.workerEnvironment([sys.executable])
    done = subprocess.run([sys.executable, "-c", LIGHT], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("", "", 0)
