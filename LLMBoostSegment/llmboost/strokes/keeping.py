"""What strokes have taught a model, as an adapter that is used like any other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..card import Adapter, Card
from ..io.image import Image
from ..learn.adaptation.common import IMPROVE, better_goal, where_to_keep
from ..learn.provenance import made_with
from ..learn.train import check_free
from ..model import save_tensors
from .teach import RANK, RATE, STEPS, Taught


def keep(
    taught: Taught, channels: Sequence[Image], strokes: int, base: Path, output: Path
) -> tuple[Card, tuple[str, ...]]:
    """Write an adapter of the model at ``base``, whole or not at all.

    Args:
        taught: what is kept.
        channels: that were painted in; of them, no more than a digest is kept.
        strokes: how many there were.

    Returns:
        the card, and what a user should know.

    Raises:
        LLMBoostError: there is a file already, or it cannot be written.
    """
    check_free(output)
    known = taught.model.card
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(one.array).data for one in channels)).hexdigest()
    adapter = Adapter(
        base=known.name,
        base_version=known.version,
        base_digest=known.digest,
        rank=RANK,
        cases=(digest,),
        settings={"task": IMPROVE, "strokes": strokes, "steps": STEPS, "rate": RATE, "share": taught.share},
    )
    card = replace(
        better_goal(known, f"{strokes} stroke(s) in 1 image"),
        name=output.stem,
        training={"base": known.training, "strokes": strokes, "train_cases": 1, **made_with()},
        figures={},
        adapter=adapter,
        subject=None,  # what it draws in is now its user's choice
    )
    card = save_tensors(taught.tensors, card, output)
    return card, tuple(where_to_keep(base, adapter, output))
