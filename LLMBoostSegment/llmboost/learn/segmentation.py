"""What a segmenter is trained for: patches of labeled cases, Dice and cross-entropy; whole cases' Dice selects."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from ..card import Preprocessing
from ..errors import LLMBoostError
from ..inference.content import seen_of
from ..inference.exclusive import class_logits, classes_of, predict_outputs
from ..inference.predict import tile
from ..inference.preprocessing import preprocess
from ..io.dataset import Dataset, DatasetCase, LoadedCase, load
from ..io.image import Image, resample
from .augment import IMAGE, LABEL
from .distributed import processes_here, rank, shared, world_size
from .loss import IGNORED, SegmentationLoss
from .patches import DRAWN, TrainingPatches, Volume
from .trainer import Progress, Score, TrainingConfig

Answer = Callable[[Tensor], Tensor]
Regularizer = Callable[[Answer, dict[str, Tensor], list[Tensor], Progress], Tensor]


class SegmentationTask:
    """A :class:`.trainer.Task`.

    ``train`` holds cases to cut patches from, or is a source of patches in the form of :class:`TrainingPatches`.
    Without cases in ``val`` nothing is selected. ``regularizers`` are given what tells an image's logits of classes, a
    step's batch, its logits at every level and how far the training is, and what they return is added to the loss.
    ``regions`` are classes that are learned and judged as one, see :class:`.loss.SegmentationLoss`. ``activation`` is
    that of the network's card: of labels that have an output of their own each, the classes that are drawn are learned
    (:func:`..inference.exclusive.class_logits`); what lies under a label that covers it is not.
    """

    measure = "dice"

    def __init__(
        self,
        train: Sequence[Volume] | torch.utils.data.Dataset[dict[str, Tensor]],
        val: Sequence[Volume],
        preprocessing: Preprocessing,
        config: TrainingConfig,
        labels: Mapping[int, str] | None = None,
        regularizers: Sequence[Regularizer] = (),
        regions: Sequence[Collection[int]] = (),
        activation: str = "softmax",
    ) -> None:
        self.train, self.val = train, val
        self.preprocessing = preprocessing
        self.config = config
        self.labels = labels or {}
        self.regularizers = regularizers
        self.regions = regions
        self.activation = activation
        self.criterion = SegmentationLoss(regions=regions)

    @property
    def selects(self) -> bool:
        return bool(self.val)

    @property
    def validation_samples(self) -> int:
        return sum(len(tile(volume.image, self.preprocessing.patch_size)[1]) for volume in self.val)

    def check(self) -> None:
        if self.val and not any(bool((volume.label > 0).any()) for volume in self.val):
            raise LLMBoostError("training cannot select: the validation cases have no labeled voxels; label some")

    def identity(self) -> dict[str, Any]:
        return {}

    def batches(self, step: int, device: torch.device) -> Iterator[dict[str, Tensor]]:
        config, patches = self.config, self.train
        if not isinstance(patches, torch.utils.data.Dataset):
            chosen = {"contrast": config.contrast, "thick": config.thick, "foreground": config.foreground}
            patches = TrainingPatches(patches, self.preprocessing, config.samples, config.seed, **chosen)
        rest = Subset(patches, range(step * config.batch + rank(), config.samples, world_size()))
        # the cores that train on a CPU have no time for workers
        workers = min(8, max(1, (os.cpu_count() or 2) // processes_here() - 1)) if device.type == "cuda" else 0
        return iter(DataLoader(rest, config.batch // world_size(), num_workers=workers, pin_memory=workers > 0))

    def loss(self, network: nn.Module, batch: dict[str, Tensor], progress: Progress) -> Tensor:
        self.criterion.balance = self.config.balance * (1 - progress.fraction)
        levels = [class_logits(outputs.float(), self.activation) for outputs in cast(Any, network).deep(batch[IMAGE])]

        def answer(image: Tensor) -> Tensor:
            return class_logits(network(image).float(), self.activation)

        loss = self.criterion(levels, batch[LABEL].long(), batch.get(DRAWN))
        for regularizer in self.regularizers:
            loss = loss + regularizer(answer, batch, levels, progress)
        return cast(Tensor, loss)

    def score(self, network: nn.Module) -> Score:
        """The mean Dice of the labels, or of the regions where there are some, and of each label over the cases."""
        how = self.preprocessing, self.regions, self.activation
        found = shared(lambda volume: mean_dice_of(network, volume, *how), self.val)
        scores, of_regions = np.hsplit(np.array(found), [len(found[0]) - len(self.regions)])
        # a label that no case has and nobody predicted, or that was drawn in none, has no score
        values = list(self.labels) or range(1, scores.shape[1] + 1)
        labels = {
            str(value): None if np.isnan(column).all() else float(np.nanmean(column))
            for value, column in zip(values, scores.T, strict=True)
        }
        means = [score for score in labels.values() if score is not None]
        if self.regions:
            means = [np.nanmean(column) for column in of_regions.T if not np.isnan(column).all()]
        dice = float(np.mean(means))
        return Score(dice, {self.measure: dice}, labels)


def read_volume(
    dataset: Dataset,
    case: DatasetCase,
    preprocessing: Preprocessing,
    load: Callable[[DatasetCase], LoadedCase] = load,
) -> Volume:
    """A labeled case as the network sees it. Labels are resampled as probabilities; values become 0, 1, 2, ..."""
    images, label = load(case)
    assert label is not None
    work = preprocess(seen_of(images, preprocessing)[0], preprocessing)
    values = [0, *dataset.labels] + ([dataset.ignore] if dataset.ignore is not None else [])
    classes = resample(label.with_array(np.stack([label.array == value for value in values])), _grid(work), "linear")
    indices = classes.array.argmax(axis=0).astype(np.int16)
    indices[indices > len(dataset.labels)] = IGNORED
    undrawn = dataset.undrawn(case.id, set(np.unique(label.array).tolist()))
    drawn = torch.tensor([value not in undrawn for value in (0, *dataset.labels)]) if undrawn else None
    return Volume(case.id, torch.from_numpy(np.ascontiguousarray(work.array)), torch.from_numpy(indices[None]), drawn)


def _grid(work: Image) -> Image:
    return work.with_array(work.array[0])


def mean_dice_of(
    network: nn.Module,
    volume: Volume,
    preprocessing: Preprocessing,
    regions: Sequence[Collection[int]] = (),
    activation: str = "softmax",
) -> list[float]:
    """Dice of each label, and then of each region, on the network's grid; NaN where neither reference nor prediction
    has it, or where it was not drawn."""
    outputs = predict_outputs(network, volume.image, preprocessing.patch_size, activation)
    prediction, classes = classes_of(outputs, activation), len(outputs) + (activation != "softmax")
    known = volume.label[0] != IGNORED

    def of(each: Collection[int]) -> float:
        wanted = torch.tensor(sorted(each))
        a, b = torch.isin(prediction, wanted) & known, torch.isin(volume.label[0], wanted) & known
        drawn = volume.drawn is None or bool(volume.drawn[wanted].all())
        total = int(a.sum() + b.sum()) if drawn else 0
        return 2 * int((a & b).sum()) / total if total else math.nan

    return [of(each) for each in (*([value] for value in range(1, classes)), *regions)]
