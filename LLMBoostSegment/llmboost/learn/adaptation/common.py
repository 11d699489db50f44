"""What adaptations of segmenters and of classifiers share: settings, networks, training, cards, a run's folder."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import numpy as np
from torch import Tensor, nn

from ...booster import NO_BOOSTER
from ...card import Adapter, Card
from ...errors import LLMBoostError
from ...library import find_base
from ...messages.words import AdaptTask, StopReason, chosen
from ...model import Model
from ...networks import describe
from ..provenance import made_with
from ..trainer import Task
from .lora import SCOPES

if TYPE_CHECKING:
    from ...io.dataset import Dataset
    from ...io.imageset import ImageSet
    from ...report import Observed, ObservedImages

IMPROVE, NEW_LABELS = AdaptTask.IMPROVE, AdaptTask.NEW_LABELS
OWN = "own"
RATE = 1e-3
MINUTES = 2.0  # by default
SAVED_AS = {"wise_alpha": "share"}  # settings in cards, where they were called otherwise before
LONGEST_TITLE = 60


@dataclass(frozen=True)
class AdaptSettings:
    """What may be chosen; the defaults were, on the val lists of the recipes `adapt_*`.

    Attributes:
        steps, minutes: the budget; without either, two minutes. Minutes are of everything, from reading to writing, by
            ``clock``, see :class:`.trainer.TrainingConfig`.
        rank: of the low-rank updates, see :func:`.lora.default_rank`.
        task: ``improve`` (the base's labels) or ``new-labels``; None: what the data set's labels say.
        scope: what learns. ``own``: a small network of its own, from random weights, by the plan for minutes
            (:func:`..plan.make_plan`); else see :class:`.lora.AdapterConfig`. None: of a segmenter that is to learn
            new labels ``own``; for all else :func:`.lora.default_scope`.
        block: see :class:`.lora.AdapterConfig`.
        booster: one that the base lacks and gets, by the name that :func:`...booster.booster_of` takes.
        batch, rate, contrast, thick: see :class:`.trainer.TrainingConfig`. Without a rate, 1e-3, or of an own network
            what a training from random weights takes, as it takes the plan's batch.
        distill: how much the frozen base's answers count where it was right, see :class:`.regularizers.Distillation`.
        consistency: how much agreement on cases without a label map counts, see :class:`.regularizers.Consistency`; for
            segmenters.
        share: of the changes that are kept in the end, see :func:`.lora.towards`; None: for the base's own labels
            what :func:`.lora.default_share` says, else all.
        seed: of order, augmentation and new heads.
    """

    steps: int | None = None
    minutes: float | None = None
    clock: str = "wall"
    rank: int | None = None
    task: str | None = None
    scope: str | None = None
    block: bool = False
    booster: str = NO_BOOSTER
    batch: int = 1
    rate: float | None = None
    contrast: float = 0.0
    thick: float = 0.0
    distill: float = 0.0
    consistency: float = 0.0
    wise_alpha: float | None = None
    validations: int = 8
    patience: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps is not None and self.minutes is not None:
            raise LLMBoostError("give one budget: minutes or steps")
        budget = self.steps if self.steps is not None else self.minutes
        if budget is not None and not 0 < budget < math.inf:
            raise LLMBoostError("the budget must be greater than zero")
        if self.task is not None:
            chosen(AdaptTask, self.task, "task")
        if self.scope not in (None, OWN, *SCOPES):
            raise LLMBoostError(f"scope '{self.scope}': use one of {', '.join((OWN, *SCOPES))}")
        if self.task == IMPROVE and self.scope == OWN:
            raise LLMBoostError("a network of its own has no base to improve; choose new-labels, or another scope")


@dataclass(frozen=True)
class Measured:
    """Dice of each label, by value, on each of some cases; of a classifier, the AUC over all of them."""

    cases: tuple[dict[str, Any], ...] = ()
    auc: float | None = None

    @property
    def label_dice(self) -> dict[str, float]:
        """The mean of each label, by value; a label without a score is left out."""
        labels = dict.fromkeys(label for case in self.cases for label in case["dice"])
        columns = {label: [case["dice"].get(label) for case in self.cases] for label in labels}
        known = {label: [one for one in column if one is not None] for label, column in columns.items()}
        return {label: float(np.mean(scores)) for label, scores in known.items() if scores}

    @property
    def mean_dice(self) -> float | None:
        """The mean of each label's mean; None if nothing was measured."""
        means = list(self.label_dice.values())
        return float(np.mean(means)) if means else None

    @property
    def case_dice(self) -> dict[str, float | None]:
        """The mean of each case's labels, by its id; None where nothing was measured."""
        scores = {case["id"]: [one for one in case["dice"].values() if one is not None] for case in self.cases}
        return {id: float(np.mean(known)) if known else None for id, known in scores.items()}

    @property
    def value(self) -> float | None:
        """What there is: the AUC or the mean Dice."""
        return self.auc if self.auc is not None else self.mean_dice


@dataclass(frozen=True)
class Adapted:
    """The end of an adaption.

    Attributes:
        card: of the file that was written.
        before, after: on the cases held out, base and adapted model; without such cases, both are empty.
        old_before, old_after: mean Dice on old cases, if there are some.
        steps, seconds: of all sittings of a run that went on.
        stopped: why training ended.
        advice: what to do about labels that were not learned.
    """

    card: Card
    before: Measured
    after: Measured
    old_before: float | None
    old_after: float | None
    steps: int
    seconds: float
    stopped: StopReason
    warnings: tuple[str, ...]
    advice: tuple[str, ...] = ()


class Watching(TypedDict, total=False):
    """The fields of :class:`Control` as arguments by name."""

    report: Callable[[dict[str, Any]], None]
    cancelled: Callable[[], bool]
    finishing: Callable[[], bool]
    started: float


@dataclass(frozen=True)
class Control:
    """How an adapting is watched and ended.

    Attributes:
        report: is called with each event, see :class:`..trainer.Trainer`; before them with a "plan" of ``reasons``,
            ``labels`` and ids ``held_out``, and with a "stage" and its ``text`` where something else begins.
        cancelled: ends with nothing written.
        finishing: ends with the best so far.
        started: when the minutes of the budget began, by ``time.monotonic``; by default now.
    """

    report: Callable[[dict[str, Any]], None] = lambda event: None
    cancelled: Callable[[], bool] = lambda: False
    finishing: Callable[[], bool] = lambda: False
    started: float = field(default_factory=time.monotonic)

    def stage(self, text: str) -> None:
        """Report what begins now, that is no training."""
        self.report({"event": "stage", "text": text})


@dataclass(frozen=True)
class Start:
    """What a training begins with.

    Attributes:
        network: to train, frozen but for what changes.
        before: how good the base is on the cases held out; empty where it does not know what is learned.
        old: its mean Dice on old cases, if there are some.
        measuring: seconds that measuring takes.
    """

    network: nn.Module
    before: Measured
    old: float | None
    measuring: float


@dataclass(frozen=True)
class End:
    """What a training came to.

    Attributes:
        network: as users will have it.
        tensors: of its file.
        after, old: how good it is on the cases held out, and on old ones.
    """

    network: nn.Module
    tensors: dict[str, Tensor]
    after: Measured
    old: float | None


@dataclass(frozen=True)
class Found:
    """What networks made of the cases that they have not seen.

    Attributes:
        measured, before: see :class:`.crosscheck.CrossChecked`.
        count: of the cases.
        figures: for the card.
        training: what the card tells of how they were found, next to the number of networks and their steps.
        result: as :func:`...evaluation.evaluate` gives it, but for what tells of the model.
        observed: was shown the cases.
    """

    measured: Measured
    count: int
    figures: Mapping[str, Any]
    training: Mapping[str, Any]
    result: Mapping[str, Any]
    observed: Observed | ObservedImages
    before: Measured = field(default_factory=Measured)
    warnings: tuple[str, ...] = ()


class Adaptation(Protocol):
    """What differs between adapters of segmenters and of classifiers and networks of their own, in the order of
    :func:`.flow.adapt`; made by reading all cases.

    Attributes:
        aim: ``improve`` or ``new-labels``.
        settings: those asked for, with what was left open.
        labels: names of what is learned, by value.
        digests: of the cases that are learned from.
        identity: "training cases" and "validation cases": a digest by id.
        counts: of cases that are learned from, and held out.
        warnings: what a user should know; more come while it goes on.
    """

    base: Model
    aim: str
    settings: AdaptSettings
    rank: int
    labels: dict[int, str]
    digests: list[str]
    identity: dict[str, Any]
    counts: tuple[int, int]
    warnings: list[str]

    @property
    def data(self) -> Dataset | ImageSet: ...

    def reasons(self) -> tuple[str, ...]:
        """What is going to be done, and why, in words."""

    def begin(self) -> Start:
        """The network, and what can be measured before it is trained."""

    def afterwards(self, elapsed: float, measuring: float, /) -> float:
        """Seconds that will be needed after the training, by those since the start, and those of one measuring."""

    def training(self, network: nn.Module, minutes: float | None, /) -> Task:
        """What ``network``, frozen but for what changes, is trained for, in so many minutes or the settings' steps."""

    def conclude(self, network: nn.Module, before: Measured, /) -> End:
        """What is kept of the trained network, and how good that is."""

    def advice(self, after: Measured, /) -> list[str]:
        """What to do about what was not learned, a line each."""

    def describe(self, end: End, before: Measured, /) -> Card:
        """The card of what is made; name and network are left to be set, and more is told of the training."""


def adapter_entry(adaptation: Adaptation) -> Adapter:
    """The entry of the card; of a network of its own, what tells its run from others."""
    base, settings = adaptation.base.card, asdict(adaptation.settings)
    settings = {SAVED_AS.get(name, name): value for name, value in settings.items()}
    return Adapter(
        base=base.name,
        base_version=base.version,
        base_digest=base.digest,
        rank=adaptation.rank,
        cases=tuple(adaptation.digests),
        settings={**settings, "rank": adaptation.rank, "task": adaptation.aim},
    )


def adapted_card(adaptation: Adaptation, goal: Card, result: nn.Module, output: Path, training: dict[str, Any]) -> Card:
    """The card ``goal`` with what is known at the end."""
    network, booster = describe(result)
    data = {
        "data_license": adaptation.data.license,
        "train_cases": adaptation.counts[0],
        "val_cases": adaptation.counts[1],
    }
    return replace(
        goal,
        name=output.stem,
        network=network,
        booster=booster,
        training={**data, **training, **goal.training, **made_with()},
        subject=None,  # what it draws in is now its user's choice
    )


def new_goal(card: Card, data: Dataset | ImageSet, names: Iterable[str], learned_from: str) -> Card:
    """The card of a base that is to learn other labels, named ``names``; its labels are left to be set."""
    learned = ", ".join(names)
    return replace(
        card,
        title=shortened(learned),
        description=f"{learned}: learned from {learned_from}.",
        license="; ".join(text for text in (card.license, data.license) if text),
        citation="; ".join(text for text in (card.citation, data.reference) if text),
        version="1.0",
    )


def shortened(title: str) -> str:
    """A title that is not too long to show."""
    return title if len(title) <= LONGEST_TITLE else f"{title[:LONGEST_TITLE]}..."


def better_goal(card: Card, learned_from: str) -> Card:
    """The card of a base that is to get better at its own labels."""
    return replace(
        card,
        title=f"{card.title}, adapted",
        description=f"{card.description} Adapted to {learned_from}.",
    )


def where_to_keep(base: Path, adapter: Adapter, output: Path) -> list[str]:
    """A warning if the adapter at ``output`` will not find its base where that is now."""
    try:
        find_base(adapter, output)
    except LLMBoostError:
        return [f"{base} is not in the library: import it, or keep a copy beside {output.name}, which needs it"]
    return []
