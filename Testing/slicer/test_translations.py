"""What users are told is there to be translated: texts of errors pass through tr."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "LLMBoostSegment" / "LLMBoostLib"
FOLDERS = ["panels", "scene", "segment"]


def untranslated(path: Path) -> Iterator[str]:
    """Errors of a file that are raised with a text written there, but not through ``_``."""
    raised = [node.exc for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Raise)]
    for call in (each for each in raised if isinstance(each, ast.Call)):
        if ast.unparse(call.func).endswith("Error") and isinstance(call.args[0], ast.Constant | ast.JoinedStr):
            yield f"{path.name}: {ast.unparse(call)}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_errors_are_translated(folder):
    found = [text for path in sorted((LIBRARY / folder).glob("*.py")) for text in untranslated(path)]
    assert [text for text in found if "WorkerError('cancelled'" not in text] == []  # a kind, not a text
