"""Sentences that count: one form for one, one for more, for Slicer's ``tr`` is given no number."""

from __future__ import annotations


def counted(count: int, one: str, more: str) -> str:
    """One of two translated sentences, with the number in place of ``{count}``; other marks stay as they are."""
    return (one if count == 1 else more).replace("{count}", str(count))
