"""Training a classifier within a budget: augmented and mixed images, averaged weights, soft targets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...card import Preprocessing
from ...errors import LLMBoostError
from ...inference.classifier_input import classifier_input
from ...inference.classify import probabilities
from ...io.imageset import Sample
from ...metrics.classification import classification_scores
from ..augment import IMAGE
from ..checkpoint import learnt
from ..trainer import Trainer, TrainingConfig
from .augment import Augmentation

TARGET = "target"
AVERAGED = "averaged."  # of names in a checkpoint


@dataclass(frozen=True)
class ClassificationConfig(TrainingConfig):
    """What classifiers add.

    Attributes:
        rate: the default is the best one with a booster in the recipe ``booster_headline_retina``, of 1e-4 to 2e-3.
        mixup: Beta's parameter of the mixture of two images and their targets (Zhang et al. 2017, arXiv 1710.09412); 0
            mixes none.
        smoothing: of the targets, towards all classes alike.
        balanced: classes are drawn alike often, not as often as they occur.
        average: of the weights over the steps, an exponential moving average that forgets so little at each.
    """

    batch: int = 32
    rate: float = 5e-4
    validations: int = 20
    weight_decay: float = 0.05
    mixup: float = 0.2
    smoothing: float = 0.05
    balanced: bool = False
    average: float = 0.99


@dataclass(frozen=True)
class Images:
    """Samples as the network sees them: images (N, C, R, A, S) in half precision, targets (N, classes) float32."""

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.images)


def read_images(samples: Sequence[Sample], preprocessing: Preprocessing, input_region: str) -> Images:
    """Read and frame all samples; a volume gives one image, and so does a slice.

    Raises:
        LLMBoostError: naming all samples that cannot be used, a line each.
    """
    images, problems = [], []
    for sample in samples:
        try:
            framed = classifier_input(sample.read(preprocessing), preprocessing, input_region)[0]
            if len(framed) != 1:
                raise LLMBoostError(f"{len(framed)} slices, one is expected")
            images.append(torch.from_numpy(framed[0]).half())
        except LLMBoostError as error:
            problems.append(f"{sample.id}: {error}")
    if problems:
        lines = "\n  ".join(problems)
        raise LLMBoostError(f"{len(problems)} image(s) cannot be used, mend them before training:\n  {lines}")
    return Images(torch.stack(images), torch.tensor([sample.target for sample in samples], dtype=torch.float32))


def digest_of(image: Tensor) -> str:
    """SHA-256 of an image as the network sees it."""
    return hashlib.sha256(image.numpy().tobytes()).hexdigest()


def image_digests(train: tuple[Sequence[Sample], Images], val: tuple[Sequence[Sample], Images]) -> dict[str, Any]:
    """What tells a training's images and their classes from others, see :class:`..trainer.Trainer`."""

    def each(samples: Sequence[Sample], images: Images) -> dict[str, str]:
        pairs = zip(samples, images.images, strict=True)
        return {sample.id: f"{digest_of(image)[:16]} {sample.target}" for sample, image in pairs}

    return {"training cases": each(*train), "validation cases": each(*val)}


class ClassificationTrainer(Trainer):
    """Trains a classifier in place and keeps the best of its validations, judged by the AUC of the averaged weights.

    ``teachers`` are classifiers of the same classes, whose mean probabilities for each augmented image stand in for its
    target (Beyer et al. 2022, arXiv 2106.05237): several networks in one. ``watched`` images are scored at each
    validation, for the log alone: they choose nothing.
    """

    measure = "auc"

    def __init__(
        self,
        network: nn.Module,
        train: Images,
        val: Images,
        preprocessing: Preprocessing,
        config: ClassificationConfig,
        augmentation: Augmentation,
        folder: Path,
        device: torch.device,
        *,
        multi_label: bool = False,
        teachers: Sequence[nn.Module] = (),
        watched: Images | None = None,
        report: Callable[[dict[str, Any]], None] = lambda event: None,
        cancelled: Callable[[], bool] = lambda: False,
        labels: Mapping[int, str] | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self.images, self.held_out, self.watched = train, val, watched
        self.options = config
        self.augmentation = augmentation
        self.multi_label = multi_label
        self.teachers = [teacher.to(device).eval() for teacher in teachers]
        self.averaged: dict[str, Tensor] = {}
        identity = {"augmentation": asdict(augmentation), **(identity or {})}
        super().__init__(
            network,
            _NoWindows(),
            [],
            preprocessing,
            config,
            folder,
            device,
            report,
            cancelled,
            labels=labels,
            identity=identity,
        )
        self.val = [None]  # type: ignore[list-item]  # there is something to select by

    def _check(self) -> None:
        if len(self.held_out.targets.unique(dim=0)) < 2:
            raise LLMBoostError("training cannot select: the validation images are all of one class; add others")

    def resume(self, *, check_budget: bool = True) -> None:
        super().resume(check_budget=check_budget)
        kept, self.best = self.best, {}
        for name, tensor in kept.items():
            if name.startswith(AVERAGED):
                self.averaged[name.removeprefix(AVERAGED)] = tensor.to(self.device)
            else:
                self.best[name] = tensor

    def _checkpoint(self) -> None:
        best = self.best
        # averaging goes on from the averages of now, which are not those of the best validation
        self.best = best | {AVERAGED + name: tensor for name, tensor in self.averaged.items()}
        super()._checkpoint()
        self.best = best

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        step, size = self.step, self.config.batch
        while True:
            random = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
            order = self._order(step, size)
            images, targets = self.images.images[order].float(), self.images.targets[order]
            images = self.augmentation(images, random)
            targets = self._soften(targets)
            if self.options.mixup:
                alpha = self.options.mixup
                share = float(np.random.default_rng((self.config.seed, step)).beta(alpha, alpha))
                other = torch.randperm(len(images), generator=random)
                images = share * images + (1 - share) * images[other]
                targets = share * targets + (1 - share) * targets[other]
            yield {IMAGE: images, TARGET: targets}
            step += 1

    def _order(self, step: int, size: int) -> Tensor:
        """The images of a step: each once an epoch, in an order drawn anew, or drawn class by class."""
        count = len(self.images)
        if self.options.balanced:
            random = np.random.default_rng((self.config.seed, 1, step))
            labels = self.images.targets
            weights = (labels / labels.sum(dim=0).clamp(min=1)).sum(dim=1).double().numpy()
            return torch.from_numpy(random.choice(count, size, p=weights / weights.sum()))
        places = np.arange(step * size, (step + 1) * size)
        epochs = {
            epoch: np.random.default_rng((self.config.seed, epoch)).permutation(count)
            for epoch in np.unique(places // count)
        }
        return torch.tensor([int(epochs[place // count][place % count]) for place in places])

    def _soften(self, targets: Tensor) -> Tensor:
        if self.multi_label:
            return targets * (1 - self.options.smoothing) + self.options.smoothing / 2
        return targets * (1 - self.options.smoothing) + self.options.smoothing / targets.shape[1]

    def _step(self, batch: dict[str, Tensor]) -> float:
        loss = super()._step(batch)
        new = learnt(self.network)
        # young averages forget sooner
        keep = min(self.options.average, self.step / (self.step + 10))
        for name, tensor in new.items():
            if name in self.averaged:
                self.averaged[name].lerp_(tensor.detach(), 1 - keep)
            else:
                self.averaged[name] = tensor.detach().clone()
        return loss

    def _loss(self, batch: dict[str, Tensor]) -> Tensor:
        logits, targets = self.network(batch[IMAGE]), batch[TARGET]
        if self.teachers:
            with torch.no_grad():
                answers = [_activate(teacher(batch[IMAGE]), self.multi_label) for teacher in self.teachers]
            targets = torch.stack(answers).mean(dim=0)
        if self.multi_label:
            return F.binary_cross_entropy_with_logits(logits, targets)
        return F.cross_entropy(logits, targets)

    def _score(self) -> tuple[float, dict[str, float | None]]:
        now = {name: tensor.detach().clone() for name, tensor in learnt(self.network).items()}
        self.network.load_state_dict({**self.network.state_dict(), **self.averaged})
        try:
            auc, entropy = self._rank(self.held_out)
            figures: dict[str, float | None] = {"auc": auc, "entropy": entropy}
            if self.watched is not None:
                figures["watched_auc"], _ = self._rank(self.watched)
        finally:
            self.network.load_state_dict({**self.network.state_dict(), **now})
        # where several weights rank alike, the surer ones
        return auc - 1e-3 * entropy, figures

    def _figure(self, score: float, means: Mapping[str, float | None]) -> float:
        auc = means.get("auc")
        return score if auc is None else auc

    def _rank(self, images: Images) -> tuple[float, float]:
        """AUC and cross-entropy."""
        found = probabilities(
            self.network, images.images, mirror=self.preprocessing.mirror, multi_label=self.multi_label
        )
        scores = classification_scores(
            found.numpy(), images.targets.numpy().astype(int), multi_label=self.multi_label, resamples=0
        )
        # what nothing can be ranked by counts as chance
        auc = 0.5 if scores["auc"] is None else scores["auc"]
        return auc, -float((images.targets * found.clamp(min=1e-7).log()).sum(dim=1).mean())

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self.averaged.items()}


def _activate(logits: Tensor, multi_label: bool) -> Tensor:
    return logits.sigmoid() if multi_label else logits.softmax(dim=1)


class _NoWindows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Batches come from all images at once."""
