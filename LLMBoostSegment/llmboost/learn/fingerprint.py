"""What a data set is like before anything is trained on it: grids, intensities, labels (nnU-Net's dataset fingerprint,
Isensee et al. 2021, Nature Methods), for people and for scripts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_whole
from ..io.dataset import SPLITS, Dataset, DatasetCase, LoadedCase
from ..io.image import to_canonical
from .plan import TrainingPlan
from .structures import Structure, measure

FINGERPRINT = "dataset_fingerprint.json"
SAMPLE = 10_000  # labeled voxels of a case, as in nnU-Net
OBLIQUE = 1.0  # degrees between an axis of the grid and the nearest one of the patient, from which a grid is oblique
PERCENTILES = {"percentile_00_5": 0.5, "percentile_05": 5, "median": 50, "percentile_95": 95, "percentile_99_5": 99.5}


@dataclass(frozen=True)
class _Seen:
    """A case, along R, A, S; ``constant`` are the channels of one value, ``foreground`` samples of labeled voxels."""

    spacing: tuple[float, ...]
    size: tuple[int, ...]
    stored: str
    oblique: float
    constant: tuple[int, ...]
    foreground: tuple[np.ndarray, ...]
    structures: dict[int, Structure]


class Fingerprint:
    """Gathers what labeled cases of a data set are like, each of which is shown once."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.seen: dict[str, _Seen] = {}

    def see(self, case: DatasetCase, loaded: LoadedCase) -> None:
        """Take a case's channels and label map."""
        images, label = loaded
        assert label is not None
        canonical = to_canonical(images[0])
        cosines = np.diag([-1.0, -1.0, 1.0]) @ images[0].direction
        nearest = np.abs(cosines).argmax(axis=0)
        letters = [("RL", "AP", "SI")[axis][int(cosines[axis, n] < 0)] for n, axis in enumerate(nearest)]
        labeled = (label.array > 0) & (label.array != self.dataset.ignore)
        step = max(1, int(np.count_nonzero(labeled)) // SAMPLE)
        drawn = to_canonical(label.with_array(np.where(labeled, label.array, 0).astype(np.int32)))
        found = measure(drawn.array, drawn.spacing)
        self.seen[case.id] = _Seen(
            canonical.spacing,
            canonical.shape,
            "".join(letters),
            float(np.degrees(np.arccos(np.clip(np.abs(cosines).max(axis=0), 0, 1)).max())),
            tuple(n for n, image in enumerate(images) if image.array.min() == image.array.max()),
            tuple(image.array[labeled][::step].astype(np.float32) for image in images),
            {value: one for value, one in found.items() if value in self.dataset.labels},
        )

    def report(self, plan: TrainingPlan | None = None) -> dict[str, Any]:
        """All of it in JSON's types; lengths in mm, axes R, A, S. ``plan`` is what follows from it."""
        dataset, seen = self.dataset, self.seen
        splits = {name: [id for id in dataset.splits[name] if id in seen] for name in SPLITS}
        stored = Counter(one.stored for one in seen.values())
        return {
            "dataset": dataset.name,
            "cases": {name: len(dataset.splits[name]) for name in SPLITS},
            "unlabeled": sum(case.label is None for case in dataset.cases.values()),
            "looked_at": len(seen),
            "subjects": len({dataset.subjects.get(id, id) for id in seen}),
            "spacing_mm": _spread([one.spacing for one in seen.values()]),
            "size_voxels": _spread([one.size for one in seen.values()]),
            "extent_mm": _spread([np.multiply(one.spacing, one.size) for one in seen.values()]),
            "stored_axes": dict(stored.most_common()),
            "oblique": sorted(id for id, one in seen.items() if one.oblique > OBLIQUE),
            "constant_images": sorted(id for id, one in seen.items() if one.constant),
            "foreground_intensity_properties_per_channel": {
                str(n): {"name": name, **self._intensities(n)} for n, name in enumerate(dataset.modalities)
            },
            "labels": {str(value): self._label(value, name, splits) for value, name in dataset.labels.items()},
            "plan": None if plan is None else asdict(plan),
        }

    def _intensities(self, channel: int) -> dict[str, float]:
        samples = [one.foreground[channel] for one in self.seen.values()]
        values = np.concatenate(samples) if samples else np.zeros(0)
        if not len(values):
            return {}
        found = {"min": values.min(), "max": values.max(), "mean": values.mean(), "std": values.std()}
        found |= {name: np.percentile(values, at) for name, at in PERCENTILES.items()}
        return {name: float(f"{value:.6g}") for name, value in found.items()}

    def _label(self, value: int, name: str, splits: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        showing = [one for one in self.seen.values() if value in one.structures]
        found = [one.structures[value] for one in showing]
        volumes = [(one.structures[value].voxels * float(np.prod(one.spacing)) / 1000,) for one in showing]
        total = sum(int(np.prod(one.size)) for one in self.seen.values())
        with_it = {split: sum(value in self.seen[id].structures for id in ids) for split, ids in splits.items()}
        result: dict[str, Any] = {"name": name, "cases": {k: n for k, n in with_it.items() if splits[k]}}
        if found:
            result |= {
                "share_of_voxels": float(f"{sum(one.voxels for one in found) / total:.3g}"),
                "voxels": _spread([(one.voxels,) for one in found], scalar=True),
                "volume_ml": _spread(volumes, scalar=True),
                "extent_mm": _spread([one.extent for one in found]),
                "pieces": _spread([(one.pieces,) for one in found], scalar=True),
            }
        return result


def write_fingerprint(found: Mapping[str, Any], path: Path) -> None:
    """Write what :meth:`Fingerprint.report` gave as JSON."""
    write_whole(path, (json.dumps(found, indent=1) + "\n").encode())


def _spread(values: Sequence[Sequence[float] | np.ndarray], scalar: bool = False) -> dict[str, Any]:
    """The least, the median and the largest of each number of tuples; ``scalar``: of single numbers."""
    if not len(values):
        return {}
    table = np.array([list(one) for one in values], float)
    rows = {"min": table.min(axis=0), "median": np.median(table, axis=0), "max": table.max(axis=0)}
    rounded = {name: [float(f"{value:.5g}") for value in row] for name, row in rows.items()}
    return {name: row[0] for name, row in rounded.items()} if scalar else rounded
