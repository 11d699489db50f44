"""Cases in parts for cross-validation: each part is held out once, and nobody is in two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import LLMBoostError


def folds(ids: Sequence[str], count: int, subjects: Mapping[str, str] | None = None, seed: int = 0) -> list[list[str]]:
    """``ids`` of cases in ``count`` parts about as large as each other, the same for the same seed in any order.

    Args:
        subjects: whom cases show, by their ids; cases of one subject stay together. Others show one of their own.

    Raises:
        LLMBoostError: fewer subjects than parts, or fewer than two parts.
    """
    if count < 2:
        raise LLMBoostError(f"{count} fold(s): cross-validation takes two or more")
    groups: dict[str, list[str]] = {}
    for id in sorted(ids):
        groups.setdefault((subjects or {}).get(id, id), []).append(id)
    if len(groups) < count:
        raise LLMBoostError(f"{count} folds need as many subjects, there are {len(groups)}; take fewer folds")
    order = np.random.default_rng(seed).permutation(len(groups))
    shuffled = [list(groups.values())[place] for place in order]
    parts: list[list[str]] = [[] for _ in range(count)]
    for group in sorted(shuffled, key=len, reverse=True):  # the largest first, then what fills up evenly
        min(parts, key=len).extend(group)
    return [sorted(part) for part in parts]
