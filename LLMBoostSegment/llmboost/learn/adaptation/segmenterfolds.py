"""Networks for new labels, each without a part of the cases, see :mod:`.crosscheck`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...io.dataset import digest_of
from ..crossvalidation import OutOfFold, digests_of, holding_out, measure_folds, together
from ..folds import folds, folds_in, keep_split, train_folds
from ..train import Recipe, train
from .common import Found, Measured
from .own import OwnNetwork
from .runs import Ended


class SegmenterFolds:
    """A :class:`.crosscheck.Check`."""

    def __init__(self, adaptation: OwnNetwork) -> None:
        self._adaptation, self._dataset = adaptation, adaptation.data
        self.labels = adaptation.data.labels
        subjects = adaptation.data.subjects
        self.subjects = len({subjects.get(id, id) for id in adaptation.showing})

    def parts(self, count: int) -> list[list[str]]:
        return folds(self._adaptation.showing, count, self._dataset.subjects, self._adaptation.settings.seed)

    def keep_split(self, path: Path, parts: Sequence[Sequence[str]], ended: Ended) -> None:
        keep_split(path, parts, digests_of(self._dataset, self._adaptation.showing), self._recipe(ended))

    def learned_without(
        self, parts: Sequence[Sequence[str]], place: Path, ended: Ended, **watched: Callable[..., Any]
    ) -> Found:
        adaptation, dataset = self._adaptation, self._dataset
        every = folds_in(place, parts, partial(holding_out, dataset, adaptation.every))
        training = partial(train, recipe=self._recipe(ended), plan=adaptation.plan, device=adaptation.device)
        train_folds(every, training, **watched)
        found = measure_folds(every, adaptation.device, **watched)
        # cases as digests, for ids may be names of patients
        dice = {digest_of(dataset.cases[case["id"]])[:16]: case["dice"] for case in found.cases}
        return Found(
            Measured(tuple({"id": case["id"], "dice": case["dice"]} for case in found.cases)),
            len(found.cases),
            {**found.figures, "out_of_fold_worst_dice_per_label": _worst(found)},
            {"dice": dice},
            found.result,
            together(found.seen),
            warnings=tuple(_unseen(found, dataset.labels)),
        )

    def _recipe(self, ended: Ended) -> Recipe:
        return Recipe(replace(self._adaptation.config(None), steps=ended.steps))


def _worst(found: OutOfFold) -> dict[str, float]:
    """The smallest Dice of each label, by value."""
    return {
        value: min(dice)
        for value in found.summary["dice"]
        if (dice := [one for case in found.cases if (one := case["dice"].get(value)) is not None])
    }


def _unseen(found: OutOfFold, labels: Mapping[int, str]) -> list[str]:
    """Of labels that the cases of one fold alone show, for which the network that was to draw them there had no
    teacher."""
    shown = {
        name: {case["fold"] for case in found.cases if case["reference_ml"].get(str(value))}
        for value, name in labels.items()
    }
    alone = [name for name, where in shown.items() if len(where) == 1]
    text = "only the cases of one fold show it, so its figure says nothing: no other case could teach it; add cases"
    return [f"{', '.join(alone)}: {text}"] if alone else []
