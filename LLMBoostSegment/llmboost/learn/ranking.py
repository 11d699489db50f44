"""Which case to label next: one that the model is unsure of, and that is unlike those that are labeled.

The rule of suggestive annotation (Yang et al. 2017, arXiv 1706.04737): of the unlabeled cases, the half that the
model is least sure of are candidates; of these, take one after the other the one that makes all unlabeled cases most
alike to a case taken, by the cosine of what the encoder makes of them. Cases that are labeled count as taken. The
other half follows in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from ..errors import Cancelled, LLMBoostError
from ..inference.content import seen_of
from ..inference.exclusive import class_probabilities, predict_outputs
from ..inference.preprocessing import preprocess
from ..io.dataset import Dataset, DatasetCase, unlabeled_cases
from ..io.image import read_volumes
from ..model import Model
from ..networks.ensemble import members_of


@dataclass(frozen=True)
class Ranked:
    """A case in its place.

    Attributes:
        score: 1 for the case to label next, falling to 0 for the last one.
        uncertainty: mean entropy (in nats) of the voxels that the model calls, or nearly calls, labeled.
        diversity: by how much taking the case made the unlabeled cases more alike to a taken one, a mean over them.
    """

    id: str
    score: float
    uncertainty: float
    diversity: float


def rank_cases(
    model: Model,
    dataset: Dataset,
    *,
    progress: Callable[[float], None] = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Ranked]:
    """The unlabeled cases of ``dataset``, the one to label next first.

    Raises:
        LLMBoostError: there are none, or a file cannot be used.
        Cancelled: ``cancelled`` answered True.
    """
    unlabeled = unlabeled_cases(dataset)
    if not unlabeled:
        raise LLMBoostError(f"{dataset.folder}: no unlabeled cases; put their images into imagesTs")
    labeled = [case for case in dataset.cases.values() if case.label]
    seen = []
    for number, case in enumerate([*unlabeled, *labeled]):
        if cancelled():
            raise Cancelled
        seen.append(look(model, case))
        progress((number + 1) / (len(unlabeled) + len(labeled)))
    uncertainty = np.array([one for one, _ in seen])[: len(unlabeled)]
    features = np.stack([feature for _, feature in seen])
    order, gains = suggest(uncertainty, features[: len(unlabeled)], features[len(unlabeled) :])
    last = max(len(order) - 1, 1)
    return [
        Ranked(unlabeled[index].id, 1 - place / last, float(uncertainty[index]), gain)
        for place, (index, gain) in enumerate(zip(order, gains, strict=True))
    ]


def look(model: Model, case: DatasetCase) -> tuple[float, np.ndarray]:
    """A case's uncertainty and its features (width,): the encoder's tokens, averaged and made a unit vector."""
    preprocessing, activation = model.card.preprocessing, model.card.activation
    channels = [image for path in case.images for image in read_volumes(path)]
    if len(channels) != preprocessing.channels:
        raise LLMBoostError(f"{case.images[0]}: {len(channels)} channel(s), the model takes {preprocessing.channels}")
    volume = torch.from_numpy(preprocess(seen_of(channels, preprocessing)[0], preprocessing).array)
    network = cast(Any, members_of(model.network)[0])  # features of several networks cannot be averaged
    tokens: list[torch.Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, grid: torch.Tensor) -> None:
        tokens.append(grid.mean(dim=(0, 2, 3, 4)))

    handle = network.after_booster.register_forward_hook(keep)
    try:
        outputs = predict_outputs(model.network, volume, preprocessing.patch_size, activation)
    finally:
        handle.remove()
    probabilities = class_probabilities(outputs, activation)
    entropy = -(probabilities * probabilities.clamp(min=1e-6).log()).sum(dim=0)
    nearly = probabilities[0] < 0.9  # elsewhere, most voxels are background beyond doubt
    feature = torch.stack(tokens).mean(dim=0).cpu().numpy()
    return float(entropy[nearly].mean()) if nearly.any() else 0.0, feature / max(float(np.linalg.norm(feature)), 1e-9)


def suggest(uncertainty: np.ndarray, features: np.ndarray, taken: np.ndarray) -> tuple[list[int], list[float]]:
    """The order in which to label, as indices, and what each one adds.

    Args:
        uncertainty: (cases,).
        features: (cases, width), unit vectors.
        taken: (labeled cases, width), the same of cases that are labeled.
    """
    alike = features @ features.T
    covered = (features @ taken.T).max(axis=1) if len(taken) else np.full(len(features), -1.0)
    by_doubt = np.argsort(-uncertainty, kind="stable")
    half = (len(features) + 1) // 2
    order: list[int] = []
    gains: list[float] = []
    for candidates in (list(by_doubt[:half]), list(by_doubt[half:])):
        while candidates:
            gain = [float(np.maximum(alike[index] - covered, 0).mean()) for index in candidates]
            best = int(np.argmax(gain))
            index = int(candidates.pop(best))
            covered = np.maximum(covered, alike[index])
            order.append(index)
            gains.append(gain[best])
    return order, gains
