"""Many cases: one result a case, a summary of all, and no case that stops the others."""

from .classifying import ClassifyOptions, ClassifyRow, classify_cases
from .segmenting import FORMATS, SegmentOptions, SegmentRow, segment_cases
from .stroking import FORMATS as STROKES_FORMATS
from .stroking import StrokesOptions, StrokesRow, StrokesSource, stroke_cases
from .summary import FAILED, OK, REFUSED, Row

__all__ = [
    "FAILED",
    "FORMATS",
    "OK",
    "REFUSED",
    "STROKES_FORMATS",
    "ClassifyOptions",
    "ClassifyRow",
    "Row",
    "SegmentOptions",
    "SegmentRow",
    "StrokesOptions",
    "StrokesRow",
    "StrokesSource",
    "classify_cases",
    "segment_cases",
    "stroke_cases",
]
