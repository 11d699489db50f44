"""Training within a budget of minutes or steps, on one device: the loop, which validation is the best, and how a
killed training goes on. What is learned, from what and how it is judged is a :class:`Task`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from .. import __version__
from ..card import Preprocessing
from ..errors import Cancelled, LLMBoostError
from ..jsonfile import append_json
from ..networks import describe
from .checkpoint import differences, fill, read_checkpoint, save_checkpoint
from .optimizer import make_optimizer

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"
BUDGET = ("steps", "minutes")


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
        validations: how often the validation cases are segmented, spread evenly over the budget.
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
    validations: int = 20
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
        labels: names of what is learned, by value, in the network's order.
    """

    measure: str
    config: TrainingConfig
    preprocessing: Preprocessing
    labels: Mapping[int, str]

    @property
    def selects(self) -> bool: ...

    def check(self) -> None:
        """Raises LLMBoostError if the validation cases cannot select."""

    def identity(self) -> dict[str, Any]:
        """What else must be the same for a training to be continued, in JSON's types."""

    def batches(self, step: int, device: torch.device, /) -> Iterator[dict[str, Tensor]]:
        """The batches of a training from ``step`` on; the n-th one is always the same."""

    def loss(self, network: nn.Module, batch: dict[str, Tensor], progress: Progress, /) -> Tensor:
        """Of a batch on the network's device."""

    def stepped(self, network: nn.Module, step: int, /) -> None:
        """Called after each step; ``step`` are done."""

    def score(self, network: nn.Module) -> Score:
        """Of the weights that :meth:`weights` would keep."""

    def weights(self, network: nn.Module, /) -> dict[str, Tensor]:
        """A copy of what is kept of a network as it is now, on the CPU."""

    def state(self) -> dict[str, Tensor]:
        """What the task itself needs to go on, beside the network."""

    def load_state(self, state: dict[str, Tensor], /) -> None:
        """Go on from what :meth:`state` gave."""


@dataclass(frozen=True)
class Outcome:
    """The end of a training: the best validation's weights and score; without validation, or with
    ``TrainingConfig.last``, the last weights. ``score`` is None if nothing was validated."""

    state: dict[str, Tensor]
    score: Score | None
    steps: int
    seconds: float


def versions() -> dict[str, str]:
    """The versions that a model was trained with."""
    return {"llmboost": __version__, "torch": torch.__version__.split("+")[0]}


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

    ``folder`` receives a log (a JSON line an event) and a checkpoint at each validation, from which :meth:`resume`
    continues. ``report`` is called with each logged event and with {"event": "step", ...} between. ``identity`` is what
    else must be the same for a training to be continued, in JSON's types: of "training cases" and "validation cases", a
    digest by id.
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
    ) -> None:
        config = task.config
        if (config.steps is None) == (config.minutes is None):
            raise ValueError("give steps or minutes")
        self.network = network.to(device)
        self.task = task
        self.config = config
        self.folder = folder
        self.device = device
        self.report = report
        self.cancelled = cancelled
        self.identity = identity or {}
        self.optimizer = make_optimizer(network, config.optimizer, config.rate, config.weight_decay, config.kernels)
        self.scaler = torch.amp.GradScaler(enabled=device.type == "cuda")
        self.step = 0
        self.seconds = 0.0  # of training, over all sittings
        self.validated = 0
        self.last_validation = (0.0, 0.0)  # when it ended and how long it took, in seconds of training
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
        if not _is_progress(progress):
            raise LLMBoostError(f"{path}: no checkpoint of this training (damaged); start without --resume")
        then, now = progress["identity"], self._identity()
        if not check_budget or _no_less(then.get("budget") or {}, now["budget"]):
            then, now = ({**table, "budget": {}} for table in (then, now))
        if differing := differences(then, now):
            raise LLMBoostError(
                f"{path}: no checkpoint of this training ({differing}); start it as it was started, or without --resume"
                " and with another output"
            )
        self.best, state = fill(path, tensors, self.network, self.optimizer)
        self.task.load_state({name: tensor.to(self.device) for name, tensor in state.items()})
        self.best_score = Score(**progress["best"]) if progress.get("best") else None
        self.step, self.seconds = progress["step"], progress["seconds"]
        self.validated, self.stale = progress["validated"], progress["stale"]
        self._log("resumed", step=self.step, seconds=self.seconds)

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a training to be continued, and the budget."""
        config = asdict(self.config)
        return {
            "budget": {key: config.pop(key) for key in BUDGET},
            "settings": config,
            "network": describe(self.network)[0],
            "preprocessing": asdict(self.task.preprocessing),
            "labels": {f"label {value}": name for value, name in self.task.labels.items()},
            "versions": versions(),
            **self.task.identity(),
            **self.identity,
        }

    def run(self) -> Outcome:
        """Train to the end of the budget.

        Raises:
            Cancelled: ``cancelled`` answered True before the first validation; later, the best so far is returned.
            LLMBoostError: the loss is no longer a number, or nothing is labeled in the validation cases.
        """
        self.task.check()
        check_run(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        started = self._now() - self.seconds
        losses: list[float] = []
        batches = self.task.batches(self.step, self.device)
        if self.config.first and self.task.selects and not self.best:
            self._validate(None, self.known)
            self.validated = self.stale = 0
        while self.fraction < 1 and not self.stalled and not self.cancelled():
            losses.append(self._step(next(batches)))
            self.seconds = self._now() - started
            self.report({"event": "step", "step": self.step, "loss": losses[-1], "fraction": min(self.fraction, 1.0)})
            if self._validation_is_due():
                before = self.seconds
                self._validate(float(np.mean(losses)))
                losses.clear()
                self.seconds = self._now() - started
                self.last_validation = (self.seconds, self.seconds - before)
                self._checkpoint()
        if self.step and (self.config.last or not self.task.selects):
            self.best = self.task.weights(self.network)
        if not self.best:
            raise Cancelled
        return Outcome(self.best, self.best_score, self.step, self.seconds)

    def _now(self) -> float:
        return now(self.config.clock)

    def _validation_is_due(self) -> bool:
        if self.fraction >= 1:
            return True
        if self.fraction < (self.validated + 1) / self.config.validations:
            return False
        # by minutes, a fifth of the time may go into validating; by steps, time must not change what is done
        ended, took = self.last_validation
        return self.config.minutes is None or self.seconds - ended >= 4 * took

    @property
    def stalled(self) -> bool:
        """Whether training goes on without getting better."""
        return 0 < self.config.patience <= self.stale

    @property
    def fraction(self) -> float:
        """The share of the budget that is spent."""
        if self.config.steps is not None:
            return self.step / self.config.steps
        assert self.config.minutes is not None
        return self.seconds / (60 * self.config.minutes)

    @property
    def rate(self) -> float:
        """The learning rate at this point of the budget."""
        done, warmup = min(self.fraction, 1.0), self.config.warmup
        if done < warmup:
            # never zero: by minutes, nothing is spent at the first step
            return self.config.rate * max(done / warmup, 0.01)
        return self.config.rate * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))

    def _step(self, batch: dict[str, Tensor]) -> float:
        # dropout, too, repeats after a resume
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
        with torch.autocast(self.device.type, enabled=self.device.type == "cuda"):
            loss = self.task.loss(self.network, batch, Progress(self.step, min(self.fraction, 1.0)))
        if not torch.isfinite(loss):
            raise LLMBoostError(f"training failed at step {self.step}: the loss is not a number; use a smaller --rate")
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self.task.stepped(self.network, self.step)
        return loss.item()

    def _validate(self, loss: float | None, known: Score | None = None) -> None:
        self.validated += 1
        if not self.task.selects:
            return
        score = known or self.task.score(self.network)
        self.stale += 1
        if self.best_score is None or self.config.last or score.value > self.best_score.value:
            self.best, self.best_score, self.stale = self.task.weights(self.network), score, 0
        self._log(
            "validation",
            step=self.step,
            seconds=round(self.seconds, 1),
            loss=loss,
            labels=score.labels,
            best=self.best_score.figures.get(self.task.measure),
            selected_by=score.value,
            rate=self.rate,
            **score.figures,
        )

    def _checkpoint(self) -> None:
        progress = {
            "identity": self._identity(),
            "booster": describe(self.network)[1],
            "step": self.step,
            "seconds": self.seconds,
            "validated": self.validated,
            "best": asdict(self.best_score) if self.best_score else None,
            "stale": self.stale,
        }
        state = self.task.state()
        save_checkpoint(self.folder / CHECKPOINT, self.network, self.optimizer, self.best, state, progress)

    def _log(self, event: str, **fields: Any) -> None:
        entry = {"event": event, **fields}
        append_json(self.folder / LOG, entry)
        self.report(entry)


def _no_less(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a budget is of the same kind as before, and as large."""
    pairs = [(then.get(key), now.get(key)) for key in BUDGET]
    return all(one == other or (one is not None and other is not None and other > one) for one, other in pairs)


def _is_progress(progress: Mapping[str, Any]) -> bool:
    """Whether that is what :meth:`Trainer._checkpoint` writes."""
    counts = (progress.get(name) for name in ("step", "validated", "stale"))
    identity, best = progress.get("identity"), progress.get("best")
    budget = identity.get("budget") if isinstance(identity, dict) else None
    known = isinstance(budget, dict) and all(value is None or _is_number(value) for value in budget.values())
    whole = all(type(n) is int and n >= 0 for n in counts) and _is_number(progress.get("seconds"))
    return known and whole and (best is None or _is_score(best))


def _is_score(best: Any) -> bool:
    """Whether that is a :class:`Score` in JSON's types."""
    if not isinstance(best, dict) or best.keys() != {"value", "figures", "labels"}:
        return False
    value, figures, labels = best["value"], best["figures"], best["labels"]
    if not (_is_number(value) and isinstance(figures, dict) and isinstance(labels, dict)):
        return False
    return all(map(_is_number, figures.values())) and all(one is None or _is_number(one) for one in labels.values())


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
