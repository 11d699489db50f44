"""Every name of Slicer's application and of CTK that the extension uses, with where it was looked up.

MRML, VTK and the segmentation core are not here: the tests run on the real ones. Looked up in Slicer/Slicer 583e9b37d5
(21 August 2026), commontk/CTK 868d56c7 (25 July 2026) and fepegar/SlicerPyTorch e1c85cc (22 April 2024). To look all of
them up again, in checkouts of these three::

    python Testing/host/slicernames.py SLICER CTK SLICERPYTORCH
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

# A call is written with its parameters, as far as they are in use; a property without; signals and slots that are
# connected by their name with their C++ types.
NAMES = {
    "Slicer/Base/Python/slicer/util.py": """
        slicer.util.NodeModify
        slicer.util.VTKObservationMixin
        slicer.util.addVolumeFromArray(narray, ijkToRAS=None, name=None, nodeClassName=None)
        slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, referenceVolumeNode=None)
        slicer.util.arrayFromVTKMatrix(vmatrix)
        slicer.util.arrayFromVolume(volumeNode)
        slicer.util.childWidgetVariables(widget)
        slicer.util.confirmOkCancelDisplay(text, windowTitle=None, **kwargs)
        slicer.util.confirmYesNoDisplay(text, windowTitle=None, **kwargs)
        slicer.util.createProgressDialog(maximum=100, labelText="", windowTitle="", **kwargs)
        slicer.util.errorDisplay(text, windowTitle=None, **kwargs)
        slicer.util.getModuleLogic(module)
        slicer.util.getModuleWidget(module)
        slicer.util.getNodesByClass(className)
        slicer.util.loadUI(path)
        slicer.util.loadVolume(filename, properties={})
        slicer.util.mainWindow()
        slicer.util.openAddDataDialog()
        slicer.util.pip_install(requirements)
        slicer.util.selectModule(module)
        slicer.util.setSliceViewerLayers(background="", foreground="", foregroundOpacity=None, fit=False)
        slicer.util.startupEnvironment()
        slicer.util.updateVolumeFromArray(volumeNode, narray)
        slicer.util.vtkMatrixFromArray(narray)
    """,
    "Slicer/Base/Python/slicer/packaging.py": """
        slicer.packaging.isPipInstallInProgress()
        slicer.packaging.pip_install(requirements, constraints=None, show_progress=True)
    """,
    "Slicer/Base/Python/slicer/i18n.py": """
        slicer.i18n.tr(text)
        slicer.i18n.translate(context, text)
    """,
    "Slicer/Base/Python/slicer/parameterNodeWrapper/wrapper.py": """
        slicer.parameterNodeWrapper.parameterNodeWrapper
        parameterNodeWrapper.connectGui(gui)
        parameterNodeWrapper.disconnectGui(guiTag)
    """,
    "Slicer/Base/Python/slicer/parameterNodeWrapper/validators.py": """
        slicer.parameterNodeWrapper.WithinRange
    """,
    "Slicer/Base/Python/slicer/ScriptedLoadableModule.py": """
        slicer.ScriptedLoadableModule.ScriptedLoadableModule
        slicer.ScriptedLoadableModule.ScriptedLoadableModuleLogic
        slicer.ScriptedLoadableModule.ScriptedLoadableModuleTest
        slicer.ScriptedLoadableModule.ScriptedLoadableModuleWidget
        ScriptedLoadableModuleLogic.getParameterNode()
        ScriptedLoadableModuleWidget.onReload()
        ScriptedLoadableModuleWidget.resourcePath(filename)
    """,
    "Slicer/Base/QTCore/qSlicerAbstractCoreModule.h": """
        qSlicerScriptedLoadableModule.acknowledgementText
        qSlicerScriptedLoadableModule.categories
        qSlicerScriptedLoadableModule.contributors
        qSlicerScriptedLoadableModule.dependencies
        qSlicerScriptedLoadableModule.helpText
        qSlicerScriptedLoadableModule.title
    """,
    "Slicer/Base/QTGUI/qSlicerAbstractModuleWidget.h": """
        qSlicerScriptedLoadableModuleWidget.isEntered
    """,
    "Slicer/Base/QTGUI/qSlicerApplication.h": """
        slicer.app.layoutManager()
        slicer.app.startupCompleted()
    """,
    "Slicer/Libs/MRML/Widgets/qMRMLLayoutManager.h": """
        qMRMLLayoutManager.resetThreeDViews()
    """,
    "Slicer/Base/QTCore/qSlicerBaseQTCorePythonQtDecorators.h": """
        slicer.app.testingEnabled()
    """,
    "Slicer/Modules/Scripted/DICOMLib/DICOMUtils.py": """
        DICOMLib.DICOMUtils.importDicom(dicomDataDir, dicomDatabase=None, copyFiles=False)
    """,
    "Slicer/Modules/Scripted/SampleData/SampleData.py": """
        SampleData.SampleDataLogic
        SampleData.SampleDataLogic.downloadMRHead()
        SampleData.SampleDataLogic.registerCustomSampleDataSource(category="", sampleName=None, uris=None,
            fileNames=None, nodeNames=None, customDownloader=None, thumbnailFileName=None, checksums=None)
    """,
    "Slicer/Libs/MRML/Widgets/qMRMLWidget.h": """
        qMRMLWidget.mrmlSceneChanged(vtkMRMLScene*)
        qMRMLWidget.setMRMLScene(newScene)
        qMRMLSegmentEditorWidget.setMRMLScene(newScene)
        qMRMLPlotWidget.setMRMLScene(newScene)
        qMRMLSegmentSelectorWidget.setMRMLScene(vtkMRMLScene*)
    """,
    "Slicer/Libs/MRML/Widgets/qMRMLNodeComboBox.h": """
        slicer.qMRMLNodeComboBox
        qMRMLNodeComboBox.addEnabled
        qMRMLNodeComboBox.currentNode()
        qMRMLNodeComboBox.currentNodeChanged(vtkMRMLNode*)
        qMRMLNodeComboBox.hideChildNodeTypes
        qMRMLNodeComboBox.nodeAddedByUser(vtkMRMLNode*)
        qMRMLNodeComboBox.nodeTypes
        qMRMLNodeComboBox.noneDisplay
        qMRMLNodeComboBox.noneEnabled
        qMRMLNodeComboBox.removeEnabled
        qMRMLNodeComboBox.renameEnabled
        qMRMLNodeComboBox.setCurrentNode(node)
        qMRMLNodeComboBox.setMRMLScene(vtkMRMLScene*)
    """,
    "Slicer/Libs/MRML/Widgets/qMRMLSegmentSelectorWidget.h": """
        qMRMLSegmentSelectorWidget.currentNode()
        qMRMLSegmentSelectorWidget.currentNodeChanged(vtkMRMLNode*)
        qMRMLSegmentSelectorWidget.currentSegmentChanged(QString)
        qMRMLSegmentSelectorWidget.currentSegmentID()
        qMRMLSegmentSelectorWidget.noneEnabled
        qMRMLSegmentSelectorWidget.setCurrentNode(node)
        qMRMLSegmentSelectorWidget.setCurrentSegmentID(segmentID)
        slicer.qMRMLSegmentSelectorWidget
    """,
    "Slicer/Libs/MRML/Widgets/qMRMLTableView.h": """
        slicer.qMRMLTableView
        qMRMLTableView.setMRMLScene(vtkMRMLScene*)
        qMRMLTableView.setMRMLTableNode(tableNode)
    """,
    "Slicer/Libs/MRML/Widgets/qMRMLPlotWidget.h": """
        slicer.qMRMLPlotWidget()
        qMRMLPlotWidget.mrmlPlotViewNode()
        qMRMLPlotWidget.plotController()
        qMRMLPlotWidget.setMRMLPlotViewNode(newPlotViewNode)
    """,
    "Slicer/Modules/Loadable/Segmentations/Widgets/qMRMLSegmentEditorWidget.h": """
        slicer.qMRMLSegmentEditorWidget()
        qMRMLSegmentEditorWidget.effectByName(name)
        qMRMLSegmentEditorWidget.installKeyboardShortcuts()
        qMRMLSegmentEditorWidget.maximumNumberOfUndoStates
        qMRMLSegmentEditorWidget.removeViewObservations()
        qMRMLSegmentEditorWidget.segmentationNodeSelectorVisible
        qMRMLSegmentEditorWidget.setActiveEffect(effect)
        qMRMLSegmentEditorWidget.setMRMLSegmentEditorNode(newSegmentEditorNode)
        qMRMLSegmentEditorWidget.setSegmentationNode(node)
        qMRMLSegmentEditorWidget.setSourceVolumeNode(node)
        qMRMLSegmentEditorWidget.setupViewObservations()
        qMRMLSegmentEditorWidget.sourceVolumeNodeSelectorVisible
        qMRMLSegmentEditorWidget.uninstallKeyboardShortcuts()
    """,
    "Slicer/Modules/Loadable/Segmentations/EditorEffects/qSlicerSegmentEditorAbstractEffect.h": """
        qSlicerSegmentEditorScriptedEffect.addLabeledOptionsWidget(label, newOptionsWidget)
        qSlicerSegmentEditorScriptedEffect.addOptionsWidget(newOptionsWidget)
        qSlicerSegmentEditorScriptedEffect.integerParameter(name)
        qSlicerSegmentEditorScriptedEffect.nodeReference(name)
        qSlicerSegmentEditorScriptedEffect.parameter(name)
        qSlicerSegmentEditorScriptedEffect.parameterDefined(name)
        qSlicerSegmentEditorScriptedEffect.parameterSetNode()
        qSlicerSegmentEditorScriptedEffect.setNodeReference(name, node)
        qSlicerSegmentEditorScriptedEffect.setParameter(name, value)
        qSlicerSegmentEditorScriptedEffect.setParameterDefault(name, value)
        qSlicerSegmentEditorScriptedEffect.sourceVolumeImageData()
        qSlicerSegmentEditorScriptedEffect.title
    """,
    "Slicer/Modules/Loadable/Segmentations/EditorEffects/qSlicerSegmentEditorScriptedEffect.h": """
        qSlicerSegmentEditorScriptedEffect.self()
        qSlicerSegmentEditorScriptedEffect.setPythonSource(newPythonSource)
        qSlicerSegmentationsEditorEffectsPythonQt.qSlicerSegmentEditorScriptedEffect(parent)
    """,
    "Slicer/Modules/Loadable/Segmentations/EditorEffects/Python/SegmentEditorEffects/"
    "AbstractScriptedSegmentEditorAutoCompleteEffect.py": """
        AbstractScriptedSegmentEditorAutoCompleteEffect.getPreviewNode()
        AbstractScriptedSegmentEditorAutoCompleteEffect.onCancel()
        AbstractScriptedSegmentEditorAutoCompleteEffect.onPreview()
        AbstractScriptedSegmentEditorAutoCompleteEffect.onSegmentationModified(caller, event)
        AbstractScriptedSegmentEditorAutoCompleteEffect.previewComputationInProgress
        AbstractScriptedSegmentEditorAutoCompleteEffect.selectedSegmentIds
        AbstractScriptedSegmentEditorAutoCompleteEffect.setMRMLDefaults()
        AbstractScriptedSegmentEditorAutoCompleteEffect.setupOptionsFrame()
        AbstractScriptedSegmentEditorAutoCompleteEffect.updateGUIFromMRML()
        SegmentEditorEffects.AbstractScriptedSegmentEditorAutoCompleteEffect
    """,
    "CTK/Libs/Widgets/ctkCollapsibleButton.h": """
        ctkCollapsibleButton.collapsed
        ctkCollapsibleButton.contentsCollapsed(bool)
    """,
    "CTK/Libs/Widgets/ctkPathLineEdit.h": """
        ctkPathLineEdit.currentPath
        ctkPathLineEdit.currentPathChanged(QString)
        ctkPathLineEdit.filters
        ctkPathLineEdit.settingKey
    """,
    "CTK/Libs/Widgets/ctkSliderWidget.h": """
        ctkSliderWidget.decimals
        ctkSliderWidget.maximum
        ctkSliderWidget.minimum
        ctkSliderWidget.pageStep
        ctkSliderWidget.singleStep
        ctkSliderWidget.value
        ctkSliderWidget.valueChanged(double)
    """,
    "SlicerPyTorch/PyTorchUtils/PyTorchUtils.py": """
        PyTorchUtils.PyTorchUtilsLogic()
        PyTorchUtils.PyTorchUtilsLogic.installTorch(torchVersionRequirement=None)
    """,
}


def entries(file: str) -> list[str]:
    """What the list tells of a file; an entry may go on after a comma."""
    lines = re.sub(r",\s*\n\s*", ", ", NAMES[file]).splitlines()
    return [line.strip() for line in lines if line.strip()]


def parameters(entry: str) -> list[str]:
    """The names of a call's parameters, or the types of a signal's, as they are written."""
    written = entry.removesuffix(")").partition("(")[2]
    return [part.partition("=")[0].strip(" *") for part in written.split(",") if part]


def main(checkouts: list[str]) -> int:
    """Print what the checkouts do not hold; the status is 0 if all is there."""
    folders = dict(zip(("Slicer", "CTK", "SlicerPyTorch"), map(Path, checkouts), strict=True))
    absent = []
    for file in NAMES:
        checkout, _, path = file.partition("/")
        text = (folders[checkout] / path).read_text(encoding="utf-8")
        absent += [entry for entry in entries(file) if not _isDeclared(entry, text)]
    print("\n".join(absent) or "all is there")
    return int(bool(absent))


def _isDeclared(entry: str, text: str) -> bool:
    """Whether a file of Python or C++ names it, perhaps with a prefix, and then in parentheses these parameters."""
    own = entry.partition("(")[0].rpartition(".")[2]
    found = re.findall(rf"\b(?:\w*_)?{own}\b(\([^)]*\))?", text)
    return any(all(re.search(rf"\b{each}\b", declared) for each in parameters(entry)) for declared in found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
