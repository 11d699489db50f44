"""A headless stand-in for the application Slicer, on the real MRML of slicer-core: no Qt, no display.

Real: the MRML scene with its nodes, application and module logics, displayable managers, and slicer/util.py.
Stand-ins: slicer.app, slicer.modules, slicer.ScriptedLoadableModule, slicer.i18n, slicer.parameterNodeWrapper and the
event loop. What passes here was not run in the application.
"""

from .loop import EventLoop
from .session import Session, emptySession, start
from .views import SliceView, ThreeDView, mosaic

__all__ = ["EventLoop", "Session", "SliceView", "ThreeDView", "emptySession", "mosaic", "start"]
