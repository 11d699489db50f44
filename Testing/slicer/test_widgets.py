"""What each view of a panel calls its widgets, against the panels' .ui files."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "LLMBoostSegment" / "LLMBoostLib"
MODULES = {"panels": "LLMBoostSegment", "training": "LLMBoostTrain"}


def widgetsOf(module: str) -> dict[str, str]:
    """The classes of a form's widgets, by name."""
    form = ElementTree.parse(ROOT / module / "Resources" / "UI" / f"{module}.ui")
    return {widget.get("name", ""): widget.get("class", "") for widget in form.iter("widget")}


def bags(path: Path) -> list[dict[str, str]]:
    """What the classes Widgets of a file declare: class by name."""
    classes = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
    return [
        {
            entry.target.id: ast.unparse(entry.annotation).rpartition(".")[2]
            for entry in node.body
            if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name)
        }
        for node in classes
        if node.name == "Widgets"
    ]


@pytest.mark.parametrize("folder", MODULES)
def test_what_views_are_given_is_in_their_form_and_of_that_class(folder):
    form, seen = widgetsOf(MODULES[folder]), 0
    for path in sorted((LIBRARY / folder).glob("*.py")):
        for bag in bags(path):
            assert {name: form.get(name) for name in bag} == bag, path.name
            seen += len(bag)
    assert seen > 40
