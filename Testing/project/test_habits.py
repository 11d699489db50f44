"""What the project says of itself in more than one place says the same."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
import yaml

import llmboost

ROOT = Path(__file__).resolve().parents[2]


def test_hooks_are_the_checks_of_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    gate = runpy.run_path(str(ROOT / "scripts" / "test.py"))["STATIC"]
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert all(repository["repo"] == "local" for repository in config["repos"])  # nothing is fetched
    entries = {hook["name"]: hook["entry"].removeprefix(".venv/bin/python -m ").split() for hook in hooks}
    assert entries == gate
    assert not any(hook["pass_filenames"] for hook in hooks)


def test_version_is_that_of_the_latest_changes() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\d\S*)", changes, re.M)[0] == llmboost.__version__  # what is not released has no number


def test_files_that_are_named_exist() -> None:
    """In what tells about the code; a file goes by the end of its path."""
    folders = ("LLMBoostSegment", "LLMBoostTrain", "Testing", "scripts", "docs", ".ci")
    known = {f"/{file.relative_to(ROOT)}" for folder in folders for file in (ROOT / folder).rglob("*")}
    known |= {f"/{file.name}" for file in ROOT.iterdir()}
    for page in (ROOT / "CONTRIBUTING.md", ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        named = re.findall(r"`([\w/.]+\.(?:py|md|toml|txt))`", page.read_text(encoding="utf-8"))
        missing = [name for name in named if not any(path.endswith(f"/{name}") for path in known)]
        assert missing == [], page.name


def test_map_of_the_house_is_that_of_the_tree() -> None:
    """Each room of the engine and of the Slicer side is in the map, and the map names no other."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("## The map of the house")[1].split("\n## ")[0]
    named, half = set(), ROOT
    for row in re.findall(r"^\| (`.*?) \|", table, re.M):
        within = row.startswith("`... ")  # what follows lies in the half named last
        paths = [(half if within else ROOT) / name.removeprefix("... ") for name in re.findall("`(.+?)`", row)]
        named.update(paths)
        half = half if within else paths[0]
    assert [str(path.relative_to(ROOT)) for path in named if not path.exists()] == []
    rooms = {
        folder
        for half in ("llmboost", "LLMBoostLib")
        for folder in (ROOT / "LLMBoostSegment" / half).iterdir()
        if folder.is_dir() and (folder / "__init__.py").exists() and folder.name != "models"
    }
    assert sorted(folder.name for folder in rooms - named) == []
