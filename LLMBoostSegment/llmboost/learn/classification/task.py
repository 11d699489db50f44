"""What a classifier is trained for: augmented and mixed images, soft targets, judged by their AUC."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...card import Preprocessing
from ...errors import LLMBoostError
from ...inference.classifier_input import classifier_input
from ...inference.classify import probabilities
from ...inference.preprocessing import mirrorings
from ...io.imageset import Sample
from ...metrics.classification import classification_scores
from ..augment import IMAGE
from ..distributed import rank, world_size
from ..trainer import Progress, Score, TrainingConfig
from .augment import Augmentation

TARGET = "target"
SURER = 1e-3  # how much of the cross-entropy counts where several weights rank alike


@dataclass(frozen=True)
class ClassificationConfig(TrainingConfig):
    """What classifiers add.

    Attributes:
        rate: the default is the best one with a booster in the recipe ``booster_headline_retina``, of 1e-4 to 2e-3.
        mixup: Beta's parameter of the mixture of two images and their targets (Zhang et al. 2017, arXiv 1710.09412); 0
            mixes none.
        smoothing: of the targets, towards all classes alike.
        balanced: classes are drawn alike often, not as often as they occur.
    """

    batch: int = 32
    rate: float = 5e-4
    validations: int = 20
    weight_decay: float = 0.05
    mixup: float = 0.2
    smoothing: float = 0.05
    balanced: bool = False
    ema: float = 0.99


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


class ClassificationTask:
    """A :class:`..trainer.Task`; the AUC selects.

    ``teachers`` are classifiers of the same classes on the same device, whose mean probabilities for each augmented
    image stand in for its target (Beyer et al. 2022, arXiv 2106.05237): several networks in one.
    """

    measure = "auc"
    selects = True

    def __init__(
        self,
        train: Images,
        val: Images,
        preprocessing: Preprocessing,
        config: ClassificationConfig,
        augmentation: Augmentation,
        labels: Mapping[int, str] | None = None,
        multi_label: bool = False,
        teachers: Sequence[nn.Module] = (),
    ) -> None:
        self.train, self.val = train, val
        self.preprocessing = preprocessing
        self.config: TrainingConfig = config
        self.options = config
        self.augmentation = augmentation
        self.labels = labels or {}
        self.multi_label = multi_label
        self.teachers = [teacher.eval() for teacher in teachers]

    @property
    def validation_samples(self) -> int:
        return len(self.val) * len(mirrorings(self.preprocessing.mirror))

    def check(self) -> None:
        if len(self.val.targets.unique(dim=0)) < 2:
            raise LLMBoostError("training cannot select: the validation images are all of one class; add others")

    def identity(self) -> dict[str, Any]:
        return {"augmentation": asdict(self.augmentation)}

    def batches(self, step: int, _device: torch.device) -> Iterator[dict[str, Tensor]]:
        while True:
            random = torch.Generator().manual_seed(self.options.seed * 1_000_003 + step)
            order = self._order(step, self.options.batch)
            images, targets = self.train.images[order].float(), self.train.targets[order]
            images = self.augmentation(images, random)
            targets = self._soften(targets)
            if self.options.mixup:
                alpha = self.options.mixup
                share = float(np.random.default_rng((self.options.seed, step)).beta(alpha, alpha))
                other = torch.randperm(len(images), generator=random)
                images = share * images + (1 - share) * images[other]
                targets = share * targets + (1 - share) * targets[other]
            mine = slice(rank(), None, world_size())  # images are mixed across the whole batch
            yield {IMAGE: images[mine], TARGET: targets[mine]}
            step += 1

    def _order(self, step: int, size: int) -> Tensor:
        """The images of a step: each once an epoch, in an order drawn anew, or drawn class by class."""
        count = len(self.train)
        if self.options.balanced:
            random = np.random.default_rng((self.options.seed, 1, step))
            labels = self.train.targets
            weights = (labels / labels.sum(dim=0).clamp(min=1)).sum(dim=1).double().numpy()
            return torch.from_numpy(random.choice(count, size, p=weights / weights.sum()))
        places = np.arange(step * size, (step + 1) * size)
        epochs = {
            epoch: np.random.default_rng((self.options.seed, epoch)).permutation(count)
            for epoch in np.unique(places // count)
        }
        return torch.tensor([int(epochs[place // count][place % count]) for place in places])

    def _soften(self, targets: Tensor) -> Tensor:
        if self.multi_label:
            return targets * (1 - self.options.smoothing) + self.options.smoothing / 2
        return targets * (1 - self.options.smoothing) + self.options.smoothing / targets.shape[1]

    def loss(self, network: nn.Module, batch: dict[str, Tensor], _progress: Progress) -> Tensor:
        logits, targets = network(batch[IMAGE]).float(), batch[TARGET]
        if self.teachers:
            with torch.no_grad():
                answers = [_activate(teacher(batch[IMAGE]).float(), self.multi_label) for teacher in self.teachers]
            targets = torch.stack(answers).mean(dim=0)
        if self.multi_label:
            return F.binary_cross_entropy_with_logits(logits, targets)
        return F.cross_entropy(logits, targets)

    def score(self, network: nn.Module) -> Score:
        auc, entropy = self._rank(network)
        # where several weights rank alike, the surer ones
        return Score(auc - SURER * entropy, {"auc": auc, "entropy": entropy}, {})

    def _rank(self, network: nn.Module) -> tuple[float, float]:
        """AUC and cross-entropy on the validation images."""
        targets = self.val.targets
        found = probabilities(network, self.val.images, mirror=self.preprocessing.mirror, multi_label=self.multi_label)
        scores = classification_scores(
            found.numpy(), targets.numpy().astype(int), multi_label=self.multi_label, resamples=0
        )
        # what nothing can be ranked by counts as chance
        auc = 0.5 if scores["auc"] is None else scores["auc"]
        return auc, -float((targets * found.clamp(min=1e-7).log()).sum(dim=1).mean())


def _activate(logits: Tensor, multi_label: bool) -> Tensor:
    return logits.sigmoid() if multi_label else logits.softmax(dim=1)
