"""LLMBoost's engine: boosted networks for medical images. Importing it imports nothing heavy: the public names below
load what they need when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import (
        adapt,
        classify,
        evaluate,
        explain,
        load_model,
        read_image,
        segment,
        train,
        write_segmentation,
    )

__version__ = "0.2.0"
__all__ = [
    "adapt",
    "classify",
    "evaluate",
    "explain",
    "load_model",
    "read_image",
    "segment",
    "train",
    "write_segmentation",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
