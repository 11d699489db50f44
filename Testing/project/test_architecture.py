"""The house's rooms: who may import whom, read from the source and tried in a fresh interpreter."""

import ast
import graphlib
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "LLMBoostSegment"
SLICER_SIDE = [*(ENGINE / "LLMBoostLib").rglob("*.py"), *ENGINE.glob("*.py"), *(ROOT / "LLMBoostTrain").rglob("*.py")]
# what a trained model is used with
USING = (
    *("model", "inference.segment", "inference.classify", "explanation", "batch"),
    *("handlers.segment", "handlers.classify", "handlers.explain"),
)
# rooms that training stands on
BELOW_TRAINING = (
    "adapter",
    "batch",
    "booster",
    "card",
    "explanation",
    "inference",
    "io",
    "metrics",
    "model",
    "networks",
)
HEAVY = ("torch", "monai", "scipy", "safetensors", "transformers", "matplotlib")


def is_module(name):
    path = ENGINE / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def imported(path, package):
    """The engine's modules that a file imports, anywhere in it but for the type checker alone."""
    tree = ast.parse(path.read_text())
    for branch in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if isinstance(branch.test, ast.Name) and branch.test.id == "TYPE_CHECKING":
            branch.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if is_module(alias.name))
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names if is_module(name) else ():
                inner = f"{name}.{alias.name}"
                yield inner if is_module(inner) else name


@pytest.fixture(scope="module")
def graph():
    """What each module of the engine imports."""
    found = {}
    for path in (ENGINE / "llmboost").rglob("*.py"):
        parts = path.relative_to(ENGINE).with_suffix("").parts
        package = ".".join(parts[:-1])
        module = package if parts[-1] == "__init__" else ".".join(parts)
        found[module] = set(imported(path, package))
    found["llmboost"] = set()  # its public names load api.py when they are asked for (test_api.py)
    return found


def room(module):
    return module.split(".")[1] if "." in module else ""


def reached(graph, modules):
    """All that importing ``modules`` and calling what is in them may import."""
    # the package of all handlers holds those that train, too, which import training when they are called
    seen, todo = {"llmboost.handlers"}, list(modules)
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += [*graph[module], *([module.rpartition(".")[0]] if "." in module else [])]
    return seen


def test_no_room_needs_one_that_needs_it(graph):
    rooms = defaultdict(set)
    for module, needed in graph.items():
        rooms[room(module)] |= {room(other) for other in needed} - {room(module)}
    graphlib.TopologicalSorter(rooms).prepare()  # raises CycleError, with the circle


@pytest.mark.parametrize("below", BELOW_TRAINING)
def test_training_stands_on_what_using_needs(graph, below):
    wrong = [f"{a} -> {b}" for a, needed in graph.items() for b in needed if room(a) == below and room(b) == "learn"]
    assert not wrong


def test_files_are_read_without_inference(graph):
    assert not [
        f"{a} -> {b}" for a, needed in graph.items() for b in needed if room(a) == "io" and room(b) == "inference"
    ]


def test_handlers_of_results_leave_batches_alone(graph):
    modules = [module for module in graph if room(module) == "handlers"]
    assert not [f"{module} -> {other}" for module in modules for other in graph[module] if room(other) == "batch"]


def test_using_a_model_never_imports_training(graph):
    """Neither by what the source says, nor in an interpreter that imports all that it says."""
    modules = reached(graph, [f"llmboost.{name}" for name in USING])
    assert not [module for module in modules if room(module) == "learn"]
    code = (
        f"import sys, importlib\nfor name in {sorted(modules)}: importlib.import_module(name)\n"
        "print([name for name in sys.modules if name.startswith('llmboost.learn')])"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


def test_slicer_side_takes_only_light_modules(graph):
    """What the two modules in Slicer import of the engine, works where none of the engine's libraries is."""
    taken = {name for path in SLICER_SIDE for name in imported(path, "") if name.startswith("llmboost")}
    assert "llmboost.card" in taken
    code = (
        f"import sys, importlib\nfor name in {HEAVY}: sys.modules[name] = None\n"
        f"for name in {sorted(taken)}: importlib.import_module(name)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
