"""The functional groups of enhanced multi-frame DICOM images: which macro tells which element of a frame.

Private sequences may repeat any public element, with other values; so may public sequences that tell of other images.
Hence elements are taken from where the standard (PS3.3 C.7.6.16.2 and C.8) puts them, and from nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset

# what a file says of one frame: keyword of DICOM -> value
Header = dict[str, Any]

FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")

_MACROS = {
    # geometry and values
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    # kinds of images
    "CTImageFrameTypeSequence": ("FrameType",),
    "MRImageFrameTypeSequence": ("FrameType", "ComplexImageComponent"),
    "MRSpectroscopyFrameTypeSequence": ("FrameType",),
    "PETFrameTypeSequence": ("FrameType",),
    "XRay3DFrameTypeSequence": ("FrameType",),
    "ParametricMapFrameTypeSequence": ("FrameType",),
    "CTReconstructionSequence": ("ConvolutionKernel",),
    "CTXRayDetailsSequence": ("KVP",),
    "MREchoSequence": ("EffectiveEchoTime",),
    "MRModifierSequence": ("InversionTimes",),
    "MRTimingAndRelatedParametersSequence": ("FlipAngle",),
    "MRDiffusionSequence": ("DiffusionBValue", "DiffusionGradientDirectionSequence"),
    "DiffusionGradientDirectionSequence": ("DiffusionGradientOrientation",),
    "MRArterialSpinLabelingSequence": ("ASLContext",),
    # times
    "FrameContentSequence": ("TemporalPositionIndex", "FrameAcquisitionNumber", "FrameAcquisitionDateTime"),
    "TemporalPositionSequence": ("TemporalPositionTimeOffset",),
    "CardiacSynchronizationSequence": ("NominalPercentageOfCardiacPhase", "NominalCardiacTriggerDelayTime"),
    "RespiratorySynchronizationSequence": ("NominalPercentageOfRespiratoryPhase",),
}
# images that were converted from classic ones keep there what no macro has room for
_CONVERTED = ("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")
_MACROS |= dict.fromkeys(
    _CONVERTED,
    (
        *("ConvolutionKernel", "KVP", "EchoTime", "EchoNumbers", "InversionTime", "FlipAngle"),
        *("TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime", "FrameReferenceTime", "AcquisitionTime"),
    ),
)


def elements_of(group: Dataset, names: Sequence[str] = tuple(_MACROS)) -> Header:
    """What a functional group says, by keyword, as if its macros' elements were its own; nothing that is empty."""
    told: Header = {}
    for name in names:
        value = group.get(name)
        if name in _MACROS:
            for item in (value or [])[:1]:  # the standard allows one
                told |= elements_of(item, _MACROS[name])
        elif value not in (None, "", []):
            told[name] = value
    return told
