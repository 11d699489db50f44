"""The requests to adapt a model to a folder of cases, and to tell which case to label next."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..messages.cases import (
    AdaptAnswer,
    AdaptRequest,
    CaseDice,
    CrossCheckAnswer,
    CrossCheckRequest,
    HeldOutFigures,
    OldTask,
    RankedCase,
    Ranking,
    RankRequest,
)
from ..messages.words import StopReason
from ..messages.worker import PlanEvent, StepEvent, TrainingEvent, ValidationEvent
from ..service import Job

if TYPE_CHECKING:
    from ..learn.adaptation.common import Measured
    from . import Engine


def adapt(engine: Engine, job: Job[AdaptRequest]) -> AdaptAnswer:
    """Train an adapter."""
    started, request = time.monotonic(), job.request
    base, output = engine.path(request.base), Path(request.output)
    engine.release(job)  # training needs the memory
    from ..inference.device import choose_device
    from ..learn.adaptation.common import AdaptSettings
    from ..learn.adaptation.flow import adapt as run

    names: dict[int, str] = {}

    def report(event: dict[str, Any]) -> None:
        if event["event"] == "plan":
            names.update(event["labels"])
        job.progress(event.get("fraction"), _text(event), event=_event(event, names))

    result = run(
        base,
        Path(request.dataset),
        output,
        AdaptSettings(steps=request.steps, minutes=request.minutes, rank=request.rank, task=request.task),
        device=choose_device(request.device),
        old=Path(request.old) if request.old else None,
        report=report,
        cancelled=job.cancelled,
        finishing=job.finishing,
        resume=request.resume,
        started=started,
    )
    return AdaptAnswer(
        str(output),
        result.card,
        _figures(result.before),
        _figures(result.after),
        None if result.old_before is None else OldTask(result.old_before, result.old_after),
        result.steps,
        result.seconds,
        StopReason(result.stopped),
        (*result.warnings, *result.advice),
    )


def cross_check(engine: Engine, job: Job[CrossCheckRequest]) -> CrossCheckAnswer:
    """Tell by every case how good what was adapted is."""
    started, request = time.monotonic(), job.request
    base = engine.path(request.base)
    engine.release(job)
    from ..inference.device import choose_device
    from ..learn.adaptation.common import AdaptSettings
    from ..learn.adaptation.crosscheck import cross_check as run

    def report(event: dict[str, Any]) -> None:
        if event["event"] != "step" and "text" not in event:
            return  # a network's plan and validations are but a part of it
        fold = f"network {event['fold']}: " if "fold" in event else ""
        job.progress(event.get("fraction"), fold + _text(event))

    result = run(
        base,
        Path(request.dataset),
        Path(request.output),
        AdaptSettings(rank=request.rank, task=request.task),
        request.folds,
        device=choose_device(request.device),
        report=report,
        cancelled=job.cancelled,
        started=started,
    )
    found = replace(_figures(result.found), mean_dice=result.card.figures.get("out_of_fold_dice"))
    return CrossCheckAnswer(result.card, found, result.folds, result.seconds, result.warnings)


def _text(event: dict[str, Any]) -> str:
    """A trainer's event in a few words."""
    step = event["event"] == "step"
    return f"step {event['step']}, loss {event['loss']:.3f}" if step else str(event.get("text", event["event"]))


def _event(told: dict[str, Any], names: Mapping[int, str]) -> TrainingEvent | None:
    """What a panel shows of a trainer's event, if anything; ``names`` are the labels' by value."""
    match told["event"]:
        case "plan":
            return PlanEvent(tuple(told["reasons"]), tuple(told["held_out"]))
        case "step":
            return StepEvent(told["step"], told["loss"], told["fraction"])
        case "validation":
            measure = "auc" if "auc" in told else "dice"
            labels = {names[value]: told["labels"].get(str(value)) for value in names if told["labels"]}
            return ValidationEvent(told["step"], measure, told[measure], told["best"], labels)
    return None


def _figures(found: Measured) -> HeldOutFigures:
    cases = (CaseDice(case["id"], case["dice"]) for case in found.cases)
    return HeldOutFigures(tuple(cases), found.mean_dice, found.auc)


def rank_cases(engine: Engine, job: Job[RankRequest]) -> Ranking:
    """Order the unlabeled cases of a data set, the one to label next first."""
    model = engine.model(job)
    from ..io.dataset import read_dataset
    from ..learn.ranking import rank_cases as rank

    order = rank(
        model,
        read_dataset(Path(job.request.dataset)),
        progress=lambda fraction: job.progress(fraction, "looking at the cases"),
        cancelled=job.cancelled,
    )
    return Ranking(tuple(RankedCase(**asdict(entry)) for entry in order))
