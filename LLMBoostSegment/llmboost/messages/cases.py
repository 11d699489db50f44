"""What is asked and answered about folders of cases: adapting a model, and which case to label next.

The folders lie on the worker's machine: such requests are for local workers.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..card import Card
from .codec import Answer, Name, Request
from .words import AdaptTask, Device, RequestKind, StopReason
from .worker import ComputeRequest


@dataclass(frozen=True)
class CaseDice:
    """Dice of each label, by value, on a case; None where neither the reference nor the model has it."""

    id: str
    dice: dict[str, float | None]


@dataclass(frozen=True)
class HeldOutFigures:
    """Of a model on the cases held out; of a classifier the area under the ROC curve. Without cases, empty."""

    cases: tuple[CaseDice, ...] = ()
    mean_dice: float | None = None
    auc: float | None = None


@dataclass(frozen=True)
class OldTask:
    """Mean Dice on what the base learned from, before and after."""

    before: float | None
    after: float | None


@dataclass(frozen=True)
class AdaptAnswer(Answer):
    """An adapter that was written to ``output``, with its card and its figures."""

    output: str
    card: Card
    before: HeldOutFigures
    after: HeldOutFigures
    old_task: OldTask | None
    steps: int
    seconds: float
    stopped: StopReason
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AdaptRequest(Request[AdaptAnswer], sent_as=RequestKind.ADAPT):
    """Train an adapter; ``finish`` ends that and keeps the best so far, ``cancel`` ends it with nothing written.

    Attributes:
        base: a model's name or path.
        dataset, output: a folder, and the file to write.
        minutes, steps: the budget: one of them, or none for the default.
        rank: of the low-rank updates; None: by the number of cases.
        task: None: what the data set's labels say.
        old: None, or a data set of the base's own, to measure what is unlearned.
        resume: go on with the run that wrote ``output``; the budget is that of the whole.
    """

    base: Name
    dataset: Name
    output: Name
    minutes: float | None = None
    steps: int | None = None
    rank: int | None = None
    task: AdaptTask | None = None
    device: Device = Device.AUTO
    old: str | None = None
    resume: bool = False


@dataclass(frozen=True)
class CrossCheckAnswer(Answer):
    """What networks made of the cases that they had not seen, ``folds`` of them, and the card that now tells it."""

    card: Card
    found: HeldOutFigures
    folds: int
    seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CrossCheckRequest(Request[CrossCheckAnswer], sent_as=RequestKind.CROSS_CHECK):
    """Tell by every case how good what ``output`` holds is, a network for new labels or a classifier; see
    :func:`llmboost.learn.adaptation.crosscheck.cross_check`. ``cancel`` ends it with nothing changed.

    Attributes:
        base, dataset, output, rank, task: as they were for the training.
        folds: how many networks learn; None: by the number of cases.
    """

    base: Name
    dataset: Name
    output: Name
    rank: int | None = None
    task: AdaptTask | None = None
    device: Device = Device.AUTO
    folds: int | None = None


@dataclass(frozen=True)
class RankedCase:
    """A case, with what :class:`llmboost.learn.ranking.Ranked` tells of it."""

    id: str
    score: float
    uncertainty: float
    diversity: float


@dataclass(frozen=True)
class Ranking(Answer):
    """The unlabeled cases, the one to label next first."""

    order: tuple[RankedCase, ...]


@dataclass(frozen=True, kw_only=True)
class RankRequest(ComputeRequest[Ranking], sent_as=RequestKind.RANK_CASES):
    """Order a data set's unlabeled cases: those in imagesTs, or in imagesTr without a label map."""

    dataset: Name
