"""With what a model was trained, as its card and its checkpoint tell."""

from __future__ import annotations

from datetime import UTC, datetime

import torch

from .. import __version__


def versions() -> dict[str, str]:
    """The versions that a model was trained with."""
    return {"llmboost": __version__, "torch": torch.__version__.split("+")[0]}


def made_with() -> dict[str, str]:
    """When and with which versions a model was trained, for its card."""
    return {"date": datetime.now(UTC).date().isoformat(), **versions()}
