"""Training a segmenter within a budget of minutes or steps, on one device."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from .. import __version__
from ..card import Preprocessing
from ..errors import Cancelled, LLMBoostError
from ..inference.predict import predict
from ..inference.preprocessing import preprocess
from ..io.dataset import Dataset, DatasetCase, LoadedCase, load
from ..io.image import Image, resample
from ..jsonfile import append_json
from ..networks import describe
from .augment import IMAGE, LABEL
from .checkpoint import differences, fill, learnt, read_checkpoint, save_checkpoint
from .loss import IGNORED, SegmentationLoss
from .patches import TrainingPatches, Volume

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"
BUDGET = ("steps", "minutes")


Regularizer = Callable[[nn.Module, dict[str, Tensor], list[Tensor]], Tensor]


@dataclass(frozen=True)
class TrainingConfig:
    """The recipe.

    Attributes:
        steps, minutes: the budget; give one of them.
        clock: what minutes are of: ``wall``, or ``cpu``, the mean over this process's threads of the time that they
            were at work, which comparisons need that do not have the machine for themselves.
        batch: patches a step; :func:`.train.train` takes the plan's.
        rate: AdamW's learning rate at its peak, reached after ``warmup`` of the budget and falling to zero as a cosine.
            The default did best in the recipe ``peers``, of 1e-3, 3e-3 and 1e-2.
        clip: of the gradient's norm.
        validations: how often the validation cases are segmented, spread evenly over the budget.
        seed: of weights, order and augmentation.
        contrast: the share of patches in a random contrast, for models that should serve several MR sequences.
        thick: the share of patches in thick slices, for models that should take them.
        balance: how much rare labels weigh at the start, see :class:`.loss.SegmentationLoss`; it falls to zero over the
            budget, for what is learned with it is drawn too large.
        first: validate before the first step, too: a network that knows something already may stay the best.
        last: keep the last weights, not those of the best validation: for cases too few to choose by.
        patience: validations in a row without a better one after which training ends; 0 waits for the budget's end.
    """

    steps: int | None = None
    minutes: float | None = None
    clock: str = "wall"
    batch: int = 2
    rate: float = 3e-3
    weight_decay: float = 0.01
    warmup: float = 0.03
    clip: float = 1.0
    validations: int = 20
    seed: int = 0
    contrast: float = 0.0
    thick: float = 0.0
    balance: float = 0.0
    first: bool = False
    last: bool = False
    patience: int = 0


@dataclass(frozen=True)
class Outcome:
    """The end of a training: the best validation's weights and figures; without validation, or with
    ``TrainingConfig.last``, the last weights."""

    state: dict[str, Tensor]
    dice: float
    label_dice: dict[str, float]
    steps: int
    seconds: float


def versions() -> dict[str, str]:
    """The versions that a model was trained with."""
    return {"llmboost": __version__, "torch": torch.__version__.split("+")[0]}


def check_run(folder: Path) -> None:
    """Raises LLMBoostError if a file that a run writes is a link there, or no file: another one would be changed."""
    for path in (folder / LOG, folder / CHECKPOINT):
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise LLMBoostError(f"{path}: a link, a folder or a device, not a file of its own; remove it")


def read_volume(
    dataset: Dataset,
    case: DatasetCase,
    preprocessing: Preprocessing,
    load: Callable[[DatasetCase], LoadedCase] = load,
) -> Volume:
    """A labeled case as the network sees it. Labels are resampled as probabilities; values become 0, 1, 2, ..."""
    images, label = load(case)
    assert label is not None
    work = preprocess(images, preprocessing)
    values = [0, *dataset.labels] + ([dataset.ignore] if dataset.ignore is not None else [])
    classes = resample(label.with_array(np.stack([label.array == value for value in values])), _grid(work), "linear")
    indices = classes.array.argmax(axis=0).astype(np.int16)
    indices[indices > len(dataset.labels)] = IGNORED
    return Volume(case.id, torch.from_numpy(np.ascontiguousarray(work.array)), torch.from_numpy(indices[None]))


def _grid(work: Image) -> Image:
    return work.with_array(work.array[0])


class Trainer:
    """Trains ``network`` in place and keeps the best of its validations.

    ``train`` holds cases to cut patches from, or is a source of patches in the form of :class:`TrainingPatches`.
    ``folder`` receives a log (a JSON line an event) and a checkpoint at each validation, from which :meth:`resume`
    continues. ``report`` is called with each logged event and with {"event": "step", ...} between. Without cases in
    ``val`` nothing is selected: the last weights are kept. ``regularizers`` are given the network, a step's batch and
    its logits at every level, and what they return is added to the loss. ``labels`` names what is learned, by value, in
    the network's order; ``identity`` is what else must be the same for a training to be continued, in JSON's types: of
    "training cases" and "validation cases", a digest by id.
    """

    measure = "dice"  # what selects

    def __init__(
        self,
        network: nn.Module,
        train: Sequence[Volume] | torch.utils.data.Dataset[dict[str, Tensor]],
        val: Sequence[Volume],
        preprocessing: Preprocessing,
        config: TrainingConfig,
        folder: Path,
        device: torch.device,
        report: Callable[[dict[str, Any]], None] = lambda event: None,
        cancelled: Callable[[], bool] = lambda: False,
        regularizers: Sequence[Regularizer] = (),
        labels: Mapping[int, str] | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        if (config.steps is None) == (config.minutes is None):
            raise ValueError("give steps or minutes")
        self.network = network.to(device)
        self.val = val
        self.preprocessing = preprocessing
        self.config = config
        self.folder = folder
        self.device = device
        self.report = report
        self.cancelled = cancelled
        self.regularizers = regularizers
        self.labels = labels or {}
        self.identity = identity or {}
        self.loss = SegmentationLoss()
        self.optimizer = torch.optim.AdamW(_groups(network, config.weight_decay), lr=config.rate)
        self.scaler = torch.amp.GradScaler(enabled=device.type == "cuda")
        self.length = (config.steps or 10**9) * config.batch
        self.patches = (
            train
            if isinstance(train, torch.utils.data.Dataset)
            else TrainingPatches(
                train,
                preprocessing.patch_size,
                preprocessing.mirror,
                self.length,
                config.seed,
                config.contrast,
                config.thick,
            )
        )
        self.step = 0
        self.seconds = 0.0  # of training, over all sittings
        self.validated = 0
        self.last_validation = (0.0, 0.0)  # when it ended and how long it took, in seconds of training
        self.best: dict[str, Tensor] = {}
        self.best_dice = -1.0  # what the best validation was chosen by
        self.best_figure = -1.0  # what it measured
        self.best_labels: dict[str, float] = {}
        self.stale = 0  # validations since the best one

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
        self.best = fill(path, tensors, self.network, self.optimizer)
        self.step, self.seconds = progress["step"], progress["seconds"]
        self.validated, self.best_dice = progress["validated"], progress["best_dice"]
        self.best_figure = progress["best_figure"]
        self.best_labels, self.stale = progress["best_labels"], progress["stale"]
        self._log("resumed", step=self.step, seconds=self.seconds)

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a training to be continued, and the budget."""
        config = asdict(self.config)
        return {
            "budget": {key: config.pop(key) for key in BUDGET},
            "settings": config,
            "network": describe(self.network)[0],
            "preprocessing": asdict(self.preprocessing),
            "labels": {f"label {value}": name for value, name in self.labels.items()},
            "versions": versions(),
            **self.identity,
        }

    def run(self) -> Outcome:
        """Train to the end of the budget.

        Raises:
            Cancelled: ``cancelled`` answered True before the first validation; later, the best so far is returned.
            LLMBoostError: the loss is no longer a number, or nothing is labeled in the validation cases.
        """
        self._check()
        check_run(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        started = self._now() - self.seconds
        losses: list[float] = []
        batches = self._batches()
        if self.config.first and self.val and not self.best:
            self._validate(None)
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
        if self.step and (self.config.last or not self.val):
            self.best = self._weights()
        if not self.best:
            raise Cancelled
        return Outcome(self.best, self.best_dice, self.best_labels, self.step, self.seconds)

    def _check(self) -> None:
        if self.val and not any(bool((volume.label > 0).any()) for volume in self.val):
            raise LLMBoostError("training cannot select: the validation cases have no labeled voxels; label some")

    def _now(self) -> float:
        return time.process_time() / torch.get_num_threads() if self.config.clock == "cpu" else time.monotonic()

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

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        rest = Subset(self.patches, range(self.step * self.config.batch, self.length))
        # the cores that train on a CPU have no time for workers
        workers = min(8, max(1, (os.cpu_count() or 2) - 1)) if self.device.type == "cuda" else 0
        return iter(DataLoader(rest, self.config.batch, num_workers=workers, pin_memory=workers > 0))

    def _step(self, batch: dict[str, Tensor]) -> float:
        # dropout, too, repeats after a resume
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)
        self.network.train()
        self.loss.balance = self.config.balance * max(1 - self.fraction, 0.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
        with torch.autocast(self.device.type, enabled=self.device.type == "cuda"):
            loss = self._loss(batch)
        if not torch.isfinite(loss):
            raise LLMBoostError(f"training failed at step {self.step}: the loss is not a number; use a smaller --rate")
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        return loss.item()

    def _loss(self, batch: dict[str, Tensor]) -> Tensor:
        levels = cast(Any, self.network).deep(batch[IMAGE])
        loss = self.loss(levels, batch[LABEL].long())
        for regularizer in self.regularizers:
            loss = loss + regularizer(self.network, batch, levels)
        return loss

    def _validate(self, loss: float | None) -> None:
        self.validated += 1
        if not self.val:
            return
        dice, means = self._score()
        figure = self._figure(dice, means)
        self.stale += 1
        if dice > self.best_dice:
            self.best_dice, self.best_figure, self.stale = dice, figure, 0
            self.best_labels = {name: score for name, score in means.items() if score is not None}
            self.best = self._weights()
        self._log(
            "validation",
            step=self.step,
            seconds=round(self.seconds, 1),
            loss=loss,
            labels=means,
            best=self.best_figure,
            rate=self.rate,
            **{self.measure: figure},
        )

    def _figure(self, score: float, means: Mapping[str, float | None]) -> float:
        """What is told of a validation, which need not be all that selects."""
        return score

    def _score(self) -> tuple[float, dict[str, float | None]]:
        """How good the network is on the validation cases, higher being better, and for each label."""
        scores = np.array([mean_dice_of(self.network, volume, self.preprocessing) for volume in self.val])
        # a label that no case has and nobody predicted has no score
        values = list(self.labels) or range(1, scores.shape[1] + 1)
        means = {
            str(value): None if np.isnan(column).all() else float(np.nanmean(column))
            for value, column in zip(values, scores.T, strict=True)
        }
        return float(np.mean([score for score in means.values() if score is not None])), means

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in learnt(self.network).items()}

    def _checkpoint(self) -> None:
        progress = {
            "identity": self._identity(),
            "booster": describe(self.network)[1],
            "step": self.step,
            "seconds": self.seconds,
            "validated": self.validated,
            "best_dice": self.best_dice,
            "best_figure": self.best_figure,
            "best_labels": self.best_labels,
            "stale": self.stale,
        }
        save_checkpoint(self.folder / CHECKPOINT, self.network, self.optimizer, self.best, progress)

    def _log(self, event: str, **fields: Any) -> None:
        entry = {"event": event, **fields}
        append_json(self.folder / LOG, entry)
        self.report(entry)


def mean_dice_of(network: nn.Module, volume: Volume, preprocessing: Preprocessing) -> list[float]:
    """Dice of each label on the network's grid; NaN where neither reference nor prediction has it."""
    probabilities = predict(network, volume.image, preprocessing.patch_size)
    prediction = probabilities.argmax(dim=0)
    known = volume.label[0] != IGNORED
    scores = []
    for value in range(1, len(probabilities)):
        a, b = (prediction == value) & known, (volume.label[0] == value) & known
        total = int(a.sum() + b.sum())
        scores.append(2 * int((a & b).sum()) / total if total else math.nan)
    return scores


def _no_less(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a budget is of the same kind as before, and as large."""
    pairs = [(then.get(key), now.get(key)) for key in BUDGET]
    return all(one == other or (one is not None and other is not None and other > one) for one, other in pairs)


def _is_progress(progress: Mapping[str, Any]) -> bool:
    """Whether that is what :meth:`Trainer._checkpoint` writes."""

    def number(value: Any) -> bool:
        return type(value) in (int, float)

    counts = (progress.get(name) for name in ("step", "validated", "stale"))
    figures = (progress.get(name) for name in ("seconds", "best_dice", "best_figure"))
    tables = (progress.get("best_labels"), progress.get("identity"))
    if not all(isinstance(table, dict) for table in tables) or not all(map(number, progress["best_labels"].values())):
        return False
    budget = progress["identity"].get("budget")
    known = isinstance(budget, dict) and all(value is None or number(value) for value in budget.values())
    return known and all(type(n) is int and n >= 0 for n in counts) and all(map(number, figures))


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices and kernels, not norms and biases; frozen weights take no part."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
