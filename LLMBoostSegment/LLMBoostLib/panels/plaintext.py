"""Texts of nodes, files and workers on the screen: shown as they are written, whatever HTML they look like.

Qt takes a text for HTML if it looks like it, where nothing says what it is. Labels say so in the .ui files, rows of
lists, tables and combo boxes are plain always; message boxes and tool tips are what is left.
"""

from __future__ import annotations

from html import escape
from typing import Any

import slicer

TITLE = "LLMBoost"


def tip(text: str) -> str:
    """For a tool tip, which cannot be told to be plain."""
    if "<" not in text and "&" not in text:
        return text
    return f'<p style="white-space: pre-wrap">{escape(text)}</p>'


def boxOptions() -> dict[str, Any]:
    """Further arguments of slicer.util's functions that show a message box."""
    import qt  # not there in sessions without windows

    return {"windowTitle": TITLE, "textFormat": qt.Qt.PlainText}


def confirmed(question: str) -> bool:
    """Ask a question of yes or no."""
    return bool(slicer.util.confirmYesNoDisplay(question, **boxOptions()))
