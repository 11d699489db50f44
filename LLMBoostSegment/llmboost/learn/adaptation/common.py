"""What adaptations of segmenters and of classifiers share: settings, networks, training, cards, a run's folder."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from ...adapter import merged, transfer_weights
from ...card import Adapter, Card
from ...errors import Cancelled, LLMBoostError
from ...files import LOCK, write_whole
from ...jsonfile import read_json
from ...library import find_base
from ...model import Model
from ...networks import build, describe
from ..checkpoint import differences
from ..train import alone, check_free, made_with
from ..trainer import Outcome, Trainer, check_run, versions
from .lora import BLOCKS, AdapterConfig, dequantize, inject, towards, trained

if TYPE_CHECKING:
    from ...io.dataset import Dataset
    from ...io.imageset import ImageSet

IMPROVE, NEW_LABELS = "improve", "new-labels"
TASKS = (IMPROVE, NEW_LABELS)
MINUTES = 2.0  # by default
RUN = "adapt.json"
LONGEST_TITLE = 60


@dataclass(frozen=True)
class AdaptSettings:
    """What may be chosen; the defaults were, on the val lists of the recipes `adapt_*`.

    Attributes:
        steps, minutes: the budget; without either, two minutes. Minutes are of everything, from reading to writing.
        rank: of the low-rank updates, see :func:`.adapters.default_rank`.
        task: ``improve`` (the base's labels) or ``new-labels``; None: what the data set's labels say.
        scope, block: see :class:`.adapters.AdapterConfig`.
        batch, rate, contrast, thick: see :class:`.trainer.TrainingConfig`.
        distill: how much the frozen base's answers count where it was right, see :class:`.regularizers.Distillation`.
        consistency: how much agreement on cases without a label map counts, see :class:`.regularizers.Consistency`; for
            segmenters.
        share: of the changes that are kept in the end, see :func:`.lora.towards`; None: for the base's own labels
            what :func:`.adapters.default_share` says, else all.
        seed: of order, augmentation and new heads.
    """

    steps: int | None = None
    minutes: float | None = None
    rank: int | None = None
    task: str | None = None
    scope: str = "adapter"
    block: bool = False
    batch: int = 1
    rate: float = 1e-3
    contrast: float = 0.0
    thick: float = 0.0
    distill: float = 0.0
    consistency: float = 0.0
    share: float | None = None
    validations: int = 8
    patience: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps is not None and self.minutes is not None:
            raise LLMBoostError("give one budget: minutes or steps")
        budget = self.steps if self.steps is not None else self.minutes
        if budget is not None and not 0 < budget < math.inf:
            raise LLMBoostError("the budget must be greater than zero")
        if self.task not in (None, *TASKS):
            raise LLMBoostError(f"task '{self.task}': use one of {', '.join(TASKS)}")


@dataclass(frozen=True)
class Figures:
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
    def value(self) -> float | None:
        """What there is: the AUC or the mean Dice."""
        return self.auc if self.auc is not None else self.mean_dice

    def as_dict(self) -> dict[str, Any]:
        return {"cases": list(self.cases), "mean_dice": self.mean_dice, "auc": self.auc}


@dataclass(frozen=True)
class Adapted:
    """The end of an adaption.

    Attributes:
        card: of the file that was written.
        before, after: on the cases held out, base and adapted model; without such cases, both are empty.
        old_before, old_after: mean Dice on old cases, if there are some.
        stopped: why training ended: ``budget``, ``finish`` or ``early``.
    """

    card: Card
    before: Figures
    after: Figures
    old_before: float | None
    old_after: float | None
    steps: int
    seconds: float
    stopped: str
    warnings: tuple[str, ...]


def adapter_entry(base: Card, settings: AdaptSettings, task: str, rank: int, cases: Sequence[str]) -> Adapter:
    """The card's entry; ``cases`` are digests."""
    return Adapter(
        base=base.name,
        base_version=base.version,
        base_digest=base.digest,
        rank=rank,
        cases=tuple(cases),
        settings={**asdict(settings), "rank": rank, "task": task},
    )


def network_of(base: Model, *, fresh: bool = False, **options: Any) -> nn.Module:
    """The base's network in evaluation mode, with other ``options`` (classes, strides) and the base's weights as far as
    they fit; ``fresh`` has no more of the base than its language model's block."""
    options = {**base.card.network, **options}
    network = build(options.pop("name"), options, base.card.booster)
    state = transfer_weights(base.network, network)
    kept = {name: tensor for name, tensor in state.items() if not fresh or BLOCKS in name}
    network.load_state_dict(kept, strict=not fresh)
    return network.eval()


def open_up(network: nn.Module, settings: AdaptSettings, rank: int, task: str) -> None:
    """Freeze ``network`` but for what is to be trained, see :func:`.adapters.inject`."""
    if settings.block:
        dequantize(network)
    inject(network, AdapterConfig(rank, settings.scope, settings.block, decoder=task == NEW_LABELS))


def train_adapter(
    base: Model,
    trainer: Trainer,
    result: nn.Module,
    settings: AdaptSettings,
    resume: bool,
    cancelled: Callable[[], bool],
    finishing: Callable[[], bool],
) -> tuple[dict[str, Tensor], Outcome, str]:
    """Train what :func:`open_up` left open, and fill ``result``, a network of the adapted model.

    Returns:
        the adapter's tensors, the training's end, and why it ended, see :class:`Adapted`.

    Raises:
        Cancelled: when asked to.
    """
    if resume:
        trainer.resume(check_budget=False)  # the run's own description tells it; minutes are what is left of them
    outcome = trainer.run()
    if cancelled():
        raise Cancelled
    stopped = "finish" if finishing() else "budget" if trainer.fraction >= 1 else "early"
    network = trainer.network
    network.load_state_dict({**network.state_dict(), **outcome.state})
    share = 1.0 if settings.share is None else settings.share
    tensors = towards(base.network.cpu(), trained(network), share)
    if settings.block:
        dequantize(result)
    result.load_state_dict(merged(base.network, result, tensors))
    result.eval().to(trainer.device)
    return tensors, outcome, stopped


def adapted_card(
    base: Card,
    goal: Card,
    result: nn.Module,
    output: Path,
    adapter: Adapter,
    data: Dataset | ImageSet,
    counts: tuple[int, int],
    training: dict[str, Any],
    figures: dict[str, Any],
) -> Card:
    """The card ``goal`` with what is known at the end.

    Args:
        counts: of cases that were learned from, and held out.
    """
    network, booster = describe(result)
    return replace(
        goal,
        name=output.stem,
        network=network,
        booster=booster,
        training={
            "data_license": data.license,
            "train_cases": counts[0],
            "val_cases": counts[1],
            **training,
            "base": base.training,
            **made_with(),
        },
        figures={**figures, "held_out": counts[1]},
        adapter=adapter,
        subject=None,  # what it draws in is now its user's choice
    )


def new_goal(card: Card, data: Dataset | ImageSet, names: Iterable[str], learnt_from: str) -> Card:
    """The card of a base that is to learn other labels, named ``names``; its labels are left to be set."""
    learnt = ", ".join(names)
    return replace(
        card,
        title=learnt if len(learnt) <= LONGEST_TITLE else f"{learnt[:LONGEST_TITLE]}...",
        description=f"{learnt}: learned from {learnt_from}.",
        license="; ".join(text for text in (card.license, data.license) if text),
        citation="; ".join(text for text in (card.citation, data.reference) if text),
        version="1.0",
    )


def better_goal(card: Card, learnt_from: str) -> Card:
    """The card of a base that is to get better at its own labels."""
    return replace(
        card,
        title=f"{card.title}, adapted",
        description=f"{card.description} Adapted to {learnt_from}.",
    )


def where_to_keep(base: Path, adapter: Adapter, output: Path) -> list[str]:
    """A warning if the adapter at ``output`` will not find its base where that is now."""
    try:
        find_base(adapter, output)
    except LLMBoostError:
        return [f"{base} is not in the library: import it, or keep a copy beside {output.name}, which needs it"]
    return []


@contextmanager
def run_of(
    output: Path, adapter: Adapter, labels: Mapping[int, str], cases: Mapping[str, Mapping[str, str]]
) -> Iterator[Path]:
    """The folder of the run that is to write ``output``, this process's alone. It goes when the run ends, well or not;
    when the process is killed, it stays, to be continued.

    Args:
        labels: what is learned, by value.
        cases: "training cases" and "validation cases": a digest by id.

    Raises:
        LLMBoostError: another run is at work there, or was stopped there that differs, and how.
    """
    named = {f"label {value}": name for value, name in labels.items()}
    entry = {**asdict(adapter), **cases, "labels": named, "versions": versions()}
    del entry["cases"]  # they are told by id
    with alone(output) as run:
        check_free(output)  # another run may have written it meanwhile
        check_run(run)
        known = _known_run(run / RUN)
        if known and (differing := differences(known, entry)):
            raise LLMBoostError(
                f"{run}: of a run that was stopped and is another one ({differing}); start it as it was started, or"
                " remove that folder"
            )
        if not known:
            _clear(run)
            write_whole(run / RUN, json.dumps(entry, sort_keys=True).encode())
        try:
            yield run
        except (Cancelled, LLMBoostError):
            _clear(run)
            raise
        _clear(run)


def _known_run(path: Path) -> dict[str, Any]:
    """The description of a run that was stopped; empty for what is none, with which nothing can be continued."""
    try:
        known = read_json(path)
    except LLMBoostError:
        return {}
    return known if "base_digest" in known else {}


def _clear(run: Path) -> None:
    """Remove what lies in a run's folder, but for the lock that is held."""
    for path in run.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            with suppress(OSError):
                path.unlink()
