"""The parts of the body in the user's words."""

from __future__ import annotations

from slicer.i18n import tr as _


def titles() -> list[str]:
    """In the order of :data:`llmboost.card.bodyparts.PARTS`."""
    return [
        _("Head"),
        _("Neck"),
        _("Chest"),
        _("Abdomen"),
        _("Pelvis"),
        _("Spine"),
        _("Limbs"),
        _("Whole body"),
        _("Other"),
    ]
