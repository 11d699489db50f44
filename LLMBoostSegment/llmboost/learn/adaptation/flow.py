"""From a base model and a few local cases to an adapter file, within minutes."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import torch

from ...card import CLASSIFICATION, SEGMENTATION, Card
from ...card.figures import ADVICE
from ...errors import Cancelled, LLMBoostError
from ...io.dataset import Dataset, read_dataset
from ...messages.words import StopReason
from ...model import Model, load_model, save_tensors
from ..curve import draw_curve
from ..forecast import forecast
from ..train import check_free
from ..trainer import CHECKPOINT, Outcome, Score, Trainer, now
from .cases import read_cases, task_of
from .common import (
    MINUTES,
    NEW_LABELS,
    OWN,
    Adaptation,
    Adapted,
    AdaptSettings,
    Control,
    Measured,
    Watching,
    adapted_card,
    adapter_entry,
    where_to_keep,
)
from .lora import default_scope, layer_by_layer
from .runs import Run, run_of, training_minutes


def adapt(
    base_path: Path,
    folder: Path,
    output: Path,
    settings: AdaptSettings,
    *,
    device: torch.device,
    old: Path | None = None,
    resume: bool = False,
    **watching: Unpack[Watching],
) -> Adapted:
    """Train an adapter of the model at ``base_path``, or for new labels a network of its own, on the data ``folder``
    and write it to ``output``.

    How cases are held out is told at :mod:`.cases`, what is kept at :class:`.segmenter.SegmenterAdapter`,
    :class:`.own.OwnNetwork` and :class:`.classifier.ClassifierAdapter`. A killed run is continued when it is started
    again. Log, checkpoint and curve lie in a folder named after ``output`` with ``.run`` for its extension.

    Args:
        folder: a data set folder; of a classifier, labeled images as :func:`llmboost.io.imageset.read_image_set` reads.
        old: a data set of a segmenter's own, to tell what it unlearned: the split "val" is measured before and after.
        resume: go on with the run that wrote ``output``, which is then replaced. The budget is that of the whole.
        watching: see :class:`.common.Control`.

    Raises:
        LLMBoostError: anything wrong with base, data or output, or a training that cannot go on.
        Cancelled: when asked to.
    """
    control = Control(**watching)
    started = now(settings.clock) - (time.monotonic() - control.started)
    check_free(output, resume)
    control.stage("reading the cases")
    base = load_model(base_path)
    adaptation = read_adaptation(base, folder, settings, device, old)
    entry = adapter_entry(adaptation)
    with run_of(output, entry, adaptation, resume) as run, layer_by_layer():
        _tell_plan(adaptation, run, control)
        if control.cancelled():
            raise Cancelled
        control.stage("measuring the base")
        start = adaptation.begin()
        network, before = start.network, start.before
        elapsed = now(settings.clock) - started
        minutes = training_minutes(settings, run.ended, elapsed, adaptation.afterwards(elapsed, start.measuring))
        task, watched = adaptation.training(network, minutes), (control.report, control.cancelled)
        trainer = Trainer(network, task, run.folder, device, *watched, finishing=control.finishing)
        trainer.known = _score(before, adaptation)
        control.stage("training")
        outcome, stopped = _train(trainer, run, control)
        control.stage("measuring the result")
        end = adaptation.conclude(network, before)
        advice = adaptation.advice(end.after)
        goal = adaptation.describe(end, before)
        olds = {} if start.old is None else {"old_before": start.old, "old_after": end.old}
        told = {"advice": advice} if advice else {}
        goal = replace(goal, figures={**goal.figures, **olds, "held_out": adaptation.counts[1], **told})
        draw_curve(run.folder, adaptation.labels)
        seconds = run.spent + now(settings.clock) - started
        training: dict[str, Any] = {"steps": outcome.steps, "minutes": round(seconds / 60, 2)}
        if base.card.task == SEGMENTATION:  # as digests, for ids may be names of patients
            training["held_out"] = list(adaptation.identity["validation cases"].values())
        card = adapted_card(adaptation, goal, end.network, output, training)
        run.check_output()
        card = save_tensors(end.tensors, card, output)
        run.end(outcome.steps, seconds, trainer.seconds)
    warnings = [*adaptation.warnings, *([f"{card.doubts}; {ADVICE}"] if card.doubts else [])]
    warnings += where_to_keep(base_path, card.adapter, output) if card.adapter else []
    figures = (before, end.after, start.old, end.old)
    return Adapted(card, *figures, outcome.steps, seconds, stopped, tuple(warnings), tuple(advice))


def _tell_plan(adaptation: Adaptation, run: Run, control: Control) -> None:
    reasons, settings = list(adaptation.reasons()), adaptation.settings
    if settings.scope == OWN and settings.steps is None:
        cases, minutes = sum(adaptation.counts), settings.minutes or MINUTES
        outlook = forecast(cases, minutes, len(adaptation.labels))
        reasons += [outlook] if outlook else []
    if (run.folder / CHECKPOINT).exists():
        reasons.append("goes on with the run that ended" if run.ended else "continues the run that was stopped")
    held_out = list(adaptation.identity["validation cases"])
    control.report({"event": "plan", "reasons": reasons, "labels": adaptation.labels, "held_out": held_out})


def _score(before: Measured, adaptation: Adaptation) -> Score | None:
    """What a validation before the first step would find once more; None where that is not known."""
    if before.mean_dice is None or (isinstance(adaptation.data, Dataset) and adaptation.data.regions):
        return None
    labels = {str(value): before.label_dice.get(str(value)) for value in adaptation.labels}
    return Score(before.mean_dice, {"dice": before.mean_dice}, labels)


def read_adaptation(
    base: Model, folder: Path, settings: AdaptSettings, device: torch.device, old: Path | None = None
) -> Adaptation:
    """What is learned, from which cases, and how: all cases are read here."""
    if not base.card.adaptable:
        raise LLMBoostError(f"model '{base.card.name}' {_why_not(base.card)}")
    if base.card.task == CLASSIFICATION:
        from .classifier import ClassifierAdapter

        return ClassifierAdapter(base, folder, settings, device)
    from .own import OwnNetwork
    from .segmenter import SegmenterAdapter

    dataset = read_dataset(folder)
    aim = settings.task or task_of(base.card, dataset)
    scope = settings.scope or (OWN if aim == NEW_LABELS else default_scope(base.network))
    settings, cases = replace(settings, scope=scope), read_cases(dataset)
    if scope == OWN:
        return OwnNetwork(base, cases, settings, device)
    return SegmenterAdapter(base, cases, aim, settings, device, old)


def _why_not(card: Card) -> str:
    """Why a model cannot be adapted, and what to do."""
    if card.is_ensemble:
        one = "import one fold of it" if card.origin else "adapt one of the models in it"
        return f"is an ensemble, which cannot be adapted; {one}"
    return "is a classifier of another program, which cannot be adapted; adapt another one"


def _train(trainer: Trainer, run: Run, control: Control) -> tuple[Outcome, StopReason]:
    """Fill the trainer's network with the best weights; returns the training's end, and why it ended, see
    :class:`.common.Adapted`.

    Raises:
        Cancelled: when asked to.
    """
    if (run.folder / CHECKPOINT).exists():
        trainer.resume(check_budget=False)  # the run's own description tells it; minutes are what is left of them
    if run.ended:  # with a larger budget, of which less is spent than of the former one
        trainer.stale = 0
    outcome = trainer.run()
    if control.cancelled():
        raise Cancelled
    budget = StopReason.BUDGET if trainer.fraction >= 1 else StopReason.EARLY
    stopped = StopReason.FINISH if control.finishing() else budget
    trainer.network.load_state_dict({**trainer.network.state_dict(), **outcome.state})
    return outcome, stopped
