"""Training within a budget of minutes or steps, on one device or several (:mod:`.distributed`): the loop, which
validation is the best, and how a killed one goes on. What is learned, and how it is judged, is a :class:`Task`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..card import Preprocessing
from ..errors import Cancelled, LLMBoostError
from ..jsonfile import append_json
from ..machine import reused_memory
from ..networks import describe
from .budget import BUDGET, Budget, no_less
from .checkpoint import (
    Snapshot,
    differences,
    is_progress,
    read_checkpoint,
    restored,
    save_checkpoint,
)
from .distributed import agreed, check_share, is_first
from .guard import MOST_SETBACKS, Guard
from .learner import Learner
from .precision import name_of
from .provenance import versions

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"


@dataclass(frozen=True)
class TrainingConfig:
    """The recipe.

    Attributes:
        steps, minutes: the budget; give one of them.
        clock: what minutes are of: ``wall``, or ``cpu``, the mean over this process's threads of the time that they
            were at work, which comparisons need that do not have the machine for themselves.
        batch: patches a step; :func:`.train.train` takes the plan's.
        optimizer: ``adamw`` or ``muon``, see :func:`.optimizer.make_optimizer`.
        kernels: with Muon, how many times the rate kernels' steps are long.
        rate: the learning rate at its peak, reached after ``warmup`` of the budget and falling to zero as a cosine.
            The default did best in the recipe ``peers``, of 1e-3, 3e-3 and 1e-2.
        clip: of the gradient's norm.
        ema: how much of the weights' average stays at each step, see :class:`.average.WeightAverage`; 0: none. Where
            there is one, it is what is validated and kept.
        validations: how often the validation cases are segmented at most, spread evenly over the budget, and how often
            a checkpoint is written; see :class:`.budget.Budget`.
        precision: ``auto`` or ``float32``, see :func:`.precision.training_dtype`.
        seed: of weights, order and augmentation.
        contrast: the share of patches in a random contrast, for models that should serve several MR sequences.
        thick: the share of patches in thick slices, for models that should take them.
        foreground: the share of patches that show a label, see :class:`.patches.TrainingPatches`.
        balance: how much rare labels weigh at the start, see :class:`.loss.SegmentationLoss`; it falls to zero over the
            budget, for what is learned with it is drawn too large.
        first: validate before the first step, too: a network that knows something already may stay the best.
        last: keep the last weights and their validation, not those of the best one: for cases too few to choose by, or
            that are to judge.
        patience: validations in a row without a better one after which training ends; 0 waits for the budget's end.
    """

    steps: int | None = None
    minutes: float | None = None
    clock: str = "wall"
    batch: int = 2
    optimizer: str = "adamw"
    kernels: float = 8.0
    rate: float = 3e-3
    weight_decay: float = 0.01
    warmup: float = 0.03
    clip: float = 1.0
    ema: float = 0.0
    validations: int = 20
    precision: str = "auto"
    seed: int = 0
    contrast: float = 0.0
    thick: float = 0.0
    foreground: float = 1 / 3
    balance: float = 0.0
    first: bool = False
    last: bool = False
    patience: int = 0

    @property
    def samples(self) -> int:
        """How many a training takes in all; by minutes, more than it ever will."""
        return (self.steps or 10**9) * self.batch


@dataclass(frozen=True)
class Score:
    """How good a network is on the validation cases.

    Attributes:
        value: what selects, higher being better; need not be all of what is told.
        figures: what is told, by name; that of the task's ``measure`` is the one that counts for a user.
        labels: the same figure of each label, by value; None where nothing could be measured.
    """

    value: float
    figures: dict[str, float]
    labels: dict[str, float | None]

    @property
    def known_labels(self) -> dict[str, float]:
        """Labels that were measured."""
        return {name: figure for name, figure in self.labels.items() if figure is not None}


@dataclass(frozen=True)
class Progress:
    """How far a training is: steps that are done, and the share of the budget that is spent, at most 1."""

    step: int
    fraction: float


class Task(Protocol):
    """What a :class:`Trainer` trains a network for.

    Attributes:
        measure: the name of the figure that is told of a validation, such as "dice".
        selects: whether there is something to validate on; if not, the last weights are kept.
        validation_samples: how many samples' forward passes a validation takes.
        labels: names of what is learned, by value, in the network's order.
    """

    measure: str
    config: TrainingConfig
    preprocessing: Preprocessing
    labels: Mapping[int, str]

    @property
    def selects(self) -> bool: ...

    @property
    def validation_samples(self) -> int: ...

    def check(self) -> None:
        """Raises LLMBoostError if the validation cases cannot select."""

    def identity(self) -> dict[str, Any]:
        """What else must be the same for a training to be continued, in JSON's types."""

    def batches(self, step: int, device: torch.device, /) -> Iterator[dict[str, Tensor]]:
        """The batches of a training from ``step`` on; the n-th one is always the same."""

    def loss(self, network: nn.Module, batch: dict[str, Tensor], progress: Progress, /) -> Tensor:
        """Of a batch on the network's device."""

    def score(self, network: nn.Module) -> Score:
        """Of a network as it is now."""


@dataclass(frozen=True)
class Outcome:
    """The end of a training: the best validation's weights and score; without validation, or with
    ``TrainingConfig.last``, the last weights. ``score`` is None if nothing was validated."""

    state: dict[str, Tensor]
    score: Score | None
    steps: int
    seconds: float


def now(clock: str) -> float:
    """Seconds by a clock of :class:`TrainingConfig`; differences tell."""
    return time.process_time() / torch.get_num_threads() if clock == "cpu" else time.monotonic()


def check_run(folder: Path) -> None:
    """Raises LLMBoostError if a file that a run writes is a link there, or no file: another one would be changed."""
    for path in (folder / LOG, folder / CHECKPOINT):
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise LLMBoostError(f"{path}: a link, a folder or a device, not a file of its own; remove it")


class Trainer:
    """Trains ``network`` in place for a ``task`` and keeps the best of its validations.

    ``cancelled`` and ``finishing`` are asked at each step whether to end; to finish, there is a validation if there was
    none yet. ``folder`` receives a log (a JSON line an event) and checkpoints, from which :meth:`resume` goes on, on a
    device that trains in the same precision. ``report`` is called with each logged event and with
    {"event": "step", ...} between. ``identity`` is what else must be the same for a training to be continued, in JSON's
    types: of "training cases" and "validation cases", a digest by id.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        folder: Path,
        device: torch.device,
        report: Callable[[dict[str, Any]], None] = lambda event: None,
        cancelled: Callable[[], bool] = lambda: False,
        identity: Mapping[str, Any] | None = None,
        finishing: Callable[[], bool] = lambda: False,
    ) -> None:
        config = task.config
        if (config.steps is None) == (config.minutes is None):
            raise ValueError("give steps or minutes")
        check_share(config.batch)
        self.learner = Learner(network, config, device)
        self.network = network
        self.task = task
        self.config = config
        self.folder = folder
        self.device = device
        self.report = report
        self.cancelled = cancelled
        self.finishing = finishing
        self.identity = identity or {}
        self.guard = Guard()
        self.budget = Budget(
            config.steps,
            config.minutes,
            marks=config.validations,
            batch=config.batch,
            samples=task.validation_samples if task.selects else 0,
            first=config.first,
        )
        self.passed = (0, 0)  # see :meth:`.budget.Budget.passed`
        self.losses = (0.0, 0)  # since the last validation: their sum, and how many
        self.good: Snapshot | None = None  # to go back to
        self.validated = 0
        self.best: dict[str, Tensor] = {}
        self.best_score: Score | None = None
        self.stale = 0  # validations since the best one
        self.known: Score | None = None  # of the network at the start, where somebody has validated it

    def resume(self, *, check_budget: bool = True) -> None:
        """Continue after the last checkpoint.

        Args:
            check_budget: whether less time or fewer steps than before are refused; more is what resuming is for.

        Raises:
            LLMBoostError: there is none, it is damaged, or it belongs to a training of another kind, and what differs.
        """
        check_run(self.folder)
        path = self.folder / CHECKPOINT
        if not path.exists():
            raise LLMBoostError(f"{path}: no checkpoint to resume from; start without --resume")
        tensors, progress = read_checkpoint(path)
        # a frozen block is not in the checkpoint, so only its description tells it from another of the same shape
        if progress.get("booster") != describe(self.network)[1]:
            raise LLMBoostError(f"{path}: was trained with another booster; name that one, or start without --resume")
        if not is_progress(progress):
            raise LLMBoostError(f"{path}: no checkpoint of this training (damaged); start without --resume")
        then, now = progress["identity"], self._identity()
        if not check_budget or no_less(then.get("budget") or {}, now["budget"]):
            then, now = ({**table, "budget": {}} for table in (then, now))
        if differing := differences(then, now):
            raise LLMBoostError(
                f"{path}: no checkpoint of this training ({differing}); start it as it was started, or without --resume"
                " and with another output"
            )
        start = self.learner.snapshot(self.losses)
        self.good, self.best = restored(path, tensors, progress)
        self.learner.restore(self.good, path)
        self.losses = self.good.losses
        self.guard = Guard(**progress["guard"])
        if not self.guard.passed:
            self.good = start
        self.best_score = Score(**progress["best"]) if progress.get("best") else None
        self.validated, self.stale = progress["validated"], progress["stale"]
        self.budget.seconds, self.budget.validating = progress["seconds"], progress["validating"]
        self.budget.last = progress["ended"], progress["took"]
        self.passed = self.budget.passed(self.step)
        self._log("resumed", step=self.step, seconds=self.seconds)

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a training to be continued, and the budget."""
        config = asdict(self.config)
        return {
            "budget": {key: config.pop(key) for key in BUDGET},
            "settings": config,
            "device": {"precision on this device": name_of(self.learner.dtype)},
            "network": describe(self.network)[0],
            "preprocessing": asdict(self.task.preprocessing),
            "labels": {f"label {value}": name for value, name in self.task.labels.items()},
            "versions": versions(),
            **self.task.identity(),
            **self.identity,
        }

    @reused_memory()
    def run(self) -> Outcome:
        """Train to the end of the budget.

        Raises:
            Cancelled: ``cancelled`` answered True before the first validation; later, the best so far is returned.
            LLMBoostError: the loss is no longer a number, or nothing is labeled in the validation cases.
        """
        self.task.check()
        check_run(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.step:
            self._log("start", step=0, device=str(self.device), precision=name_of(self.learner.dtype))
        self.good = self.good or self.learner.snapshot(self.losses)
        started = self._now() - self.seconds
        batches = self.task.batches(self.step, self.device)
        if self.config.first and self.task.selects and not self.best:
            self._validate(self.known)
            self.validated = self.stale = 0
            if not self.known:
                self.budget.validated(self._now() - started)
        while self.fraction < 1 and not self.stalled and not agreed(self.cancelled() or self.finishing()):
            loss = self.learner.learn(self._loss, next(batches), self.rate)
            self.budget.stepped(self._now() - started)
            if trouble := self.guard.trouble(loss, self.fraction):
                self._go_back(trouble)
                batches = self.task.batches(self.step, self.device)
                continue
            self.losses = self.losses[0] + loss, self.losses[1] + 1
            self.report({"event": "step", "step": self.step, "loss": loss, "fraction": min(self.fraction, 1.0)})
            passed = self.budget.passed(self.step)
            if passed != self.passed:
                due, self.passed = passed[1] > self.passed[1], passed
                if due and (self.fraction >= 1 or self.budget.has_time()):
                    self._validate()
                    self.losses = 0.0, 0
                    self.budget.validated(self._now() - started)
                self._checkpoint()
        if self.step and not self.best and agreed(self.finishing()):
            self._validate()
            self.budget.validated(self._now() - started)
        if self.step and (self.config.last or not self.task.selects):
            self.best = self.learner.weights()
        if not self.best:
            raise Cancelled
        self._log(
            "end", step=self.step, seconds=round(self.seconds, 1), text=self.budget.used(self.step, self.validated)
        )
        return Outcome(self.best, self.best_score, self.step, self.seconds)

    def _now(self) -> float:
        return agreed(now(self.config.clock))

    @property
    def step(self) -> int:
        """How many steps are done."""
        return self.learner.step

    @property
    def seconds(self) -> float:
        """Of training, over all sittings."""
        return self.budget.seconds

    @property
    def stalled(self) -> bool:
        """Whether training goes on without getting better."""
        return 0 < self.config.patience <= self.stale

    @property
    def fraction(self) -> float:
        """The share of the budget that is spent."""
        return self.budget.fraction(self.step)

    @property
    def rate(self) -> float:
        """The learning rate at this point of the budget."""
        done, warmup = min(self.fraction, 1.0), self.config.warmup
        peak = self.config.rate * self.guard.factor
        if done < warmup:
            # never zero: by minutes, nothing is spent at the first step
            return peak * max(done / warmup, 0.01)
        return peak * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))

    def _loss(self, batch: dict[str, Tensor]) -> Tensor:
        return self.task.loss(self.network, batch, Progress(self.step, min(self.fraction, 1.0)))

    def _go_back(self, trouble: str) -> None:
        """Go on from the last good state at half the rate.

        Raises:
            LLMBoostError: it is in vain.
        """
        if self.guard.setbacks == MOST_SETBACKS:
            raise LLMBoostError(f"training failed at step {self.step}: {trouble}; use a smaller --rate")
        assert self.good is not None
        failed = self.step
        self.learner.restore(self.good, self.folder)
        self.losses = self.good.losses
        self.guard.set_back(self.fraction)
        self.passed = self.budget.passed(self.step)
        text = f"step {failed}: {trouble}; back to step {self.step} with half the rate"
        self._log("setback", step=failed, back=self.step, peak=self.config.rate * self.guard.factor, text=text)

    def _validate(self, known: Score | None = None) -> None:
        if not self.task.selects:
            return
        self.validated += 1
        with self.learner.judged() as network:
            score = known or agreed(self.task.score(network))
        self.stale += 1
        if self.best_score is None or self.config.last or score.value > self.best_score.value:
            self.best, self.best_score, self.stale = self.learner.weights(), score, 0
        self._log(
            "validation",
            step=self.step,
            seconds=round(self.seconds, 1),
            loss=self.losses[0] / self.losses[1] if self.losses[1] else None,
            labels=score.labels,
            best=None if self.config.last else self.best_score.figures.get(self.task.measure),
            selected_by=score.value,
            rate=self.rate,
            **score.figures,
        )

    def _checkpoint(self) -> None:
        snapshot = self.learner.snapshot(self.losses)
        if self.guard.passed:
            self.good = snapshot
        if not is_first():
            return
        progress = {
            "identity": self._identity(),
            "booster": describe(self.network)[1],
            "seconds": self.seconds,
            "validating": self.budget.validating,
            "ended": self.budget.last[0],
            "took": self.budget.last[1],
            "guard": asdict(self.guard),
            "validated": self.validated,
            "best": asdict(self.best_score) if self.best_score else None,
            "stale": self.stale,
        }
        save_checkpoint(self.folder / CHECKPOINT, snapshot, self.best, progress)

    def _log(self, event: str, **fields: Any) -> None:
        if not is_first():
            return
        entry = {"event": event, **fields}
        append_json(self.folder / LOG, entry)
        self.report(entry)
