"""The parameters of LLMBoost Segment."""

import slicer
from slicer.parameterNodeWrapper import parameterNodeWrapper

from ..panels.devicechoice import Device


@parameterNodeWrapper
class LLMBoostSegmentParameterNode:
    """What the panel remembers, saved with the scene; hence neither a command nor a file's path.

    Attributes:
        inputVolume, inputVolume2, inputVolume3, inputVolume4: the images, as many as the model takes.
        inputSegmentation, inputSegmentID: the segment, for a model that takes masks.
        sliceView: for a 2D model, the name of the view whose slice it is given; empty: all slices.
        model: its name in the library.
        allOfStudy: all volumes of the image's study, or folder, that suit the model.
        allFrames: of an image that shows a sequence, all time points.
        roi: limits the computation.
        outputSegmentation: gets the segments; None: a new one does.
        device: what computes.
        fast: with a larger step from patch to patch.
        uncertainty: also make a map of the entropy.
        explanation: also make a map of where the model looked.
    """

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    inputVolume2: slicer.vtkMRMLScalarVolumeNode
    inputVolume3: slicer.vtkMRMLScalarVolumeNode
    inputVolume4: slicer.vtkMRMLScalarVolumeNode
    inputSegmentation: slicer.vtkMRMLSegmentationNode
    inputSegmentID: str = ""
    sliceView: str = ""
    model: str = "hippocampus"
    allOfStudy: bool = False
    allFrames: bool = False
    roi: slicer.vtkMRMLMarkupsROINode
    outputSegmentation: slicer.vtkMRMLSegmentationNode
    device: Device = Device.AUTO
    fast: bool = False
    uncertainty: bool = False
    explanation: bool = False
