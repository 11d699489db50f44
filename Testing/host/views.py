"""Off-screen views with Slicer's own displayable managers. They need EGL with Mesa, or a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from .session import Session

_SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
)
# without vtkMRMLViewDisplayableManager, which crashes when the process ends; it draws the box around the scene
_3D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
)


class _View:
    """A window with displayable managers; use it in a ``with`` statement, for a window left open crashes at exit.

    Make views before the nodes that they show, as the application does: color legends that are older stay unseen.
    """

    def __init__(self, node: Any, kind: str, managers: Sequence[str], size: tuple[int, int]):
        self.node = node
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(True)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self.window)
        factory = getattr(slicer, f"vtkMRML{kind}ViewDisplayableManagerFactory").GetInstance()
        for manager in managers:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.Initialize(factory, self.renderer)
        self._group.SetMRMLDisplayableNode(node)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._group.SetMRMLDisplayableNode(None)
        self._interactor.SetRenderWindow(None)
        self.window.Finalize()

    def render(self) -> np.ndarray:
        """The view's picture, uint8 [row, column, RGB], rows from the top."""
        self.window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.SetInputBufferTypeToRGB()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        return np.flipud(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, 3))


class SliceView(_View):
    """The slice view of that name (Red, Yellow, Green)."""

    def __init__(self, session: Session, name: str, size: tuple[int, int] = (400, 400)):
        self.logic = session.sliceLogics[name]
        node = self.logic.GetSliceNode()
        super().__init__(node, "Slice", _SLICE_MANAGERS, size)
        node.SetDimensions(*size, 1)
        # the blended slices, below all else; in the application, qMRMLSliceView shows them
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self._mapper)
        slices = vtk.vtkRenderer()
        slices.AddViewProp(actor)
        self.window.SetNumberOfLayers(max(2, self.window.GetNumberOfLayers()))
        self.renderer.SetLayer(1)
        self.window.AddRenderer(slices)

    def show(self, center: Sequence[float] | None = None, fieldOfView: float | None = None) -> None:
        """Fit the background volume, or show ``fieldOfView`` mm around ``center`` (RAS)."""
        self.logic.FitSliceToBackground()
        if center is not None:
            self.node.JumpSliceByCentering(*center)
        if fieldOfView is not None:
            width, height, depth = self.node.GetFieldOfView()
            self.node.SetFieldOfView(fieldOfView, fieldOfView * height / width, depth)

    def render(self) -> np.ndarray:
        self.logic.UpdatePipeline()
        if self.logic.GetImageDataConnection():
            self._mapper.SetInputConnection(self.logic.GetImageDataConnection())
        return super().render()


class ThreeDView(_View):
    """The 3D view, looking from the front."""

    def __init__(self, session: Session, size: tuple[int, int] = (400, 400)):
        node = session.scene.AddNewNodeByClass("vtkMRMLViewNode")
        node.SetLayoutName("1")
        session.scene.AddNewNodeByClass("vtkMRMLCameraNode").SetLayoutName("1")
        super().__init__(node, "ThreeD", _3D_MANAGERS, size)
        self.renderer.GradientBackgroundOn()
        self.renderer.SetBackground(0.46, 0.46, 0.76)
        self.renderer.SetBackground2(0.76, 0.76, 0.91)

    def render(self) -> np.ndarray:
        camera = self.renderer.GetActiveCamera()
        camera.SetFocalPoint(0, 0, 0)
        camera.SetPosition(200, 400, 150)
        camera.SetViewUp(0, 0, 1)
        self.renderer.ResetCamera()
        return super().render()


def mosaic(pictures: Sequence[np.ndarray], columns: int, path: Path) -> None:
    """Write pictures of equal size as one PNG, row by row."""
    rows = [np.hstack(pictures[start : start + columns]) for start in range(0, len(pictures), columns)]
    whole = np.flipud(np.vstack(rows))
    image = vtk.vtkImageData()
    image.SetDimensions(whole.shape[1], whole.shape[0], 1)
    scalars = vtk.util.numpy_support.numpy_to_vtk(np.ascontiguousarray(whole.reshape(-1, 3)), deep=True)
    image.GetPointData().SetScalars(scalars)
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()
