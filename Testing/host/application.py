"""slicer.app and slicer.modules: the part of them that works without Qt. Anything else is an AttributeError."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import slicer
import vtk

if TYPE_CHECKING:
    from .session import Session

_TYPES = {
    ".seg.nrrd": "SegmentationFile",
    ".mrk.json": "MarkupsFile",
    ".nii.gz": "VolumeFile",
    ".nii": "VolumeFile",
    ".nrrd": "VolumeFile",
    ".mha": "VolumeFile",
    ".tfm": "TransformFile",
    ".h5": "TransformFile",
    ".mrb": "SceneFile",
    ".mrml": "SceneFile",
}


class IOManager:
    """Reads and writes through the module logics and storage nodes that Slicer's own readers and writers use."""

    def __init__(self, session: Session):
        self._session = session

    def fileType(self, fileName: Any) -> str:
        name = str(fileName).lower()
        return next((kind for extension, kind in _TYPES.items() if name.endswith(extension)), "NoFile")

    def loadNodes(self, fileType: str, properties: dict, loaded: Any, messages: Any) -> bool:
        path = properties["fileName"]
        if not os.path.exists(path):
            messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"no such file: {path}")
            return False
        if fileType == "SceneFile":
            return self._loadScene(path)
        node = self._load(fileType, path, properties)
        if node is not None:
            loaded.AddItem(node)
        return node is not None

    def _loadScene(self, path: str) -> bool:
        scene = self._session.scene
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, True))
        scene.SetURL(path)
        return bool(scene.Connect())

    def _load(self, fileType: str, path: str, properties: dict) -> Any:
        scene, logics = self._session.scene, self._session.logics
        base = os.path.basename(path)
        extension = next((e for e in _TYPES if base.lower().endswith(e)), "")
        name = properties.get("name") or base[: len(base) - len(extension)]
        match fileType:
            case "VolumeFile":
                bits = ("labelmap", 1), ("center", 2), ("singleFile", 4), ("discardOrientation", 16)
                options = sum(bit for key, bit in bits if properties.get(key))
                return logics["Volumes"].AddArchetypeVolume(path, name, options | 8)  # 8: automatic window and level
            case "SegmentationFile":
                return self._read(scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name), path)
            case "TransformFile":
                return logics["Transforms"].AddTransform(path, scene)
            case "MarkupsFile":
                return scene.GetNodeByID(logics["Markups"].LoadMarkups(path, name) or "")
        return None

    def _read(self, node: Any, path: str) -> Any:
        node.AddDefaultStorageNode(path)
        if node.GetStorageNode().ReadData(node):
            node.CreateDefaultDisplayNodes()
            return node
        self._session.scene.RemoveNode(node)
        return None

    def fileWriterFileType(self, node: Any) -> str:
        return "NodeFile"

    def saveNodes(self, fileType: str, properties: dict, messages: Any) -> bool:
        path, scene = os.path.abspath(properties["fileName"]), self._session.scene
        if fileType == "SceneFile":
            if path.endswith(".mrb"):
                return bool(scene.WriteToMRB(path))
            scene.SetURL(path)
            scene.SetRootDirectory(os.path.dirname(path))
            return bool(scene.Commit())
        node = scene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode(path)
        node.GetStorageNode().SetFileName(path)
        return bool(node.GetStorageNode().WriteData(node))


class Application:
    """slicer.app, as in a session without a main window and in testing mode."""

    applicationName = "Slicer stand-in"
    majorVersion, minorVersion = 5, 13

    def __init__(self, session: Session):
        self._session = session
        self._ioManager = IOManager(session)
        self.temporaryPath = session.appLogic.GetTemporaryPath()
        self.processEventsCalls = 0
        self.connections: list[tuple[str, Any]] = []

    def connect(self, signal: str, slot: Any) -> None:
        """Remember; nothing is emitted here."""
        if signal not in ("startupCompleted()", "aboutToQuit()"):
            raise AttributeError(f"the application has no signal {signal}")
        self.connections.append((signal, slot))

    def coreIOManager(self) -> IOManager:
        return self._ioManager

    ioManager = coreIOManager

    def applicationLogic(self) -> Any:
        return self._session.appLogic

    def mrmlScene(self) -> Any:
        return self._session.scene

    def layoutManager(self) -> None:
        """None, as in Slicer with --no-main-window."""
        return

    def testingEnabled(self) -> bool:
        return True

    def processEvents(self, *_: Any) -> None:
        self.processEventsCalls += 1

    def pauseRender(self) -> None:
        pass

    def resumeRender(self) -> None:
        pass

    def startupEnvironment(self) -> Any:
        """The environment without what Slicer itself added: here, as it is."""
        return SimpleNamespace(keys=lambda: list(os.environ), value=lambda key: os.environ[key])


class Module:
    """slicer.modules.<name>: a loaded module's logic and the path of its file."""

    def __init__(self, name: str, logic: Any, path: str = ""):
        self.name, self.path, self._logic = name, path, logic

    def logic(self) -> Any:
        return self._logic


def install(session: Session) -> None:
    """Put the stand-ins where modules and slicer/util.py look for them."""
    slicer.app = Application(session)
    slicer.mrmlScene = session.scene
    slicer.modules = SimpleNamespace(**{name.lower(): Module(name, logic) for name, logic in session.logics.items()})
