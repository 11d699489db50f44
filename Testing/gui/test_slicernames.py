"""The list of Slicer's names in Testing/host/slicernames.py against what the extension's code and its .ui files use."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from functools import cache
from inspect import signature
from pathlib import Path

import slicer
from PySide6 import QtWidgets
from Testing.host.slicernames import NAMES, entries, parameters

ROOT = Path(__file__).parents[2]
MODULE_FILES = [ROOT / name / f"{name}.py" for name in ("LLMBoostSegment", "LLMBoostTrain")]
FILES = [*MODULE_FILES, *sorted((ROOT / "LLMBoostSegment" / "LLMBoostLib").rglob("*.py"))]
FORMS = [ElementTree.parse(path.parent / "Resources" / "UI" / f"{path.stem}.ui") for path in MODULE_FILES]
CLASSES = {widget.get("name", ""): widget.get("class", "") for form in FORMS for widget in form.iter("widget")}
# what variables hold that are not widgets of a .ui file
VARIABLES = {
    "uiWidget": "qMRMLWidget",
    "_editor": "qMRMLSegmentEditorWidget",
    "_plot": "qMRMLPlotWidget",
    "layoutManager": "qMRMLLayoutManager",
    "selector": "qMRMLSegmentSelectorWidget",
    "PyTorchUtilsLogic": "PyTorchUtils.PyTorchUtilsLogic",
    "SampleDataLogic": "SampleData.SampleDataLogic",
    "packaging": "slicer.packaging",
    "scriptedEffect": "qSlicerSegmentEditorScriptedEffect",
    "copy": "qSlicerSegmentEditorScriptedEffect",
    "effects": "qSlicerSegmentationsEditorEffectsPythonQt",
    "roiBox": "qMRMLNodeComboBox",
    "foldable": "ctkCollapsibleButton",
}
AUTO_COMPLETE = dict.fromkeys(
    ["getPreviewNode", "onCancel", "onPreview", "onSegmentationModified", "previewComputationInProgress"],
    "AbstractScriptedSegmentEditorAutoCompleteEffect",
) | dict.fromkeys(
    ["selectedSegmentIds", "setupOptionsFrame", "setMRMLDefaults", "updateGUIFromMRML"],
    "AbstractScriptedSegmentEditorAutoCompleteEffect",
)
# methods of base classes
INHERITED = {
    "connectGui": "parameterNodeWrapper",
    "disconnectGui": "parameterNodeWrapper",
    "getParameterNode": "ScriptedLoadableModuleLogic",
    "onReload": "ScriptedLoadableModuleWidget",
    "resourcePath": "ScriptedLoadableModuleWidget",
    **AUTO_COMPLETE,
}
MODULES = ("slicer", "DICOMLib", "SampleData", "PyTorchUtils", "SegmentEditorEffects")
WIDGETS = ("qMRML", "qSlicer", "ctk")
BASES = tuple(INHERITED.values())
REAL = ("slicer.vtk", "slicer.mrmlScene", "slicer.modules")  # MRML and VTK, which tests run on

Use = tuple[str, ast.Call | None]


@cache
def listed() -> dict[str, str]:
    """The entries of the list by name."""
    found = [entry for file in NAMES for entry in entries(file)]
    names = [entry.partition("(")[0] for entry in found]
    assert len(set(names)) == len(names)
    return dict(zip(names, found, strict=True))


def dotted(node: ast.expr) -> list[str]:
    """["a", "b", "c"] of a.b.c, and of a.b().c, too; empty for anything else."""
    if isinstance(node, ast.Attribute):
        return [*before, node.attr] if (before := dotted(node.value)) else []
    if isinstance(node, ast.Call):
        return dotted(node.func)
    return [node.id] if isinstance(node, ast.Name) else []


def nameOf(node: ast.expr, isModule: bool) -> str:
    """What an expression is called in the list; empty for what is none of Slicer's."""
    parts = dotted(node)
    if not parts:
        return ""
    if parts[-1] in INHERITED:
        return f"{INHERITED[parts[-1]]}.{parts[-1]}"
    if parts[0] in MODULES:
        return ".".join(parts)
    for place, part in enumerate(parts[:-1]):
        kind = CLASSES.get(part) if place and parts[place - 1] in ("ui", "_ui") else VARIABLES.get(part)
        if kind and kind.startswith((*WIDGETS, *MODULES)):
            return f"{kind}.{parts[place + 1]}"
    if isModule and parts[0] == "parent":
        return f"qSlicerScriptedLoadableModule.{parts[1]}"
    return f"qSlicerScriptedLoadableModuleWidget.{parts[2]}" if parts[:2] == ["self", "parent"] else ""


def uses(path: Path) -> Iterator[Use]:
    """Slicer's names in a file, with the calls among them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            for alias in node.names:
                yield f"{node.module}.{alias.name}", None
        if not isinstance(node, ast.Attribute) or id(node) in inner:
            continue
        name, call = nameOf(node, path in MODULE_FILES), called.get(id(node))
        if name.endswith(".connect"):
            assert call
            assert isinstance(call.args[0], ast.Constant)
            yield f"{name.removesuffix('connect')}{call.args[0].value}", None
        elif name:
            yield name, call


def formUses() -> Iterator[str]:
    """Slicer's classes and their properties, signals and slots in the .ui files."""
    for widget in (widget for form in FORMS for widget in form.iter("widget")):
        for item in widget.findall("property"):
            if item.get("stdset") != "0":
                yield f"{widget.get('class')}.{item.get('name')}"
    for connection in (connection for form in FORMS for connection in form.iter("connection")):
        for end, what in (("sender", "signal"), ("receiver", "slot")):
            yield f"{CLASSES[connection.findtext(end, '')]}.{connection.findtext(what, '')}"


def isQts(name: str) -> bool:
    """Whether the application or a widget has it from Qt: whatever its class, it is a widget, a table or a button."""
    member = name.partition("(")[0].rpartition(".")[2]
    bases = (QtWidgets.QApplication, QtWidgets.QTableView, QtWidgets.QAbstractButton)
    return any(hasattr(base, member) or base.staticMetaObject.indexOfProperty(member) >= 0 for base in bases)


def used() -> dict[str, list[ast.Call]]:
    """By name of the list: the calls."""
    found: dict[str, list[ast.Call]] = {}
    everything = [use for path in FILES for use in uses(path)] + [(name, None) for name in formUses()]
    for full, call in everything:
        name = full.partition("(")[0]
        isApplications = name.startswith(("slicer.app.", *WIDGETS))
        if not name.startswith((*WIDGETS, *MODULES, *BASES)) or name.startswith(REAL) or name == "slicer.app":
            continue
        if isApplications and isQts(name):
            continue
        found.setdefault(name, []).extend([call] if call else [])
        if "(" in full:
            assert listed().get(name) == full
    return found


def test_the_list_holds_what_is_used_and_nothing_else():
    assert sorted(used()) == sorted(listed())


def test_calls_suit_what_is_listed():
    checked = 0
    for name, calls in used().items():
        for call in calls:
            entry = listed()[name]
            if "(" in entry and not any(isinstance(each, ast.Starred) for each in call.args):
                optional = "**" in entry
                given = [each.arg for each in call.keywords if each.arg]
                assert len(call.args) <= len(parameters(entry)), ast.unparse(call)
                assert optional or set(given) <= set(parameters(entry)), ast.unparse(call)
                checked += 1
    assert checked > 50


def test_the_list_agrees_with_slicers_own_utilities():
    """slicer-core brings the real slicer/util.py."""
    for name in (name for name in listed() if name.startswith("slicer.util.") and "(" in listed()[name]):
        own = signature(getattr(slicer.util, name.rpartition(".")[2])).parameters
        assert [each for each in parameters(listed()[name]) if each not in own] in ([], ["kwargs"]), name
