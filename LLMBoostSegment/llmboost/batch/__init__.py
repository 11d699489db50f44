"""Many cases: one result a case, a summary of all, and no case that stops the others.

Segmenting from strokes, from which models learn, is not among what is imported here: using a model needs no training.
"""

from .classifying import ClassifyOptions, ClassifyRow, classify_cases
from .segmenting import FORMATS, SegmentOptions, SegmentRow, segment_cases
from .summary import FAILED, OK, REFUSED, Row

__all__ = [
    "FAILED",
    "FORMATS",
    "OK",
    "REFUSED",
    "ClassifyOptions",
    "ClassifyRow",
    "Row",
    "SegmentOptions",
    "SegmentRow",
    "classify_cases",
    "segment_cases",
]
