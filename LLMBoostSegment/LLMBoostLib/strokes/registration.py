"""The effect "LLMBoost strokes" among those that every Segment Editor takes."""

from __future__ import annotations

from pathlib import Path

NAME = "LLMBoost strokes"  # not translated: effects are found by it
SOURCE = Path(__file__).with_name("SegmentEditorEffect.py")


def register() -> None:
    """Offer the effect to all editors, those that are there already, too."""
    try:
        import qSlicerSegmentationsEditorEffectsPythonQt as effects
    except ImportError:  # an application without the Segment Editor
        return
    scriptedEffect = effects.qSlicerSegmentEditorScriptedEffect(None)
    scriptedEffect.setPythonSource(SOURCE.as_posix())
    scriptedEffect.self().register()
