"""Explaining a class of a classifier, in the patch that it sees."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from ..explanation import Explanation, ExplanationSpec
from ..explanation.maps import relevance
from ..explanation.spec import scaled
from ..io.image import resample
from ..model import Model
from .classifier_input import Framed
from .memory import Batches
from .preprocessing import mirrorings, orient
from .watch import Watch


def explain_class(model: Model, framed: Framed, spec: ExplanationSpec, number: int, watch: Watch) -> Explanation:
    """Where a classifier looked for its class ``number``, by the class's log-odds."""
    started, preprocessing = time.monotonic(), model.card.preprocessing
    heat = framed.case.with_array(np.zeros(framed.case.shape, np.float32))
    batches, found = Batches(model.network, 1, watch), []
    for _, maps in batches.over(
        lambda image: class_relevance(model, image.to(batches.device), spec, number), torch.from_numpy(framed.images)
    ):
        found.append(maps[0].numpy())
        watch.progress(len(found) / len(framed.images))
    axis = preprocessing.slice_axis
    seen = framed.place.with_array(found[0] if axis is None else np.concatenate(found, axis=axis))
    view = orient(framed.view.crop.with_array(framed.view.part(heat.array)), preprocessing)
    view.array[...] = resample(seen, view, "linear", fill=0.0).array
    return scaled(heat, model.card.labels[number], spec, started)


def class_relevance(model: Model, images: Tensor, spec: ExplanationSpec, number: int) -> Tensor:
    """How much each voxel of framed images (B, channels, R, A, S) matters for class ``number``: (B, R, A, S), the mean
    over the mirror images that the classifier's answer is the mean of."""
    classification = model.card.classification
    assert classification is not None

    def score(logits: Tensor) -> Tensor:
        if classification.multi_label:
            return logits[:, number].sum()
        others = [n for n in range(logits.shape[1]) if n != number]
        return (logits[:, number] - logits[:, others].logsumexp(dim=1)).sum()

    maps = []
    for axes in mirrorings(model.card.preprocessing.mirror):
        found = relevance(model.network, images.flip([axis + 2 for axis in axes]), spec.method, spec.layer, score)
        maps.append(found.flip([axis + 1 for axis in axes]))
    return torch.stack(maps).mean(dim=0)
