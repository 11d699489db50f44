"""What the rows of measure_classifiers.py show, as the tables that evidence.py puts into docs/evidence.md.

    .venv/bin/python scripts/summarize_classifiers.py

Of `retina`, what is asked with yes or no is whether the grade is 2 or more (referable).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from classifier_measures import (
    Floats,
    Measured,
    Truth,
    advantage,
    area,
    calibration_line,
    error_by_chance,
    net_benefit,
    runs,
    share,
    tempered,
)
from llmboost.bench.report import markdown
from llmboost.bench.runner import read_rows
from llmboost.metrics.classification import calibration_error

FOLDER = Path(__file__).parents[1] / "Testing" / "bench" / "classifiers"
MODELS = ("adrenal", "breast", "pneumonia", "retina")
REFERABLE = 2  # the grade of retinopathy from which on an eye doctor should look
CUTS = np.arange(5, 96) / 100  # thresholds of decision curves
EDGES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # of predictions, in the table of reliability
FEATURES = {"adrenal": "volume of the gland"}  # what the mean value of an image tells; else brightness


@dataclass(frozen=True)
class Answers:
    """What a model said of a list.

    Attributes:
        probabilities: (N, classes), calibrated.
        classes: (N,) the true ones.
        positive: what is looked for, in words, and ``looked_for``, the classes that are it.
        threshold: of the card; None: it has none.
        mean: (N,) mean values of the images.
        distance: (N,) from the training's images, usual up to ``limit``.
        figures: of :func:`llmboost.metrics.classification.classification_scores`.
    """

    name: str
    probabilities: Floats
    classes: np.ndarray[Any, np.dtype[np.int_]]
    positive: str
    looked_for: tuple[int, ...]
    threshold: float | None
    temperature: float
    mean: Floats
    distance: Floats
    limit: float
    figures: dict[str, Any]

    @property
    def truth(self) -> Truth:
        """Where it is what is looked for (N,)."""
        return np.isin(self.classes, self.looked_for)

    @property
    def chance(self) -> Floats:
        """Its predicted probability (N,)."""
        return self.chance_by(self.probabilities)

    def chance_by(self, probabilities: Floats) -> Floats:
        """The same by other probabilities (N, classes)."""
        return probabilities[:, self.looked_for].sum(axis=1)

    @property
    def uncalibrated(self) -> Floats:
        """The probabilities (N, classes) without the card's temperature."""
        return tempered(self.probabilities, 1 / self.temperature)

    def error(self, probabilities: Floats) -> float:
        """The calibration error of such probabilities."""
        right = probabilities.argmax(axis=1) == self.classes
        return calibration_error(probabilities.max(axis=1), right.astype(float))

    def brier(self, probabilities: Floats) -> float:
        """The Brier score of such probabilities, summed over the classes."""
        target = np.eye(self.probabilities.shape[1])[self.classes]
        return float(((probabilities - target) ** 2).sum(axis=1).mean())


def main() -> None:
    if sys.argv[1:]:
        sys.exit(__doc__)
    print("\n\n".join(f"{name}:\n\n{table()}" for name, table in TABLES.items()))


def answers(name: str, split: str = "test") -> Answers:
    """What a model said of a list, from its row."""
    row = _row(f"{name}/{split}")
    figures, cases = row["figures"], row["cases"]
    words, names = figures["positive"], figures["classes"]
    return Answers(
        name=name,
        probabilities=np.array(cases["probabilities"]),
        classes=np.array(cases["class"]),
        positive=words or f"grade {REFERABLE} or more",
        looked_for=(names.index(words),) if words else tuple(range(REFERABLE, len(names))),
        threshold=figures["thresholds"][0] if figures["thresholds"] else None,
        temperature=row["temperature"],
        mean=np.array(cases["mean"]),
        distance=np.array(cases["distance"]),
        limit=row["limit"],
        figures=figures,
    )


def foreign(name: str) -> dict[str, Floats]:
    """Distances of foreign images, by kind; infinite where one cannot even be read."""
    kinds = _row(f"{name}/foreign")["kinds"]
    return {kind: np.array([np.inf if d is None else d for d in distances]) for kind, distances in kinds.items()}


def told_apart(own: Floats, others: Floats) -> Measured:
    """The area under the ROC curve of own images' distances and foreign ones'."""
    return area(np.concatenate([own, others]), np.repeat([False, True], (len(own), len(others))))


def _row(name: str) -> dict[str, Any]:
    (found,) = [record for record in read_rows(FOLDER) if record["row"] == name]
    return found


# -- tables ------------------------------------------------------------------------------------------------------------


def figures_table() -> str:
    """Ranking and decisions on both lists."""
    header = ["model", "list (images)", "AUC", "accuracy", "sensitivity", "specificity", "kappa, quadratic"]
    rows = []
    for name in MODELS:
        for split in ("val", "test"):
            figures = answers(name, split).figures
            keys = ("auc", "accuracy", "sensitivity", "specificity", "kappa")
            cells = [_told(_kept(figures, key)) if key in figures else "" for key in keys]
            rows.append([f"`{name}`", f"{split} ({figures['n']})", *cells])
    return markdown(header, rows)


def calibration_table() -> str:
    """Errors of the probabilities with and without the card's temperature, and the calibration line."""
    header = [
        "model",
        "list",
        "temperature",
        "calibration error",
        "by chance alone: mean (95 % below)",
        "without temperature",
        "Brier score",
        "without temperature",
        "of the classes' shares",
        "slope",
        "intercept",
    ]
    rows = []
    for name in MODELS:
        for split in ("val", "test"):
            a = answers(name, split)
            mean, most = error_by_chance(a.probabilities.max(axis=1))
            shares = np.bincount(a.classes, minlength=a.probabilities.shape[1]) / len(a.classes)
            slope, intercept = calibration_line(a.chance, a.truth)
            errors = [f"{a.error(a.probabilities):.3f}", f"{mean:.3f} ({most:.3f})", f"{a.error(a.uncalibrated):.3f}"]
            scores = [a.probabilities, a.uncalibrated, np.tile(shares, (len(a.classes), 1))]
            told = [f"{a.brier(probabilities):.3f}" for probabilities in scores]
            line = [_told(slope, digits=2), _told(intercept, digits=2, sign="+")]
            rows.append([f"`{name}`", split, f"{a.temperature:.2f}", *errors, *told, *line])
    return markdown(header, rows)


def reliability_table() -> str:
    """How often it was so, where so much was predicted, on test."""
    each = [answers(name) for name in MODELS]
    rows = []
    for low, high in pairwise(EDGES):
        cells = []
        for a in each:
            there = (a.chance >= low) & ((a.chance < high) | (high == 1))
            n, hits = int(there.sum()), int(a.truth[there].sum())
            cells.append(f"{_percent(share(hits, n))}, {hits} of {n}" if n else "none")
        rows.append([f"{low:.0%} to {high:.0%}".replace("%", " %"), *cells])
    return markdown(["predicted", *(f"`{a.name}`: {a.positive}" for a in each)], rows)


def decisions_table() -> str:
    """Net benefit on test: where deciding by the model is better than treating all or none."""
    header = [
        "model",
        "looked for",
        "share",
        "AUC",
        "card's threshold",
        "net benefit there",
        "of treating all",
        "better than all and none at thresholds",
        "surely (95 %)",
    ]
    rows = []
    for name in MODELS:
        a = answers(name)
        more, low, _ = advantage(a.chance, a.truth, CUTS)
        at = np.array([a.threshold]) if a.threshold else None
        there = [
            f"{net_benefit(chance, a.truth, at)[0]:.3f}" if at is not None else ""
            for chance in (a.chance, np.ones_like(a.chance))
        ]
        spans = [_spans(runs(CUTS, where)) for where in (more > 0, low > 0)]
        cut = f"{a.threshold:.2f}" if a.threshold else "none"
        auc = _told(area(a.chance, a.truth))
        rows.append([f"`{name}`", a.positive, f"{a.truth.mean():.2f}", auc, cut, *there, *spans])
    return markdown(header, rows)


def grades_table() -> str:
    """What `retina` says of each grade on test."""
    a = answers("retina")
    said, count = a.probabilities.argmax(axis=1), a.probabilities.shape[1]
    header = ["true grade", "images", *(f"said {grade}" for grade in range(count)), "sensitivity", "within one grade"]
    rows = []
    for grade in range(count):
        here = said[a.classes == grade]
        n, near = len(here), int((np.abs(here - grade) <= 1).sum())
        counts = np.bincount(here, minlength=count)
        cells = [_percent(share(int(hits), n)) for hits in (counts[grade], near)]
        rows.append([str(grade), str(n), *map(str, counts), *cells])
    return markdown(header, rows)


def parts_table() -> str:
    """Test images in thirds by brightness, and glands by volume."""
    header = ["model", "third by", "images", "looked for", "predicted (mean)", "AUC", "sensitivity", "specificity"]
    rows = []
    for name in MODELS:
        a = answers(name)
        order = np.argsort(a.mean, kind="stable")
        for words, part in zip(("lowest", "middle", "highest"), np.array_split(order, 3), strict=True):
            chance, truth = a.chance[part], a.truth[part]
            auc = _told(area(chance, truth))
            found = chance >= a.threshold if a.threshold else None
            decided = ["", ""] if found is None else [f"{found[truth].mean():.2f}", f"{(~found[~truth]).mean():.2f}"]
            by = f"{FEATURES.get(name, 'brightness')}: {words}"
            shares = [f"{truth.mean():.2f}", f"{chance.mean():.2f}"]
            rows.append([f"`{name}`", by, str(len(part)), *shares, auc, *decided])
    return markdown(header, rows)


def refusal_table() -> str:
    """How well the distance tells own test images from foreign ones, and what the card's limit makes of it."""
    header = ["model", "own", "foreign", "AUC", "own refused", "foreign refused", "where 5 % of own are", "told least"]
    header.append("other sets of MedMNIST: AUC; refused")
    rows = []
    for name in MODELS:
        a, kinds = answers(name), foreign(name)
        others = np.concatenate(list(kinds.values()))
        rates = [f"{_percent(_beyond(distances, a.limit), 1)}" for distances in (a.distance, others)]
        loose = f"{100 * _beyond(others, float(np.quantile(a.distance, 0.95))).value:.1f} %"
        areas = {kind: told_apart(a.distance, distances).value for kind, distances in kinds.items()}
        least = min(areas, key=areas.__getitem__)
        sets = [
            f"{kind.removeprefix('MedMNIST: ')} {areas[kind]:.3f}; {100 * _beyond(distances, a.limit).value:.0f} %"
            for kind, distances in kinds.items()
            if kind.startswith("MedMNIST")
        ]
        area_told = _told(told_apart(a.distance, others))
        counts = [str(len(a.distance)), str(len(others))]
        rows.append([f"`{name}`", *counts, area_told, *rates, loose, f"{least} {areas[least]:.3f}", ", ".join(sets)])
    return markdown(header, rows)


def _beyond(distances: Floats, limit: float) -> Measured:
    return share(int((distances > limit).sum()), len(distances))


def published_table(names: Sequence[str]) -> str:
    """Cell by cell beside the published figures of some models' data sets."""
    tables = json.loads((FOLDER / "published.json").read_text(encoding="utf-8"))["tables"]
    figures = [answers(name).figures for name in names]
    keys = ("auc", "accuracy")
    header = ["on test", *(f"`{name}`: {words}" for name in names for words in ("AUC", "accuracy"))]
    rows = [["ours", *(f"**{_told(_kept(f, key))}**" for f in figures for key in keys)]]
    for method in tables[names[0]]:
        cells = []
        for name, ours in zip(names, figures, strict=True):
            for key, value in zip(keys, tables[name][method], strict=True):
                low, high = ours[f"{key}_ci95"]
                word = "" if low <= value <= high else ", ours above" if value < low else ", ours below"
                cells.append(f"{value:.3f} ({ours[key] - value:+.3f}{word})")
        rows.append([method, *cells])
    return markdown(header, rows)


TABLES: dict[str, Callable[[], str]] = {
    "figures": figures_table,
    "calibration": calibration_table,
    "reliability": reliability_table,
    "decisions": decisions_table,
    "grades": grades_table,
    "parts": parts_table,
    "refusal": refusal_table,
    "published 2D": lambda: published_table(("breast", "pneumonia", "retina")),
    "published 3D": lambda: published_table(("adrenal",)),
}


def _kept(figures: dict[str, Any], key: str) -> Measured:
    return Measured(figures[key], *figures[f"{key}_ci95"])


def _told(figure: Measured, digits: int = 3, sign: str = "") -> str:
    value, low, high = (f"{edge:{sign}.{digits}f}" for edge in figure)
    return f"{value} ({low} to {high})"


def _percent(figure: Measured, digits: int = 0) -> str:
    value, low, high = (f"{100 * edge:.{digits}f}" for edge in figure)
    return f"{value} % ({low} to {high})"


def _spans(found: Sequence[tuple[float, float]]) -> str:
    return ", ".join(f"{low:.2f} to {high:.2f}" if high > low else f"{low:.2f}" for low, high in found) or "none"


if __name__ == "__main__":
    main()
