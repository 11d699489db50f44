"""From a base model and a few local cases to an adapter file, within minutes."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor, nn

from ...adapter import merged
from ...card import CLASSIFICATION, SEGMENTATION
from ...card.figures import ADVICE
from ...errors import Cancelled, LLMBoostError
from ...messages.words import StopReason
from ...model import Model, load_model, save_tensors
from ...networks import DEFAULT_SEGMENTER, build
from ..checkpoint import copy_of
from ..curve import draw_curve
from ..forecast import forecast
from ..train import check_free
from ..trainer import CHECKPOINT, Outcome, Score, Trainer, now
from .common import (
    IMPROVE,
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
    network_of,
    where_to_keep,
)
from .lora import AdapterConfig, adapter_state, dequantize, inject, interpolate, layer_by_layer
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
    """Train an adapter of the model at ``base_path`` on the data ``folder`` and write it to ``output``.

    How cases are held out and what is kept is told at :class:`.segmenter.SegmenterAdaptation` and
    :class:`.classifier.ClassifierAdaptation`. A killed run is continued when it is started again. Log, checkpoint and
    curve lie in a folder named after ``output`` with ``.run`` for its extension.

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
    adapter = adapter_entry(base.card, adaptation)
    with run_of(output, adapter, adaptation, resume) as run, layer_by_layer():
        _tell_plan(adaptation, run, control)
        if control.cancelled():
            raise Cancelled
        control.stage("measuring the base")
        network, before, old_before, measuring = _begin(base, adaptation, device)
        elapsed = now(settings.clock) - started
        minutes = training_minutes(settings, run.ended, elapsed, adaptation.afterwards(elapsed, measuring))
        task, watched = adaptation.training(network, minutes), (control.report, control.cancelled)
        trainer = Trainer(network, task, run.folder, device, *watched, finishing=control.finishing)
        trainer.known = _score(before, adaptation)
        control.stage("training")
        outcome, stopped = _train(trainer, run, control)
        control.stage("measuring the result")
        result, tensors = _result(base, adaptation, network)
        tensors, after = adaptation.conclude(result.to(device), tensors, before)
        old_after = adaptation.measure_old(result)
        advice = adaptation.advice(after)
        goal = adaptation.describe(result, before, after)
        olds = {} if old_before is None else {"old_before": old_before, "old_after": old_after}
        told = {"advice": advice} if advice else {}
        goal = replace(goal, figures={**goal.figures, **olds, "held_out": adaptation.counts[1], **told})
        draw_curve(run.folder, adaptation.labels)
        seconds = run.spent + now(settings.clock) - started
        training = {"steps": outcome.steps, "minutes": round(seconds / 60, 2), **goal.training}
        if base.card.task == SEGMENTATION:  # as digests, for ids may be names of patients
            training["held_out"] = list(adaptation.identity["validation cases"].values())
        card = adapted_card(adaptation, goal, result, output, adapter, training)
        run.check_output()
        card = save_tensors(tensors, card, output)
        run.end(outcome.steps, seconds, trainer.seconds)
    warnings = [*adaptation.warnings, *([f"{card.doubts}; {ADVICE}"] if card.doubts else [])]
    warnings += where_to_keep(base_path, adapter, output) if card.adapter else []
    figures = (before, after, old_before, old_after)
    return Adapted(card, *figures, outcome.steps, seconds, stopped, tuple(warnings), tuple(advice))


def _tell_plan(adaptation: Adaptation, run: Run, control: Control) -> None:
    reasons, settings = list(adaptation.reasons()), adaptation.settings
    if adaptation.aim == NEW_LABELS and adaptation.base.card.task == SEGMENTATION and settings.steps is None:
        cases, minutes = sum(adaptation.counts), settings.minutes or MINUTES
        outlook = forecast(cases, minutes, len(adaptation.labels))
        reasons += [outlook] if outlook else []
    if (run.folder / CHECKPOINT).exists():
        reasons.append("goes on with the run that ended" if run.ended else "continues the run that was stopped")
    held_out = list(adaptation.identity["validation cases"])
    control.report({"event": "plan", "reasons": reasons, "labels": adaptation.labels, "held_out": held_out})


def _score(before: Measured, adaptation: Adaptation) -> Score | None:
    """What a validation before the first step would find once more; None where that is not known."""
    if before.mean_dice is None:
        return None
    labels = {str(value): before.label_dice.get(str(value)) for value in adaptation.labels}
    return Score(before.mean_dice, {"dice": before.mean_dice}, labels)


def read_adaptation(
    base: Model, folder: Path, settings: AdaptSettings, device: torch.device, old: Path | None = None
) -> Adaptation:
    """What is learned, from which cases: all of them are read here."""
    if base.card.is_ensemble:
        raise LLMBoostError(
            f"model '{base.card.name}' is an ensemble, which cannot be adapted; adapt one of the models in it"
        )
    if base.card.task == CLASSIFICATION:
        from .classifier import ClassifierAdaptation

        return ClassifierAdaptation(base, folder, settings)
    from .segmenter import SegmenterAdaptation

    return SegmenterAdaptation(base, folder, settings, device, old)


def _begin(
    base: Model, adaptation: Adaptation, device: torch.device
) -> tuple[nn.Module, Measured, float | None, float]:
    """The network to train, frozen but for what changes; what the base is worth on the cases held out and on old ones;
    and how many seconds measuring that took."""
    settings, aim = adaptation.settings, adaptation.aim
    torch.manual_seed(settings.seed)
    own = settings.scope == OWN
    network = build(DEFAULT_SEGMENTER, adaptation.options, None) if own else _based(base, adaptation)
    network = network.to(device)
    if own:
        return network, Measured(), None, adaptation.expected_measuring(network)
    started = now(settings.clock)
    before = adaptation.measure(network)  # of new labels for the time that it takes alone
    old_before = adaptation.measure_old(base.network)
    measuring = now(settings.clock) - started
    if settings.block:
        dequantize(network)
    inject(
        network, AdapterConfig(adaptation.rank, settings.scope or "adapter", settings.block, decoder=aim == NEW_LABELS)
    )
    return network, before if aim == IMPROVE else Measured(), old_before, measuring


def _based(base: Model, adaptation: Adaptation) -> nn.Module:
    return network_of(base, fresh=adaptation.settings.scope == "scratch", **adaptation.options)


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


def _result(base: Model, adaptation: Adaptation, network: nn.Module) -> tuple[nn.Module, dict[str, Tensor]]:
    """The adapted model's network as users will have it, and the tensors of its file."""
    settings = adaptation.settings
    if settings.scope == OWN:
        return network.eval(), copy_of(network.state_dict())
    alpha = 1.0 if settings.wise_alpha is None else settings.wise_alpha
    tensors = interpolate(base.network.cpu(), adapter_state(network), alpha)
    result = network_of(base, **adaptation.options)
    if settings.block:
        dequantize(result)
    result.load_state_dict(merged(base.network, result, tensors))
    return result.eval(), tensors
