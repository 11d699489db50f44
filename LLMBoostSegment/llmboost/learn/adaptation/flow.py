"""From a base model and a few local cases to an adapter file, within minutes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor, nn

from ...adapter import merged
from ...card import CLASSIFICATION
from ...card.figures import ADVICE
from ...errors import Cancelled, LLMBoostError
from ...messages.words import StopReason
from ...model import Model, load_model, save_tensors
from ...networks import DEFAULT_SEGMENTER, build
from ...networks.ensemble import Ensemble
from ..checkpoint import copy_of
from ..train import check_free
from ..trainer import CHECKPOINT, Outcome, Trainer, now
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
    run_of,
    where_to_keep,
)
from .lora import AdapterConfig, adapter_state, dequantize, inject, interpolate, layer_by_layer


def adapt(
    base_path: Path,
    folder: Path,
    output: Path,
    settings: AdaptSettings,
    *,
    device: torch.device,
    old: Path | None = None,
    **watching: Unpack[Watching],
) -> Adapted:
    """Train an adapter of the model at ``base_path`` on the data ``folder`` and write it to ``output``.

    How cases are held out and what is kept is told at :class:`.segmenter.SegmenterAdaptation` and
    :class:`.classifier.ClassifierAdaptation`. A killed run is continued when it is started again.

    Args:
        folder: a data set folder; of a classifier, labeled images as :func:`llmboost.io.imageset.read_image_set` reads.
        old: a data set of a segmenter's own, to tell what it unlearned: the split "val" is measured before and after.
        watching: ``report``, ``cancelled`` and ``finishing``, see :class:`.common.Control`.

    Raises:
        LLMBoostError: anything wrong with base, data or output, or a training that cannot go on.
        Cancelled: when asked to.
    """
    started, control = now(settings.clock), Control(**watching)
    check_free(output)
    base = load_model(base_path)
    adaptation = _read(base, folder, settings, device, old)
    adapter = adapter_entry(base.card, adaptation)
    with run_of(output, adapter, adaptation) as run, layer_by_layer():
        resume = (run / CHECKPOINT).exists()
        continues = ("continues the run that was stopped",) if resume else ()
        known = {"labels": adaptation.labels, "held_out": list(adaptation.identity["validation cases"])}
        control.report({"event": "plan", "reasons": (*adaptation.reasons(), *continues), **known})
        if control.cancelled():
            raise Cancelled
        network, before, old_before, measuring = _begin(base, adaptation, device)
        task = adaptation.training(network, _minutes_left(adaptation, now(settings.clock) - started, measuring))
        trainer = Trainer(network, task, run, device, control.report, control.ending)
        outcome, stopped = _train(trainer, resume, control)
        result, tensors = _result(base, adaptation, network)
        tensors, after = adaptation.conclude(result.to(device), tensors, before)
        old_after = adaptation.measure_old(result)
        goal = adaptation.describe(result, before, after)
        olds = {} if old_before is None else {"old_before": old_before, "old_after": old_after}
        goal = replace(goal, figures={**goal.figures, **olds, "held_out": adaptation.counts[1]})
        training = {"steps": outcome.steps, "minutes": round((now(settings.clock) - started) / 60, 2), **goal.training}
        card = adapted_card(adaptation, goal, result, output, adapter, training)
        check_free(output)
        card = save_tensors(tensors, card, output)
    warnings = [*adaptation.warnings, *([f"{card.doubts}; {ADVICE}"] if card.doubts else [])]
    warnings += where_to_keep(base_path, adapter, output) if card.adapter else []
    seconds = now(settings.clock) - started
    return Adapted(card, before, after, old_before, old_after, outcome.steps, seconds, stopped, tuple(warnings))


def _read(base: Model, folder: Path, settings: AdaptSettings, device: torch.device, old: Path | None) -> Adaptation:
    """What is learned, from which cases: all of them are read here."""
    if isinstance(base.network, Ensemble):
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
    started = now(settings.clock)
    before = adaptation.measure(network)  # of new labels for the time that it takes alone
    old_before = adaptation.measure_old(base.network)
    measuring = now(settings.clock) - started
    if own:
        return network, Measured(), old_before, measuring
    if settings.block:
        dequantize(network)
    inject(
        network, AdapterConfig(adaptation.rank, settings.scope or "adapter", settings.block, decoder=aim == NEW_LABELS)
    )
    return network, before if aim == IMPROVE else Measured(), old_before, measuring


def _based(base: Model, adaptation: Adaptation) -> nn.Module:
    return network_of(base, fresh=adaptation.settings.scope == "scratch", **adaptation.options)


def _minutes_left(adaptation: Adaptation, elapsed: float, measuring: float) -> float | None:
    """The training's budget: what remains of all when as much is set aside as will be needed after it."""
    settings = adaptation.settings
    if settings.steps is not None:
        return None
    left = 60 * (settings.minutes or MINUTES) - elapsed - adaptation.afterwards(elapsed, measuring)
    return max(left, 1.0) / 60


def _train(trainer: Trainer, resume: bool, control: Control) -> tuple[Outcome, StopReason]:
    """Fill the trainer's network with the best weights; returns the training's end, and why it ended, see
    :class:`.common.Adapted`.

    Raises:
        Cancelled: when asked to.
    """
    if resume:
        trainer.resume(check_budget=False)  # the run's own description tells it; minutes are what is left of them
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
