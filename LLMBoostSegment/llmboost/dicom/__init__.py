"""DICOM: finding and reading series, and writing segmentations of them."""

from .segmentation import write_dicom_seg
from .series import Series, choose_series, find_series, read_series

__all__ = ["Series", "choose_series", "find_series", "read_series", "write_dicom_seg"]
