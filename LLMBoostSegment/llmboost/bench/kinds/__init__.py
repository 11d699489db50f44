"""Kinds of experiments, a module each: ``run`` runs a row, ``MEASURES`` tell what is compared.

A module of this package has

- ``MEASURES``, a tuple of :class:`Measure`, the one that decides first;
- ``run(row, context)``, which runs a row {"id", "arm", "seed", "settings"} and returns its figures::

      {"val": 0.86,                          what tuning chooses by: more is better
       "cases": [{"id": "a", "subject": "a", "dice": 0.86, ...}, ...],   what the measures are computed from
       "numbers": {"seconds a case": 0.4}}   whatever else the table should tell, a number each

All arms measure the same cases.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import LLMBoostError

if TYPE_CHECKING:
    import torch

Cases = Sequence[Mapping[str, Any]]
# of cases and weights (draws, cases), the measure in each draw (draws,)
Statistic = Callable[[Cases, NDArray[np.float64]], NDArray[np.float64]]
T = TypeVar("T")


@dataclass(frozen=True)
class Measure:
    """A figure of a row.

    ``of`` computes it from cases that count as often as their weights say; without it, the figure is the mean of the
    cases' entry ``name``, of which None (or none) counts as undefined and is left out. ``better``: "higher" or "lower".
    """

    name: str
    title: str
    better: str = "higher"
    of: Statistic | None = None

    def __call__(self, cases: Cases, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.of is not None:
            return self.of(cases, weights)
        values = np.array([case.get(self.name) for case in cases], dtype=np.float64)
        defined = ~np.isnan(values)
        counts = weights @ defined
        return np.divide(
            weights @ np.where(defined, values, 0), counts, out=np.full(len(weights), np.nan), where=counts > 0
        )


@dataclass(frozen=True)
class Context:
    """Where a row runs: the folder of data, an empty folder for its files, the device; ``report`` hears of progress."""

    data: Path
    folder: Path
    device: torch.device
    report: Callable[[dict[str, Any]], None] = lambda event: None


class Kind(Protocol):
    """A module of this package."""

    MEASURES: tuple[Measure, ...]

    def run(self, row: Mapping[str, Any], context: Context) -> dict[str, Any]: ...


def load_kind(name: str) -> Kind:
    """The module of that name.

    Raises:
        LLMBoostError: there is none.
    """
    known = sorted(module.name for module in pkgutil.iter_modules(__path__))
    if name not in known:
        raise LLMBoostError(f"kind '{name}' of experiment: unknown; use one of {', '.join(known)}")
    module: Any = importlib.import_module(f".{name}", __package__)
    return module


def settings_of(row: Mapping[str, Any], kind: type[T]) -> T:
    """A row's settings as the dataclass ``kind``.

    Raises:
        LLMBoostError: a setting is unknown or missing.
    """
    try:
        return kind(**row["settings"])
    except TypeError as error:
        known = ", ".join(field.name for field in fields(kind))  # type: ignore[arg-type]
        raise LLMBoostError(f"row '{row['id']}': {error}; settings are {known}") from error
