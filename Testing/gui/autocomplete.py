"""The package SegmentEditorEffects: base classes of effects in Python, Slicer's own where they are at hand, else these.

``LLMBOOST_DATA`` may hold the two files of Slicer's in ``slicer_effects/``; they are not part of this project. The ones
here keep the documented behavior of an auto-complete effect: preview, update some time after a change, apply, cancel.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import slicer
import vtk

from .ctkwidgets import ctkSliderWidget
from .pythonqt import qt

PACKAGE = "SegmentEditorEffects"
_PREVIEW, _OWNER = "SegmentationResultPreview", "SegmentationResultPreviewOwnerEffect"
_LABELMAP = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
_SURFACE = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
_ROOT = Path(__file__).resolve().parents[2]


def slicersOwn() -> Path | None:
    """The folder with Slicer's own files, or None."""
    data = Path(os.environ.get("LLMBOOST_DATA") or _ROOT.parent / "shared" / "data")
    folder = data / "slicer_effects"
    return folder if folder.is_dir() else None


def package(folder: Path | None = None) -> ModuleType:
    """The package with the base classes in a folder, or with the ones below."""
    made = ModuleType(PACKAGE)
    made.__path__ = []
    names = ("AbstractScriptedSegmentEditorEffect", "AbstractScriptedSegmentEditorAutoCompleteEffect")
    if folder is None:
        made.__dict__.update({name: globals()[name] for name in names})
    else:
        with patch.dict(sys.modules, {PACKAGE: made}):  # the second file imports the first one
            for name in names:
                spec = importlib.util.spec_from_file_location(f"{PACKAGE}.{name}", folder / f"{name}.py")
                assert spec is not None
                assert spec.loader is not None
                module = sys.modules[f"{PACKAGE}.{name}"] = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                setattr(made, name, getattr(module, name))
    made.__dict__["__all__"] = list(names)
    return made


class AbstractScriptedSegmentEditorEffect:
    def __init__(self, scriptedEffect: Any):
        self.scriptedEffect = scriptedEffect

    def register(self) -> None:
        slicer.qSlicerSegmentEditorEffectFactory.instance().registerEffect(self.scriptedEffect)

    def cleanup(self) -> None:
        pass


class AbstractScriptedSegmentEditorAutoCompleteEffect(AbstractScriptedSegmentEditorEffect):
    def __init__(self, scriptedEffect: Any):
        scriptedEffect.perSegment = False
        super().__init__(scriptedEffect)
        self.minimumNumberOfSegments = self.minimumNumberOfSegmentsWithEditableArea = 1
        self.clippedMasterImageDataRequired = self.clippedMaskImageDataRequired = False
        self.extentGrowthRatio, self.minimumExtentMargin = 0.1, 3
        self.previewComputationInProgress = False
        self.observedSegmentation: Any = None
        self.segmentationNodeObserverTags: list[int] = []
        self.delayedAutoUpdateTimer = qt.QTimer()
        self.delayedAutoUpdateTimer.setSingleShot(True)
        self.delayedAutoUpdateTimer.interval = 1000
        self.delayedAutoUpdateTimer.connect("timeout()", self.onPreview)
        self._forget()

    def _forget(self) -> None:
        self.mergedLabelmapGeometryImage = self.selectedSegmentIds = None
        self.selectedSegmentModifiedTimes: dict[str, int] = {}
        self.clippedMasterImageData = self.clippedMaskImageData = None

    def cleanup(self) -> None:
        self.delayedAutoUpdateTimer.disconnect("timeout()", self.onPreview)

    # -- options

    def setupOptionsFrame(self) -> None:
        effect = self.scriptedEffect
        self.autoUpdateCheckBox = qt.QCheckBox("Auto-update")
        self.autoUpdateCheckBox.checked, self.autoUpdateCheckBox.enabled = True, False
        self.previewButton = qt.QPushButton("Initialize")
        self.previewOpacitySlider = ctkSliderWidget()
        self.previewOpacitySlider.minimum, self.previewOpacitySlider.maximum = 0, 1
        self.previewOpacitySlider.singleStep, self.previewOpacitySlider.spinBoxVisible = 0.05, False
        self.previewShow3DButton = qt.QPushButton("Show 3D")
        self.previewShow3DButton.checkable = True
        self.cancelButton, self.applyButton = qt.QPushButton("Cancel"), qt.QPushButton("Apply")
        effect.addLabeledOptionsWidget("Preview:", _row(self.autoUpdateCheckBox, self.previewButton))
        ends = qt.QLabel("inputs"), qt.QLabel("results")
        shown = _row(ends[0], self.previewOpacitySlider, ends[1], self.previewShow3DButton)
        effect.addLabeledOptionsWidget("Display:", shown)
        effect.addOptionsWidget(_row(self.cancelButton, self.applyButton))
        self.previewButton.connect("clicked()", self.onPreview)
        self.cancelButton.connect("clicked()", self.onCancel)
        self.applyButton.connect("clicked()", self.onApply)
        self.previewOpacitySlider.connect("valueChanged(double)", self.updateMRMLFromGUI)
        self.previewShow3DButton.connect("toggled(bool)", self.updateMRMLFromGUI)
        self.autoUpdateCheckBox.connect("stateChanged(int)", self.updateMRMLFromGUI)

    def setMRMLDefaults(self) -> None:
        self.scriptedEffect.setParameterDefault("AutoUpdate", "1")

    def updateGUIFromMRML(self, *_: Any) -> None:
        isReady = self.getPreviewNode() is not None
        for widget in (self.autoUpdateCheckBox, self.cancelButton, self.applyButton):
            widget.enabled = isReady
        self.previewOpacitySlider.enabled = self.previewShow3DButton.enabled = isReady
        self.previewButton.text = "Update" if isReady else "Initialize"
        if isReady:
            self._setQuietly(self.previewOpacitySlider, "value", self.getPreviewOpacity())
            self.previewShow3DButton.checked = self.getPreviewShow3D()
        else:
            self.delayedAutoUpdateTimer.stop()
        self.observeSegmentation(isReady and self.autoUpdateCheckBox.checked)
        wanted = self.scriptedEffect.integerParameter("AutoUpdate") != 0
        self._setQuietly(self.autoUpdateCheckBox, "checked", wanted)

    @staticmethod
    def _setQuietly(widget: Any, name: str, value: Any) -> None:
        blocked = widget.blockSignals(True)
        setattr(widget, name, value)
        widget.blockSignals(blocked)

    def updateMRMLFromGUI(self, *_: Any) -> None:
        if self.getPreviewNode():
            self.setPreviewOpacity(self.previewOpacitySlider.value)
            self.setPreviewShow3D(self.previewShow3DButton.checked)
        self.scriptedEffect.setParameter("AutoUpdate", int(self.autoUpdateCheckBox.checked))

    # -- updates

    def observeSegmentation(self, wanted: bool) -> None:
        node = self.scriptedEffect.parameterSetNode()
        segmentation = node.GetSegmentationNode().GetSegmentation() if node and node.GetSegmentationNode() else None
        if wanted and self.observedSegmentation is segmentation:
            return
        for tag in self.segmentationNodeObserverTags:
            self.observedSegmentation.RemoveObserver(tag)
        self.segmentationNodeObserverTags, self.observedSegmentation = [], None
        if wanted and segmentation:
            self.observedSegmentation = segmentation
            kind = slicer.vtkSegmentation
            events = (kind.SegmentAdded, kind.SegmentRemoved, kind.SegmentModified, kind.SourceRepresentationModified)
            tags = [segmentation.AddObserver(event, self.onSegmentationModified) for event in events]
            self.segmentationNodeObserverTags = tags

    def onSegmentationModified(self, _caller: Any, _event: str) -> None:
        if not self.autoUpdateCheckBox.checked:
            return
        segmentation, isNew = self.observedSegmentation, False
        for number in range(self.selectedSegmentIds.GetNumberOfValues()):
            segmentID = self.selectedSegmentIds.GetValue(number)
            segment = segmentation.GetSegment(segmentID)
            if segment is None:
                self.onCancel()
                return
            labelmap = segment.GetRepresentation(_LABELMAP)
            time = labelmap.GetMTime() if labelmap else None
            isNew = isNew or time is None or self.selectedSegmentModifiedTimes.get(segmentID) != time
            self.selectedSegmentModifiedTimes[segmentID] = time
        if isNew and not self.previewComputationInProgress:
            self.delayedAutoUpdateTimer.start()

    # -- preview

    def getPreviewNode(self) -> Any:
        effect = self.scriptedEffect
        node = effect.nodeReference(_PREVIEW)
        isOthers = node and effect.parameterDefined(_OWNER) and effect.parameter(_OWNER) != effect.name
        return None if isOthers else node

    def setPreviewOpacity(self, opacity: float) -> None:
        self.scriptedEffect.parameterSetNode().GetSegmentationNode().GetDisplayNode().SetOpacity(1 - opacity)
        if preview := self.getPreviewNode():
            preview.GetDisplayNode().SetOpacity(opacity)
            preview.GetDisplayNode().SetOpacity3D(opacity)
        self._setQuietly(self.previewOpacitySlider, "value", opacity)

    def getPreviewOpacity(self) -> float:
        preview = self.getPreviewNode()
        return preview.GetDisplayNode().GetOpacity() if preview else 0.6

    def setPreviewShow3D(self, shown: bool) -> None:
        if preview := self.getPreviewNode():
            (preview.CreateClosedSurfaceRepresentation if shown else preview.RemoveClosedSurfaceRepresentation)()
        self._setQuietly(self.previewShow3DButton, "checked", shown)

    def getPreviewShow3D(self) -> bool:
        preview = self.getPreviewNode()
        return bool(preview and preview.GetSegmentation().ContainsRepresentation(_SURFACE))

    def onPreview(self) -> None:
        if self.previewComputationInProgress:
            return
        self.previewComputationInProgress = True
        slicer.util.showStatusMessage(f"Running {self.scriptedEffect.name} auto-complete...", 2000)
        try:
            with slicer.util.tryWithErrorDisplay("Segmentation operation failed:", waitCursor=True):
                self.preview()
        finally:
            self.previewComputationInProgress = False

    def _extent(self) -> tuple[Any, list[int]] | None:
        """The geometry of what is painted, and its extent with a margin, within the image."""
        segmentation = self.scriptedEffect.parameterSetNode().GetSegmentationNode().GetSegmentation()
        kind = slicer.vtkSegmentation.EXTENT_UNION_OF_EFFECTIVE_SEGMENTS
        text = segmentation.DetermineCommonLabelmapGeometry(kind, self.selectedSegmentIds)
        if not text:
            return None
        image = slicer.vtkOrientedImageData()
        slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image)
        return image, list(image.GetExtent())

    def effectiveExtentChanged(self) -> bool:
        if None in (self.getPreviewNode(), self.mergedLabelmapGeometryImage, self.selectedSegmentIds):
            return True
        found = self._extent()
        if found is None:
            return True
        whole = self.scriptedEffect.sourceVolumeImageData().GetExtent()
        current, margin = self.mergedLabelmapGeometryImage.GetExtent(), self.minimumExtentMargin
        low = any(whole[n] != current[n] and current[n] > found[1][n] - margin for n in (0, 2, 4))
        return low or any(whole[n] != current[n] and current[n] < found[1][n] + margin for n in (1, 3, 5))

    def preview(self) -> None:
        node = self.scriptedEffect.parameterSetNode().GetSegmentationNode()
        opacity, inThreeD = self.getPreviewOpacity(), self.getPreviewShow3D()
        if self.effectiveExtentChanged():
            selected = self.selectedSegmentIds
            self.reset()
            self.selectedSegmentIds = selected
            if not self._begin(node):
                return
        preview = self.getPreviewNode()
        preview.SetName(f"{node.GetName()} preview")
        preview.RemoveClosedSurfaceRepresentation()
        merged, result = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
        kind = slicer.vtkSegmentation.EXTENT_UNION_OF_EFFECTIVE_SEGMENTS
        node.GenerateMergedLabelmapForAllSegments(
            merged, kind, self.mergedLabelmapGeometryImage, self.selectedSegmentIds
        )
        self.computePreviewLabelmap(merged, result)
        self._show(node, preview, result)
        self.setPreviewOpacity(opacity)
        self.setPreviewShow3D(inThreeD)
        self.updateGUIFromMRML()

    def computePreviewLabelmap(self, mergedImage: Any, outputLabelmap: Any) -> None:
        raise NotImplementedError

    def _begin(self, node: Any) -> bool:
        """A preview node, and the image around what is painted; False where nothing is."""
        effect, parameters = self.scriptedEffect, self.scriptedEffect.parameterSetNode()
        if self.selectedSegmentIds is None:
            self.selectedSegmentIds = vtk.vtkStringArray()
            node.GetDisplayNode().GetVisibleSegmentIDs(self.selectedSegmentIds)
        if self.selectedSegmentIds.GetNumberOfValues() < self.minimumNumberOfSegments:
            self.selectedSegmentIds = None
            raise RuntimeError(f"Minimum {self.minimumNumberOfSegments} visible segments are required.")
        found = self._extent()
        if found is None:
            return False
        self.mergedLabelmapGeometryImage, extent = found
        source = effect.sourceVolumeImageData()
        whole = source.GetExtent()
        for low, high in ((0, 1), (2, 3), (4, 5)):
            margin = int(max(3, self.extentGrowthRatio * (extent[high] - extent[low])))
            extent[low] = max(whole[low], extent[low] - margin)
            extent[high] = min(whole[high], extent[high] + margin)
        self.mergedLabelmapGeometryImage.SetExtent(extent)
        preview = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        preview.CreateDefaultDisplayNodes()
        preview.GetDisplayNode().SetVisibility2DOutline(False)
        if node.GetParentTransformNode():
            preview.SetAndObserveTransformNodeID(node.GetParentTransformNode().GetID())
        effect.setCommonNodeReference(_PREVIEW, preview)
        effect.setCommonParameter(_OWNER, effect.name)
        self.setPreviewOpacity(0.6)
        self.setPreviewShow3D(node.GetSegmentation().ContainsRepresentation(_SURFACE))
        if self.clippedMasterImageDataRequired:
            pad = vtk.vtkImageConstantPad()
            pad.SetInputData(source)
            pad.SetOutputWholeExtent(extent)
            pad.Update()
            self.clippedMasterImageData = slicer.vtkOrientedImageData()
            self.clippedMasterImageData.ShallowCopy(pad.GetOutput())
            self.clippedMasterImageData.CopyDirections(self.mergedLabelmapGeometryImage)
        if self.clippedMaskImageDataRequired:
            self.clippedMaskImageData = slicer.vtkOrientedImageData()
            within = (
                parameters.GetSourceVolumeIntensityMaskRange() if parameters.GetSourceVolumeIntensityMask() else None
            )
            node.GenerateEditMask(
                self.clippedMaskImageData,
                parameters.GetMaskMode(),
                self.clippedMasterImageData,
                "",
                parameters.GetMaskSegmentID() or "",
                self.clippedMasterImageData if within else None,
                within,
            )
        return True

    def _show(self, node: Any, preview: Any, result: Any) -> None:
        """The n-th segment is what has the value n + 1."""
        segmentation = preview.GetSegmentation()
        count = self.selectedSegmentIds.GetNumberOfValues()
        if segmentation.GetNumberOfSegments() != count:
            segmentation.RemoveAllSegments()
        for number in range(count):
            segmentID = self.selectedSegmentIds.GetValue(number)
            segment = segmentation.GetSegment(segmentID)
            if segment is None:
                own = node.GetSegmentation().GetSegment(segmentID)
                segment = slicer.vtkSegment()
                segment.SetName(own.GetName())
                segment.SetColor(own.GetColor())
                segmentation.AddSegment(segment, segmentID)
            segment.AddRepresentation(_LABELMAP, result)
            segment.SetLabelValue(number + 1)

    # -- the end

    def reset(self) -> None:
        effect = self.scriptedEffect
        self.delayedAutoUpdateTimer.stop()
        self.observeSegmentation(False)
        if preview := effect.nodeReference(_PREVIEW):
            effect.setCommonNodeReference(_PREVIEW, None)
            slicer.mrmlScene.RemoveNode(preview)
            effect.setCommonParameter(_OWNER, "")
        effect.parameterSetNode().GetSegmentationNode().GetDisplayNode().SetOpacity(1.0)
        self._forget()
        self.updateGUIFromMRML()

    def onCancel(self) -> None:
        self.reset()

    def onApply(self) -> None:
        self.delayedAutoUpdateTimer.stop()
        self.observeSegmentation(False)
        effect, preview = self.scriptedEffect, self.getPreviewNode()
        node = effect.parameterSetNode().GetSegmentationNode()
        effect.saveStateForUndo()
        withSurfaces = preview.GetSegmentation().ContainsRepresentation(_SURFACE)
        for segmentID in list(preview.GetSegmentation().GetSegmentIDs()):
            labelmap = slicer.vtkOrientedImageData()
            preview.GetBinaryLabelmapRepresentation(segmentID, labelmap)
            effect.modifySegmentByLabelmap(
                node, segmentID, labelmap, slicer.qSlicerSegmentEditorAbstractEffect.ModificationModeSet
            )
            preview.GetSegmentation().RemoveSegment(segmentID)
        if withSurfaces:
            node.CreateClosedSurfaceRepresentation()
        self.reset()


def _row(*widgets: Any) -> Any:
    row = qt.QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row
