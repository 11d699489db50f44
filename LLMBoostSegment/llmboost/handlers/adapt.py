"""The requests to adapt a model to a folder of cases, and to tell which case to label next.

The folder and the adapter's file lie on the worker's machine: such requests are for local workers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LLMBoostError
from ..service import Answer, Job
from .volumes import text_of

if TYPE_CHECKING:
    from . import Engine


def adapt(engine: Engine, job: Job) -> Answer:
    """Train an adapter.

    Fields: ``base`` (a model's name or path), ``dataset`` (a folder), ``output`` (the file to write), ``minutes`` or
    ``steps``, ``rank`` (None: by the number of cases), ``task`` (``improve``, ``new-labels``, None: what the labels
    say), ``device``, ``old`` (None, or a data set of the base's own, to measure what is unlearnt).

    Progress carries ``event``, what :class:`llmboost.learn.trainer.Trainer` reports. ``finish`` ends the training and
    keeps the best so far; ``cancel`` ends it with nothing written.

    Gives ``output``, ``card``, ``before`` and ``after`` ({"cases": [{"id", "dice"}], "mean_dice"} on the cases held
    out; without any, empty), ``old_task`` (None, or {"before", "after"}), ``steps``, ``seconds``, ``stopped``
    (``budget``, ``finish`` or ``early``), ``warnings``.
    """
    base = engine.path(text_of(job, "base"))
    folder, output = Path(text_of(job, "dataset")), Path(text_of(job, "output"))
    engine.release(job)  # training needs the memory
    from ..inference.device import choose_device
    from ..learn.adaptation.common import AdaptSettings
    from ..learn.adaptation.flow import adapt as run

    def report(event: dict[str, Any]) -> None:
        step = event["event"] == "step"
        text = f"step {event['step']}, loss {event['loss']:.3f}" if step else str(event["event"])
        job.progress(event.get("fraction"), text, event=event)

    job.progress(None, "reading the cases")
    result = run(
        base,
        folder,
        output,
        AdaptSettings(
            steps=_number(job, "steps", int),
            minutes=_number(job, "minutes", float),
            rank=_number(job, "rank", int),
            task=job.fields.get("task"),
        ),
        device=choose_device(str(job.fields.get("device", "auto"))),
        old=Path(job.fields["old"]) if job.fields.get("old") else None,
        report=report,
        cancelled=job.cancelled,
        finishing=job.finishing,
    )
    return {
        "output": str(output),
        "card": json.loads(result.card.to_json()),
        "before": result.before.as_dict(),
        "after": result.after.as_dict(),
        "old_task": None if result.old_before is None else {"before": result.old_before, "after": result.old_after},
        "steps": result.steps,
        "seconds": result.seconds,
        "stopped": result.stopped,
        "warnings": list(result.warnings),
    }, {}


def rank_cases(engine: Engine, job: Job) -> Answer:
    """Order the unlabeled cases of a data set, the one to label next first.

    Fields: ``model``, ``dataset`` (a folder; unlabeled cases lie in imagesTs, or in imagesTr without a label map),
    ``device``. Gives ``order`` ([{"id", "score", "uncertainty", "diversity"}]).
    """
    folder = Path(text_of(job, "dataset"))
    model = engine.model(job)
    from ..io.dataset import read_dataset
    from ..learn.ranking import rank_cases as rank

    order = rank(
        model,
        read_dataset(folder),
        progress=lambda fraction: job.progress(fraction, "looking at the cases"),
        cancelled=job.cancelled,
    )
    return {"order": [vars(entry) for entry in order]}, {}


def _number(job: Job, name: str, kind: type) -> Any:
    value = job.fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LLMBoostError(f"the request's '{name}' must be a number")
    return kind(value)
