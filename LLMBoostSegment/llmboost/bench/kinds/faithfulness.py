"""Explanations of a segmenter: does its map lie in the segment, and does the segment depend on what the map shows?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ...explanation import ExplanationSpec
from ...explanation.faithfulness import areas, energy, points_into, randomised
from ...inference.explain_segment import segment_relevance
from ...inference.predict import predict
from ...inference.preprocessing import preprocess
from ...io.dataset import load, read_dataset
from ...io.image import resample
from ...library import find
from ...model import load_model
from ..subjects import with_subjects
from . import Context, Measure, settings_of

MEASURES = (
    Measure("energy", "energy in the segment"),
    Measure("gain", "energy / chance"),
    Measure("pointing", "peak in the segment"),
    Measure("deletion", "deletion", better="lower"),
    Measure("insertion", "insertion"),
)
NOISE = "noise"
BLUR = 4.0  # voxels: the segment's borders and texture are gone, the brightness of its surroundings stays


@dataclass(frozen=True)
class Settings:
    """What a row may set.

    Attributes:
        data: a data set in the folder of data.
        model: of the library, or a file.
        split, every: which cases: each ``every``-th of a split.
        method, layer: see :mod:`...explanation.maps`; the method ``noise`` gives tokens at random.
        weights: ``trained`` or ``random``; the curves are always the trained network's.
        curves: also measure deletion and insertion.
        sides: how many cases, numbered one after the other, show one subject.
    """

    data: str
    model: str
    split: str = "val"
    every: int = 1
    method: str = "grad-cam"
    layer: str = "after"
    weights: str = "trained"
    curves: bool = True
    sides: int = 1


def run(row: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Explain each label of each case by the mean logit over the reference segment, and measure the maps."""
    settings = settings_of(row, Settings)
    model = load_model(find(settings.model), context.device)
    network = randomised(model.network, row["seed"]) if settings.weights == "random" else model.network
    dataset = with_subjects(read_dataset(context.data / settings.data), settings.sides)
    preprocessing = model.card.preprocessing
    generator = torch.Generator().manual_seed(row["seed"])
    chosen, cases = dataset.split(settings.split)[:: settings.every], []
    for n, case in enumerate(chosen):
        images, truth = load(case)
        assert truth is not None
        work = preprocess(images, preprocessing)
        volume = torch.from_numpy(work.array)
        there = torch.from_numpy(resample(truth, work.with_array(work.array[0]), "nearest").array.astype(np.int16))
        nothing = torch.from_numpy(np.stack([ndimage.gaussian_filter(channel, BLUR) for channel in work.array]))
        found = []
        for number, label in enumerate(model.card.labels, start=1):
            mask = there == label.value
            if not mask.any():
                continue
            if settings.method == NOISE:
                heat = _noise(mask, model.network.stride, generator)  # type: ignore[arg-type]
            else:
                spec = ExplanationSpec(label.value, settings.method, settings.layer)
                heat = segment_relevance(network, volume, mask, preprocessing.patch_size, number, spec)

            def score(image: Tensor, number: int = number, mask: Tensor = mask) -> float:
                return float(predict(model.network, image, preprocessing.patch_size)[number][mask].mean())

            inside, share = energy(heat, mask), float(mask.float().mean())
            deletion, insertion = areas(score, volume, nothing, heat) if settings.curves else (None, None)
            found.append((inside, share, inside / share, float(points_into(heat, mask)), deletion, insertion))
        names = ("energy", "chance", "gain", "pointing", "deletion", "insertion")
        means = [None if None in values else float(np.mean(values)) for values in zip(*found, strict=True)]
        cases.append({"id": case.id, "subject": dataset.subjects[case.id], **dict(zip(names, means, strict=True))})
        context.report({"event": "step", "step": n + 1, "fraction": (n + 1) / len(chosen)})
    return {
        "val": float(np.mean([case["gain"] for case in cases])),
        "cases": cases,
        "numbers": {"chance": round(float(np.mean([case["chance"] for case in cases])), 4)},
    }


def _noise(mask: Tensor, stride: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """A map (R, A, S) of random tokens, as coarse as the others."""
    grid = [-(-size // step) for size, step in zip(mask.shape, stride, strict=True)]
    tokens = torch.rand(1, 1, *grid, generator=generator)
    heat = F.interpolate(tokens, tuple(mask.shape), mode="trilinear")[0, 0]
    return (heat - heat.mean()).relu()
