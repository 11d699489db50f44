"""Training a base model of either task: what the command line and the Python API ask for, in one form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..booster import BoosterConfig
from ..card import Card
from ..errors import LLMBoostError
from ..io.imageset import is_image_set
from .classification.crossvalidation import cross_validate_classifier
from .classification.task import ClassificationConfig
from .classification.train import ClassificationRecipe, train_classifier
from .crossvalidation import cross_validate
from .distributed import world_size
from .plan import QUICK_MINUTES
from .train import Recipe, train
from .trainer import TrainingConfig


@dataclass(frozen=True)
class BaseSettings:
    """What may be chosen; what is left out comes from the data, or is the default of the task.

    Attributes:
        steps, minutes: the budget, one of them.
        booster: None for a network without one.
        network: of :data:`..networks.NETWORKS`.
        rate: peak learning rate.
        folds: in how many parts cases are held out in turn, see :func:`.crossvalidation.cross_validate`; 0: the data
            set's split tells.
        batch: patches or images a step, of all processes together; 0: as the data lets expect.
        size, pretrained: of classifiers, see :class:`.classification.train.ClassificationRecipe`.
    """

    steps: int | None = None
    minutes: float | None = None
    booster: BoosterConfig | None = None
    network: str = ""
    rate: float | None = None
    size: int = 0
    pretrained: Path | None = None
    seed: int = 0
    folds: int = 0
    batch: int = 0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise LLMBoostError("give one budget: minutes or steps")
        if (self.minutes or self.steps or 0) <= 0:
            raise LLMBoostError("the budget must be greater than zero")


def train_base(
    data: Path,
    output: Path,
    settings: BaseSettings,
    *,
    device: torch.device,
    resume: bool = False,
    report: Callable[[dict[str, Any]], None] = lambda event: None,
) -> Card:
    """Train a segmenter or a classifier, as ``data`` are labeled, and write it to ``output``.

    Raises:
        LLMBoostError: as :func:`.train.train` and :func:`.classification.train.train_classifier`.
    """
    budget: dict[str, Any] = {"steps": settings.steps, "minutes": settings.minutes, "seed": settings.seed}
    budget |= {} if settings.rate is None else {"rate": settings.rate}
    chosen: dict[str, Any] = {"booster": settings.booster}
    chosen |= {"network": settings.network} if settings.network else {}
    if settings.folds and world_size() > 1:
        raise LLMBoostError("--folds: cross-validation is not for several processes; start it without torchrun")
    run: dict[str, Any] = {"device": device, "resume": resume, "report": report}
    if is_image_set(data):
        budget |= {"batch": settings.batch} if settings.batch else {}
        config = ClassificationConfig(**budget)
        recipe = ClassificationRecipe(config, size=settings.size, pretrained=settings.pretrained, **chosen, report=True)
        if settings.folds:
            return cross_validate_classifier(data, output, recipe, settings.folds, **run)
        return train_classifier(data, output, recipe, **run)
    if settings.size or settings.pretrained:
        raise LLMBoostError("a size and pretrained weights are for classifiers; this data set is to be segmented")
    each = None if settings.minutes is None else settings.minutes / max(settings.folds, 1)
    quick = not settings.network and each is not None and each < QUICK_MINUTES
    # of the networks, Muon was measured on our own (docs/evidence.md: optimizers)
    optimizer = "adamw" if settings.network else "muon"
    training = TrainingConfig(**budget, optimizer=optimizer)
    segmenting = Recipe(training, **chosen, quick=quick, report=True, batch=settings.batch)
    if settings.folds:
        return cross_validate(data, output, segmenting, settings.folds, **run)
    return train(data, output, segmenting, **run)
