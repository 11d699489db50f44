"""What the tests on MRML share: an empty scene for each, and the engine behind a stand-in for the worker's client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from scipy.ndimage import gaussian_filter
from Testing.host import Session, start

from llmboost.handlers import Engine
from llmboost.messages.codec import Answer, Request, from_parts, to_parts
from llmboost.messages.images import DrawnLabel
from llmboost.service import Job

start()  # tests import what needs the application


@pytest.fixture
def session() -> Iterator[Session]:
    """The application's stand-in with an empty scene; a test fails if VTK or MRML reported an error or a warning."""
    session = start()
    session.clear()
    yield session
    errors = session.errors + session.warnings
    session.clear()
    assert not errors, "\n".join(errors)


@pytest.fixture
def scene(session: Session) -> Any:
    return session.scene


@pytest.fixture
def makeVolume(scene: Any) -> Callable[..., Any]:
    """``makeVolume(array [k, j, i], ijkToRAS, name)`` adds a volume node."""

    def make(array: np.ndarray, ijkToRAS: np.ndarray | None = None, name: str = "image") -> Any:
        return slicer.util.addVolumeFromArray(array, np.eye(4) if ijkToRAS is None else ijkToRAS, name)

    return make


@pytest.fixture
def makeTransform(scene: Any) -> Callable[..., Any]:
    """``makeTransform(rotation in degrees about x, y, z, translation, scale)`` adds a linear transform node."""

    def make(rotation: tuple = (0, 0, 0), translation: tuple = (0, 0, 0), scale: tuple = (1, 1, 1)) -> Any:
        transform = vtk.vtkTransform()
        transform.Translate(*translation)
        for turn, angle in zip((transform.RotateX, transform.RotateY, transform.RotateZ), rotation, strict=True):
            turn(angle)
        transform.Scale(*scale)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        node.SetMatrixTransformToParent(transform.GetMatrix())
        return node

    return make


@pytest.fixture
def makeBend(scene: Any) -> Callable[[], Any]:
    """``makeBend()`` adds a transform node that is not linear."""

    def make() -> Any:
        transform = vtk.vtkThinPlateSplineTransform()
        points = [(0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (50, 50, 50)]
        for corners, shift in ((transform.SetSourceLandmarks, 0), (transform.SetTargetLandmarks, 5)):
            landmarks = vtk.vtkPoints()
            for n, (x, y, z) in enumerate(points):
                landmarks.InsertNextPoint(x + (shift if n == 4 else 0), y, z)
            corners(landmarks)
        transform.SetBasisToR()
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
        node.SetAndObserveTransformToParent(transform)
        return node

    return make


@pytest.fixture
def oblique() -> np.ndarray:
    """(4, 4): index to RAS of an oblique grid of unequal spacing."""
    transform = vtk.vtkTransform()
    transform.Translate(12, -34, 56)
    transform.RotateX(25)
    transform.RotateY(-15)
    transform.RotateZ(40)
    transform.Scale(1.0, 1.1, 1.2)
    return slicer.util.arrayFromVTKMatrix(transform.GetMatrix())


@pytest.fixture
def segmentVoxels() -> Callable[..., np.ndarray]:
    """``segmentVoxels(segmentation node, name, volume node)``: bool [k, j, i] on the volume's grid."""

    def voxels(segmentationNode: Any, name: str, volumeNode: Any) -> np.ndarray:
        segmentID = segmentationNode.GetSegmentation().GetSegmentIdBySegmentName(name)
        assert segmentID, f"no segment {name}"
        return slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentID, volumeNode) > 0

    return voxels


def terminology(code: str, meaning: str) -> str:
    types, regions = (
        "Segmentation category and type - 3D Slicer General Anatomy list",
        "Anatomic codes - DICOM master list",
    )
    return f"{types}~SCT^123037004^Anatomical Structure~SCT^{code}^{meaning}~^^~{regions}~^^~^^"


LABELS = [
    DrawnLabel(1, "liver", (221, 130, 101), terminology("10200004", "Liver")),
    DrawnLabel(2, "spleen", (157, 108, 162), terminology("78961009", "Spleen")),
    DrawnLabel(7, "kidney", (185, 102, 83), terminology("64033007", "Kidney")),
]
PROVENANCE = {
    "LLMBoost.Model": "organs",
    "LLMBoost.ModelVersion": "1.0",
    "LLMBoost.ModelDigest": "0123abcd",
    "LLMBoost.Version": "0.1.0",
    "LLMBoost.Notice": "Not for clinical use",
}


@pytest.fixture
def answer() -> SimpleNamespace:
    """A made-up answer on a grid of [7, 8, 9] voxels: two labels that touch, a third that was not found."""
    labelmap = np.zeros((7, 8, 9), np.uint8)
    labelmap[1:4, 2:6, 1:7] = 1
    labelmap[4:6, 2:6, 1:7] = 2
    return SimpleNamespace(labelmap=labelmap, labels=LABELS, provenance=PROVENANCE)


@pytest.fixture(scope="session")
def cloud() -> np.ndarray:
    """int16 [k, j, i]: smooth noise in which the shipped model happens to see both parts of a hippocampus."""
    noise = gaussian_filter(np.random.default_rng(3).standard_normal((36, 50, 36)), 3)
    return (noise / noise.std() * 100 + 400).astype(np.int16).transpose()


class EngineClient:
    """The worker's client, with the engine in this process, which answers within :meth:`poll` and :meth:`wait`."""

    def __init__(self) -> None:
        self.request: Request | None = None  # the last one
        self._started: list[tuple] = []
        self._engine = Engine()

    def call(self, request: Request, onProgress: Any = None) -> Answer:
        self.request = request
        fields, arrays = to_parts(request)
        received = from_parts(type(request), json.loads(json.dumps(fields)), arrays)
        return self._engine.handlers[type(request)](Job(received))

    def start(self, request: Request, onProgress: Any = None, onDone: Any = None, onError: Any = None) -> None:
        self._started.append((request, onProgress, onDone, onError))

    def poll(self) -> None:
        while self._started:
            *request, onDone, onError = self._started.pop(0)
            try:
                onDone(self.call(*request))
            except Exception as error:
                onError(error)

    def wait(self, start: Callable[..., None]) -> Any:
        outcome: list = []
        start(outcome.append, outcome.append)
        while not outcome:
            self.poll()
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]


@pytest.fixture
def client() -> EngineClient:
    return EngineClient()


@pytest.fixture
def logic(session: Session, client: EngineClient) -> Any:
    """The module's logic, from the file that Slicer loads, on the engine in this process."""
    module = session.load(Path(__file__).parents[2] / "LLMBoostSegment" / "LLMBoostSegment.py")
    return module.LLMBoostSegmentLogic(client)
