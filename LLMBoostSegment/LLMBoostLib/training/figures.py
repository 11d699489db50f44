"""Figures that may say nothing, and how they are shown."""

from __future__ import annotations

import math
from typing import Any


def finite(value: Any) -> float | None:
    """A figure that says something; None for NaN, infinity and what is no number."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def shown(value: Any) -> str:
    """A figure as the tables show it."""
    number = finite(value)
    return "–" if number is None else f"{number:.2f}"


def change(before: Any, after: Any) -> str:
    """Two figures, of which one or both may not have been measured."""
    texts = [shown(value) for value in (before, after)]
    return " → ".join(texts) if texts != ["–", "–"] else "–"
