"""slicer.ScriptedLoadableModule and slicer.i18n: the documented behaviour of modules, logics and tests, without Qt."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer


class ModuleParent:
    """What the application gives to a module's class: the bearer of its metadata. It is slicer.modules.<name>, too."""

    def __init__(self, path: str):
        self.path = path
        self.name = Path(path).stem


class ScriptedLoadableModule:
    def __init__(self, parent: Any):
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.categories, parent.dependencies, parent.contributors = [], [], []
        parent.title = parent.helpText = parent.acknowledgementText = ""

    def resourcePath(self, filename: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        return ""


class ScriptedLoadableModuleLogic:
    def __init__(self, parent: Any = None):
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        return node or slicer.mrmlScene.AddNode(self.createParameterNode())

    def createParameterNode(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)  # the scene's object factory counts one reference too many
        node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def __init__(self, *arguments: Any):
        super().__init__(*arguments or ("runTest",))

    def delayDisplay(self, message: str, *_: Any, **__: Any) -> None:
        print(message)

    def runTest(self) -> None:
        """Overridden by a module's test class."""


def install() -> None:
    """Make both modules importable."""
    classes = (
        ScriptedLoadableModule,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
    base = ModuleType("slicer.ScriptedLoadableModule")
    base.__dict__.update({c.__name__: c for c in classes}, __all__=[c.__name__ for c in classes])
    texts = ModuleType("slicer.i18n")
    texts.__dict__.update(tr=lambda text: text, translate=lambda context, text: text)
    for module in (base, texts):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.split(".")[1], module)
