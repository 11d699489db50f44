"""How good a network for new labels is, told by every case: networks like it, each without a part of the cases, segment
what they have not seen."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch

from ...card import Card, read_card
from ...errors import Cancelled, LLMBoostError
from ...io.dataset import Dataset, digest_of, read_dataset
from ...messages.words import FOLDS, LEAST_FOLDS
from ...model import load_model, save_model
from ...report import Training, write_report
from ..crossvalidation import OutOfFold, digests_of, folds_in, measure_folds, together
from ..folds import RESULT, SPLIT, folds, keep_split, train_folds, write_result
from ..train import Recipe, train
from ..trainingreport import REPORT
from .cases import task_of
from .common import NEW_LABELS, AdaptSettings, Control, Measured, Watching, adapter_entry
from .flow import read_adaptation
from .own import OwnNetwork
from .runs import Ended, Run, ended_run

PLACE = "folds"  # in a run's folder, while it is checked


@dataclass(frozen=True)
class CrossChecked:
    """The end of a cross-check.

    Attributes:
        card: of the file that was checked, with what was found.
        found: Dice of every case, by the network that has not seen it, on the images' own grids.
        folds: how many networks there were.
        seconds: that it took.
    """

    card: Card
    found: Measured
    folds: int
    seconds: float
    warnings: tuple[str, ...]


def check_folds(base: Card, folder: Path, settings: AdaptSettings, count: int) -> None:
    """Raises LLMBoostError if :func:`cross_check` would refuse, as far as that can be known without reading images."""
    if base.classification:
        raise LLMBoostError(f"model '{base.name}' classifies, and folds are for new labels that are to be segmented")
    dataset = read_dataset(folder)
    if (settings.task or task_of(base, dataset)) != NEW_LABELS:
        raise LLMBoostError(f"{folder}: has the labels of '{base.name}', and folds are for new labels; leave them out")
    learned = dataset.splits["train"] + dataset.splits["val"]
    unlisted = [case.id for case in dataset.cases.values() if case.id not in dataset.splits["test"]]
    listed = (folder / "splits.json").exists()
    _parts(dataset, [id for id in (learned if listed else unlisted) if dataset.cases[id].label], count, settings.seed)


def cross_check(
    base_path: Path,
    folder: Path,
    output: Path,
    settings: AdaptSettings,
    count: int | None = None,
    *,
    device: torch.device,
    **watching: Unpack[Watching],
) -> CrossChecked:
    """Tell by every case how good the network is that :func:`.flow.adapt` wrote to ``output``.

    ``count`` networks learn by the same plan in as many steps, each without one part of the cases, whole subjects, and
    are measured on that part. The network stays as it is; its card tells what was found, and the folder of its run has
    ``out_of_fold.json`` and ``report.html``. A killed check goes on when it is started again.

    Args:
        folder, settings: as they were for the training; a budget may be left out.
        count: by default as many as there are subjects, five at most.
        watching: see :class:`.common.Control`; there is no finishing early.

    Raises:
        LLMBoostError: no training of new labels ended there, its cases were changed, or there are fewer subjects.
        Cancelled: when asked to; then all is as it was.
    """
    control = Control(**watching)
    control.stage("reading the cases")
    base = load_model(base_path)
    adaptation = read_adaptation(base, folder, settings, device)
    if not isinstance(adaptation, OwnNetwork):
        raise LLMBoostError(f"{output}: folds are for networks that learned new labels; evaluate it on other cases")
    dataset = adaptation.data
    parts = _parts(dataset, adaptation.showing, count, settings.seed)
    with ended_run(output, adapter_entry(adaptation), adaptation) as run:
        assert run.ended is not None
        read_card(output)
        place, told = run.folder / PLACE, _plan(parts, run.ended)
        control.report({"event": "plan", "reasons": told, "labels": dataset.labels})
        try:
            found = _learned_without(adaptation, parts, place, run.ended.steps, device, control)
        except (Cancelled, LLMBoostError):
            shutil.rmtree(place, ignore_errors=True)
            raise
        card = _keep(found, dataset, output, run)
        write_report(run.folder / REPORT, card, found.result(card), together(found.seen), Training(plan=told))
        shutil.rmtree(place, ignore_errors=True)
    cases = tuple({"id": case["id"], "dice": case["dice"]} for case in found.cases)
    warnings = tuple(_unseen(found, dataset.labels))
    return CrossChecked(card, Measured(cases), len(parts), time.monotonic() - control.started, warnings)


def _parts(dataset: Dataset, ids: Sequence[str], count: int | None, seed: int) -> list[list[str]]:
    """The cases in parts; raises LLMBoostError if there are too few subjects, or too few parts are asked for."""
    subjects = len({dataset.subjects.get(id, id) for id in ids})
    if subjects < LEAST_FOLDS:
        raise LLMBoostError(
            f"{dataset.folder}: {subjects} subject(s) with labels, and checking on every case takes {LEAST_FOLDS}; add"
            " cases"
        )
    count = min(subjects, FOLDS) if count is None else count
    if not LEAST_FOLDS <= count <= subjects:
        raise LLMBoostError(f"{count} folds: of {subjects} subjects, take {LEAST_FOLDS} to {subjects}")
    return folds(ids, count, dataset.subjects, seed)


def _plan(parts: Sequence[Sequence[str]], ended: Ended) -> list[str]:
    fewest, most = min(map(len, parts)), max(map(len, parts))
    cases = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    minutes = len(parts) * ended.trained / 60
    return [
        f"{len(parts)} folds of {cases} case(s): as many networks learn without them, in {ended.steps} steps each, as"
        f" the model had: about {minutes:.1f} minutes, and measuring"
    ]


def _learned_without(
    adaptation: OwnNetwork,
    parts: Sequence[Sequence[str]],
    place: Path,
    steps: int,
    device: torch.device,
    control: Control,
) -> OutOfFold:
    """Train the networks in the folder ``place``, or go on there, and measure them."""
    plan, dataset = adaptation.plan, adaptation.data
    recipe = Recipe(replace(adaptation.config(None), steps=steps))
    digests = digests_of(dataset, adaptation.showing)
    place.mkdir(exist_ok=True)
    try:
        keep_split(place / SPLIT, parts, digests, recipe)
    except LLMBoostError:  # of a check that was killed, and was another one
        shutil.rmtree(place)
        place.mkdir()
        keep_split(place / SPLIT, parts, digests, recipe)
    every = folds_in(place, dataset, adaptation.every, parts)
    watched: dict[str, Callable[..., Any]] = {"report": control.report, "cancelled": control.cancelled}
    train_folds(every, partial(train, recipe=recipe, plan=plan, device=device), **watched)
    return measure_folds(every, device, **watched)


def _keep(found: OutOfFold, dataset: Dataset, output: Path, run: Run) -> Card:
    """Write what was found into the model's card, and case by case beside it; the weights stay as they are."""
    run.check_output()
    model, ended = load_model(output), run.ended
    assert ended is not None
    worst = {
        value: min(dice)
        for value in found.summary["dice"]
        if (dice := [one for case in found.cases if (one := case["dice"].get(value)) is not None])
    }
    card = replace(
        model.card,
        figures={**model.card.figures, **found.figures, "out_of_fold_worst_dice_per_label": worst},
        training={
            **model.card.training,
            "cross_check": {  # cases as digests, for ids may be names of patients
                "folds": len(found.models),
                "steps": ended.steps,
                "dice": {digest_of(dataset.cases[case["id"]])[:16]: case["dice"] for case in found.cases},
            },
        },
    )
    card = save_model(model.network, card, output)
    run.end(ended.steps, ended.seconds, ended.trained)
    write_result(run.folder / RESULT, found.result(card))
    return card


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
