"""The house's measure: files that can be read at a sitting, functions at a glance."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES_OF_A_FILE, LINES_OF_A_FUNCTION, PARAMETERS = 450, 80, 8
PRODUCT = sorted([*(ROOT / "LLMBoostSegment").rglob("*.py"), *(ROOT / "LLMBoostTrain").rglob("*.py")])
# What users type has an argument for each option, as typer reads it.
COMMAND_LINE = [path for path in PRODUCT if path.parent.name == "commands"]


def functions(path):
    """(name, lines, parameters but self) of each function in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            yield (
                node.name,
                node.end_lineno - node.lineno + 1,
                len([name for name in names if name not in ("self", "cls")]),
            )


def name(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", PRODUCT, ids=name)
def test_a_file_is_short_and_so_are_its_functions(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LINES_OF_A_FILE
    for function, length, parameters in functions(path):
        assert length <= LINES_OF_A_FUNCTION or path in COMMAND_LINE, function
        assert parameters <= PARAMETERS or path in COMMAND_LINE, function
