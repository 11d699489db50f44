"""slicer.ScriptedLoadableModule and slicer.i18n: the documented behavior of modules, logics and tests, without Qt."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer


class ModuleParent:
    """What the application gives to a module's class: the bearer of its metadata. It is slicer.modules.<name>, too.

    Raises:
        AttributeError: a module sets something that qSlicerScriptedLoadableModule does not have.
    """

    _WRITABLE = frozenset(
        {
            "title",
            "categories",
            "dependencies",
            "contributors",
            "helpText",
            "acknowledgementText",
            "associatedNodeTypes",
            "hidden",
            "icon",
            "index",
            "widgetRepresentationCreationEnabled",
        }
    )

    def __init__(self, path: str):
        self.__dict__.update(path=path, name=Path(path).stem)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in self._WRITABLE:
            raise AttributeError(f"a module has no property '{name}'")
        object.__setattr__(self, name, value)


class ScriptedLoadableModule:
    def __init__(self, parent: Any):
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.categories, parent.dependencies, parent.contributors = [], [], []
        parent.title = parent.helpText = parent.acknowledgementText = ""
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def runTest(self, msec: int = 100, **options: Any) -> None:
        """Run the module's test class, named <module>Test."""
        test = getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test")()
        test.messageDelay = msec
        test.runTest(**options)

    def resourcePath(self, filename: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        return ""


class ScriptedLoadableModuleWidget:
    """A module's panel: its frame ``parent`` has a layout, which :meth:`setup` fills."""

    def __init__(self, parent: Any = None):
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent or self._makeParent()
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def _makeParent(self) -> Any:
        import qt

        parent = slicer.qMRMLWidget()
        parent.setLayout(qt.QVBoxLayout())
        parent.setMRMLScene(slicer.mrmlScene)
        return parent

    def _onModuleAboutToBeUnloaded(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """Overridden: make the panel."""

    def cleanup(self) -> None:
        """Overridden: called before the panel is thrown away."""

    def enter(self) -> None:
        """Overridden: called when the panel is shown."""

    def exit(self) -> None:
        """Overridden: called when another module is shown."""

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)


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


def translate(context: str, text: str) -> str:
    """By the translators that the application has; as it is without a GUI."""
    translator = getattr(getattr(slicer, "app", None), "translate", None)
    return str(translator(context, text)) if translator else text


def tr(text: str) -> str:
    """In the context of the file that asks: its package and name, as Slicer's getContext tells."""
    path = Path(sys._getframe(1).f_code.co_filename)
    inPackage = (path.parent / "__init__.py").is_file()
    return translate(f"{path.parent.name}.{path.stem}" if inPackage else path.stem, text)


def install() -> None:
    """Make both modules importable."""
    classes = (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
    base = ModuleType("slicer.ScriptedLoadableModule")
    base.__dict__.update({c.__name__: c for c in classes}, __all__=[c.__name__ for c in classes])
    texts = ModuleType("slicer.i18n")
    texts.__dict__.update(tr=tr, translate=translate)
    for module in (base, texts):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.split(".")[1], module)
