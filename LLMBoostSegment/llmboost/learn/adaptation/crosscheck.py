"""How good what was adapted is, told by every case: networks like it, each without a part of the cases, are measured on
what they have not seen."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Unpack

import safetensors.torch
import torch

from ...card import Card, read_card
from ...errors import Cancelled, LLMBoostError
from ...io.dataset import read_dataset
from ...io.imageset import read_image_set
from ...messages.words import FOLDS, LEAST_FOLDS
from ...model import load_model, save_tensors
from ...report import Training, write_report
from ..classification.crossvalidation import undivided
from ..folds import RESULT, SPLIT, write_result
from ..trainingreport import REPORT
from .cases import task_of
from .classifier import ClassifierAdapter
from .classifierfolds import ClassifierFolds
from .common import NEW_LABELS, AdaptSettings, Control, Found, Measured, Watching, adapter_entry
from .flow import read_adaptation
from .own import OwnNetwork
from .runs import Ended, Run, ended_run
from .segmenterfolds import SegmenterFolds

PLACE = "folds"  # in a run's folder, while it is checked


@dataclass(frozen=True)
class CrossChecked:
    """The end of a cross-check.

    Attributes:
        card: of the file that was checked, with what was found.
        found: Dice of every case, by the network that has not seen it, on the images' own grids; of a classifier, the
            AUC over all images, each by the network that has not seen it.
        before: of a classifier that got better at its own classes, the same of its base.
        count: of the cases.
        folds: how many networks there were.
        seconds: that it took.
    """

    card: Card
    found: Measured
    before: Measured
    count: int
    folds: int
    seconds: float
    warnings: tuple[str, ...]


class Check(Protocol):
    """What differs between the checks of segmenters and of classifiers.

    Attributes:
        labels: names of what was learned, by value.
        subjects: how many there are, each of whose cases are in one part.
    """

    labels: dict[int, str]
    subjects: int

    def parts(self, count: int) -> list[list[str]]:
        """The ids of the cases in so many parts."""

    def keep_split(self, path: Path, parts: Sequence[Sequence[str]], ended: Ended) -> None:
        """See :func:`..folds.keep_split`."""

    def learned_without(
        self, parts: Sequence[Sequence[str]], place: Path, ended: Ended, **watched: Callable[..., Any]
    ) -> Found:
        """Train the networks in the folder ``place``, or go on there, and measure them."""


def check_folds(base: Card, folder: Path, settings: AdaptSettings, count: int) -> None:
    """Raises LLMBoostError if :func:`cross_check` would refuse, as far as that can be known without reading images."""
    if base.classification:
        _counted(folder, len(undivided(read_image_set(folder)).splits["train"]), count)
        return
    dataset = read_dataset(folder)
    if (settings.task or task_of(base, dataset)) != NEW_LABELS:
        raise LLMBoostError(f"{folder}: has the labels of '{base.name}', and folds are for new labels; leave them out")
    learned = dataset.splits["train"] + dataset.splits["val"]
    unlisted = [case.id for case in dataset.cases.values() if case.id not in dataset.splits["test"]]
    listed = (folder / "splits.json").exists()
    labeled = [id for id in (learned if listed else unlisted) if dataset.cases[id].label]
    _counted(folder, len({dataset.subjects.get(id, id) for id in labeled}), count)


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
    """Tell by every case how good the network for new labels, or the classifier is that :func:`.flow.adapt` wrote to
    ``output``.

    ``count`` networks learn by the same plan in as many steps, each without one part of the cases, whole subjects, and
    are measured on that part. The network stays as it is; its card tells what was found, and the folder of its run has
    ``out_of_fold.json`` and ``report.html``. A killed check goes on when it is started again.

    Args:
        folder, settings: as they were for the training; a budget may be left out.
        count: by default as many as there are subjects, five at most.
        watching: see :class:`.common.Control`; there is no finishing early.

    Raises:
        LLMBoostError: no such training ended there, its cases were changed, there are fewer subjects, or several
            classes may be true of an image.
        Cancelled: when asked to; then all is as it was.
    """
    control = Control(**watching)
    control.stage("reading the cases")
    base = load_model(base_path)
    adaptation = read_adaptation(base, folder, settings, device)
    check: Check
    if isinstance(adaptation, OwnNetwork):
        check = SegmenterFolds(adaptation)
    elif isinstance(adaptation, ClassifierAdapter):
        check = ClassifierFolds(adaptation)
    else:
        raise LLMBoostError(f"{output}: folds are for networks that learned new labels; evaluate it on other cases")
    parts = check.parts(_counted(folder, check.subjects, count))
    with ended_run(output, adapter_entry(adaptation), adaptation) as run:
        assert run.ended is not None
        read_card(output)
        place, told = run.folder / PLACE, _plan(parts, run.ended)
        control.report({"event": "plan", "reasons": told, "labels": check.labels})
        _begin(check, parts, place, run.ended)
        try:
            watched: dict[str, Callable[..., Any]] = {"report": control.report, "cancelled": control.cancelled}
            found = check.learned_without(parts, place, run.ended, **watched)
        except (Cancelled, LLMBoostError):
            shutil.rmtree(place, ignore_errors=True)
            raise
        card, result = _keep(found, len(parts), output, run)
        write_report(run.folder / REPORT, card, result, found.observed, Training(plan=told))
        shutil.rmtree(place, ignore_errors=True)
    seconds = time.monotonic() - control.started
    return CrossChecked(card, found.measured, found.before, found.count, len(parts), seconds, found.warnings)


def _counted(folder: Path, subjects: int, count: int | None) -> int:
    """How many parts there are to be; raises LLMBoostError if there are too few subjects, or too few parts are asked
    for."""
    if subjects < LEAST_FOLDS:
        raise LLMBoostError(
            f"{folder}: {subjects} subject(s) with labels, and checking on every case takes {LEAST_FOLDS}; add cases"
        )
    count = min(subjects, FOLDS) if count is None else count
    if not LEAST_FOLDS <= count <= subjects:
        raise LLMBoostError(f"{count} folds: of {subjects} subjects, take {LEAST_FOLDS} to {subjects}")
    return count


def _plan(parts: Sequence[Sequence[str]], ended: Ended) -> list[str]:
    fewest, most = min(map(len, parts)), max(map(len, parts))
    cases = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    minutes = len(parts) * ended.trained / 60
    return [
        f"{len(parts)} folds of {cases} case(s): as many networks learn without them, in {ended.steps} steps each, as"
        f" the model had: about {minutes:.1f} minutes, and measuring"
    ]


def _begin(check: Check, parts: Sequence[Sequence[str]], place: Path, ended: Ended) -> None:
    """Write down what is trained on what; what a killed check of another kind has left goes."""
    place.mkdir(exist_ok=True)
    try:
        check.keep_split(place / SPLIT, parts, ended)
    except LLMBoostError:
        shutil.rmtree(place)
        place.mkdir()
        check.keep_split(place / SPLIT, parts, ended)


def _keep(found: Found, folds: int, output: Path, run: Run) -> tuple[Card, dict[str, Any]]:
    """Write what was found into the model's card, and case by case beside it; the weights stay as they are."""
    run.check_output()
    card, ended = read_card(output), run.ended
    assert ended is not None
    check = {"folds": folds, "steps": ended.steps, **found.training}
    card = replace(card, figures={**card.figures, **found.figures}, training={**card.training, "cross_check": check})
    card = save_tensors(safetensors.torch.load_file(output), card, output)
    run.end(ended.steps, ended.seconds, ended.trained)
    return card, write_result(run.folder / RESULT, card, found.result)
