"""The report on a classifier: figures, the worst images, what is taken for what."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ..card import Card, Label
from ..io.image import Image, to_canonical
from .page import Cell, hint, picture, section, table, text
from .sections import MOST_CASES, Training, curve, figure, named, share, summary, write

MEASURES = (
    ("AUC", "auc"), ("accuracy", "accuracy"), ("balanced accuracy", "balanced_accuracy"),
    ("sensitivity", "sensitivity"), ("specificity", "specificity"), ("weighted kappa", "kappa"),
)  # fmt: skip
MOST = 12  # of the worst images
PIXELS = 160  # a side of a picture
MULTI = "several classes may be true of an image"


class ObservedImages:
    """Shown each image as it is measured, see :func:`..evaluation.evaluate_classifier`.

    Attributes:
        worst: id, how wrong (0 to 1) and the picture, PNG in base64, the worst first, at most ``MOST``.
    """

    def __init__(self) -> None:
        self.worst: list[tuple[str, float, str]] = []

    def see(self, case: Mapping[str, Any], channels: Sequence[Image]) -> None:
        """Take an image.

        Args:
            case: its ``id``, ``target`` and ``probabilities``.
            channels: as stored; three are red, green and blue.
        """
        wrong = wrongness(case)
        if len(self.worst) < MOST or wrong > self.worst[-1][1]:
            self._keep([(str(case["id"]), wrong, _png(channels))])

    def add(self, other: ObservedImages) -> None:
        """Take what another one has seen."""
        self._keep(other.worst)

    def _keep(self, more: Sequence[tuple[str, float, str]]) -> None:
        self.worst = sorted([*self.worst, *more], key=lambda one: -one[1])[:MOST]


def wrongness(case: Mapping[str, Any]) -> float:
    """How far a case's probabilities are from what is true of it: half the sum of the differences, which where one
    class is true is the probability that it was not given."""
    return float(np.abs(np.subtract(case["target"], case["probabilities"])).sum()) / 2


def write_report(
    path: Path, card: Card, result: Mapping[str, Any], observed: ObservedImages, training: Training | None = None
) -> None:
    """Write a report, whole or not at all.

    Args:
        result: what :func:`..evaluation.evaluate_classifier` gave, or of that form.

    Raises:
        LLMBoostError: it cannot be written.
    """
    labels = list(card.labels)
    measures = [(name, result[key], result.get(f"{key}_ci95"), 3) for name, key in MEASURES if key in result]
    sections = [
        summary(card, measures, (result["n"], "images measured", ""), result.get("warnings", ()), "images"),
        curve(training.curve) if training else "",
        _classes(labels, result),
        _folds(result),
        _pictures(labels, observed, {str(case["id"]): case for case in result["cases"]}),
        _confusion(labels, result),
        _cases(labels, result),
    ]
    write(path, card, result, "images", sections, training)


def _classes(labels: Sequence[Label], result: Mapping[str, Any]) -> str:
    targets, found = _arrays(result["cases"])
    rows = []
    for n, (label, auc) in enumerate(zip(labels, result["auc_per_class"], strict=True)):
        true = targets[:, n] == 1
        given = [float(found[chosen, n].mean()) if chosen.any() else None for chosen in (true, ~true)]
        rows.append([named(label), int(true.sum()), figure(auc, 3), *(figure(one, 2) for one in given)])
    head = ["class", "images", "AUC", "probability where true", "elsewhere"]
    return section("Classes", table(head, rows), hint("AUC of each class against all others; mean probabilities."))


def _folds(result: Mapping[str, Any]) -> str:
    rows = [
        [f"fold {fold['fold']}", fold["n"], figure(fold["auc"], 3), figure(fold["accuracy"], 3)]
        for fold in result.get("folds", ())
    ]
    words = "Each image is judged by the network that did not see it."
    return section("Folds", table(["", "images", "AUC", "accuracy"], rows), hint(words)) if rows else ""


def _pictures(labels: Sequence[Label], observed: ObservedImages, cases: Mapping[str, Mapping[str, Any]]) -> str:
    figures = []
    for id, _wrong, data in observed.worst:
        given = np.array(cases[id]["probabilities"])
        true = _true(labels, cases[id]["target"])
        likeliest = int(given.argmax())
        caption = f"{id}: {true}; likeliest {labels[likeliest].name} ({given[likeliest]:.2f})"
        figures.append(f"<figure>{picture(data, id)}<figcaption>{text(caption)}</figcaption></figure>")
    words = "The images whose probabilities are the furthest from what is true."
    shown = f'<div class="pictures small">{"".join(figures)}</div>'
    return section("Worst images", hint(words), shown) if figures else ""


def _confusion(labels: Sequence[Label], result: Mapping[str, Any]) -> str:
    targets, found = _arrays(result["cases"])
    if not (targets.sum(axis=1) == 1).all():
        return section("Confusion", hint(f"{MULTI}: none is taken for another."))
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, (targets.argmax(axis=1), found.argmax(axis=1)), 1)
    rows = [
        [named(label), *(share(n, row.sum(), here == there) for there, n in enumerate(row)), f"{row.sum():,}"]
        for here, (label, row) in enumerate(zip(labels, counts, strict=True))
    ]
    words = "Of the images of a row, the share whose likeliest class is the column's."
    return section("Confusion", table(["true", *(label.name for label in labels), "images"], rows), hint(words))


def _cases(labels: Sequence[Label], result: Mapping[str, Any]) -> str:
    ordered = sorted(result["cases"], key=wrongness, reverse=True)
    rows = [
        [
            case["id"],
            Cell(text(_true(labels, case["target"])), "word"),
            *(f"{p:.3f}" for p in case["probabilities"]),
        ]
        for case in ordered[:MOST_CASES]
    ]
    more = f" {len(ordered) - MOST_CASES} better ones are left out." if len(ordered) > MOST_CASES else ""
    head = ["image", "true", *(label.name for label in labels)]
    return section("Images", hint(f"Probabilities, the worst image first.{more}"), table(head, rows))


def _true(labels: Sequence[Label], target: Sequence[int]) -> str:
    return ", ".join(label.name for label, true in zip(labels, target, strict=True) if true) or "none"


def _arrays(cases: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([case["target"] for case in cases]), np.array([case["probabilities"] for case in cases])


def _png(channels: Sequence[Image]) -> str:
    """A picture as it would be shown; of a volume, the slice from feet to head in which most differs."""
    from PIL import Image as Picture

    arrays = [to_canonical(channel).array if 1 not in channel.shape else channel.array for channel in channels]
    flat = 1 in arrays[0].shape
    axis = arrays[0].shape.index(1) if flat else 2
    spread = arrays[0].astype(np.float32).std(axis=tuple(n for n in range(3) if n != axis))
    planes = [np.take(array, int(spread.argmax()), axis).astype(np.float32) for array in arrays]
    # a picture's rows lie from front to back; of a volume, front is up, and the patient's right at the left
    shown = np.stack([plane.T if flat else plane[::-1, ::-1].T for plane in planes], axis=-1)
    low, high = np.percentile(shown, (0.5, 99.5))
    levels = (255 * np.clip((shown - low) / max(high - low, 1e-6), 0, 1)).astype(np.uint8)
    made = Picture.fromarray(levels if len(planes) == 3 else levels[..., 0])
    times = max(1, PIXELS // max(made.size))
    data = BytesIO()
    made.resize((made.width * times, made.height * times), Picture.Resampling.NEAREST).save(data, "PNG", optimize=True)
    return base64.b64encode(data.getvalue()).decode()
