"""DICOM: finding and reading series and pictures, and writing segmentations of them and what they measure."""

from .measurements import write_dicom_sr
from .pictures import are_pictures, read_pictures
from .segmentation import lies_on, write_dicom_seg
from .series import Series, choose_series, find_series, read_series
from .studies import Study, find_studies

__all__ = [
    "Series",
    "Study",
    "are_pictures",
    "choose_series",
    "find_series",
    "find_studies",
    "lies_on",
    "read_pictures",
    "read_series",
    "write_dicom_seg",
    "write_dicom_sr",
]
