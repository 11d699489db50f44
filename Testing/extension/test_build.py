"""The built and installed extension: nothing forgotten, nothing too much, and it works from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from Testing.extension.conftest import modules

ROOT = Path(__file__).parents[2]
INSTALLED_LATER = {"torch", "monai", "safetensors", "rich", "typer", "peft", "transformers", "matplotlib"}


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def facts(installed, tmp_path_factory) -> dict[str, Any]:
    """What ``installed_in_slicer.py`` found."""
    home = tmp_path_factory.mktemp("home")
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home), "LLMBOOST_MODELS": str(home / "none")}
    variables["LLMBOOST_TRAINING"] = str(home / "cases")
    script = Path(__file__).parent / "installed_in_slicer.py"
    command = [sys.executable, script, installed]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_all_tracked_files_are_installed_and_no_others(installed, tracked):
    expected = {Path(*path.parts[1:]) for path in tracked if path.parts[0] in modules()}
    assert files(installed) == expected - {Path("CMakeLists.txt")}


def test_the_folder_has_no_module_but_ours(installed):
    """Slicer takes each file at the top for a module."""
    assert {path.stem for path in installed.glob("*.py")} == set(modules())


def test_what_is_imported_lies_in_the_installed_folder(facts, installed):
    assert [path for path in facts["files"] if not Path(path).is_relative_to(installed)] == []


def test_importing_changes_nothing(facts):
    """Nothing is installed, downloaded, started or written, and what may be absent is not asked for."""
    assert facts["changes"] == []
    assert not INSTALLED_LATER & set(facts["packages"])


def test_the_shipped_models_are_found(facts, installed):
    shipped = {path.stem: str(path) for path in (installed / "llmboost" / "models").glob("*.safetensors")}
    assert shipped
    assert facts["models"] == shipped


@pytest.mark.parametrize("module", modules())
def test_the_panel_opens_with_all_its_widgets(facts, installed, module):
    tree = ElementTree.parse(installed / "Resources" / "UI" / f"{module}.ui")
    assert {widget.get("name") for widget in tree.iter("widget")} <= set(facts["widgets"][module])


def test_the_command_line_runs(installed):
    code = "import sys; from llmboost.cli import main; main(sys.argv[1:])"
    variables = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", code, "models", "list"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "hippocampus" in done.stdout
