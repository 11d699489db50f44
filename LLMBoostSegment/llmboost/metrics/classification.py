"""How good a classifier is: ranking, decisions and probabilities, with 95 % intervals.

Ranking: AUC, macro one-vs-rest as MedMNIST counts it. Decisions: accuracy, balanced accuracy, and, where a class is
looked for, sensitivity and specificity at the model's threshold. Probabilities: Brier score and calibration error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics.rocauc import compute_roc_auc
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

BINS = 15
RESAMPLES = 2000
Floats = NDArray[np.floating[Any]]


def classification_scores(
    probabilities: Floats,
    targets: NDArray[np.integer[Any]],
    *,
    positive: int | None = None,
    thresholds: Sequence[float] | Floats = (),
    multi_label: bool = False,
    ordinal: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """The measures of a data set's cases.

    Args:
        probabilities: (N, classes).
        targets: (N, classes) of 0 and 1; one 1 a case, or with ``multi_label`` any number.
        positive: the class that sensitivity and specificity are of, decided at ``thresholds[0]``.
        thresholds: with ``multi_label``, each class's; (N, ...) where each case has its own.
        ordinal: also give the quadratically weighted kappa of the grades.
        resamples, seed: of the bootstrap over cases; without draws there are no intervals.

    Returns:
        ``auc`` (a class without both kinds of cases is left out; None if all are), ``auc_per_class``, ``accuracy``,
        ``balanced_accuracy`` (mean recall), ``brier`` (sum over classes of squared differences, mean over cases),
        ``calibration_error`` (15 bins of the winning class's confidence; of each label's probability with
        ``multi_label``), ``n``; with ``positive``: ``sensitivity``, ``specificity``; with ``ordinal``: ``kappa``.
        Beside ``auc``, ``accuracy``, ``balanced_accuracy``, ``sensitivity``, ``specificity`` and ``kappa``, their
        ``..._ci95``: DeLong's for the AUC of two classes, else of the bootstrap.
    """
    targets = np.asarray(targets)
    aucs = [_auc(probabilities[:, c], targets[:, c]) for c in range(targets.shape[1])]
    result: dict[str, Any] = {"n": len(targets), "auc": _mean(aucs), "auc_per_class": aucs}
    cuts = np.asarray(thresholds, float) if len(thresholds) else np.array([0.5])
    cuts = np.broadcast_to(cuts, (len(targets), cuts.shape[-1]))
    result |= _decisions(probabilities, targets, positive, cuts, multi_label, ordinal)
    result["brier"] = float(((probabilities - targets) ** 2).sum(axis=1).mean())
    if multi_label:
        confidence, right = probabilities.ravel(), targets.ravel()
    else:
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets.argmax(axis=1)
    result["calibration_error"] = calibration_error(confidence, np.asarray(right, float))

    if not resamples:
        return result
    draws = np.random.default_rng(seed).integers(len(targets), size=(resamples, len(targets)))
    samples: dict[str, list[float]] = {}
    for draw in draws:
        p, t = probabilities[draw], targets[draw]
        figures = _decisions(p, t, positive, cuts[draw], multi_label, ordinal)
        if targets.shape[1] != 2 or multi_label:
            figures["auc"] = _mean([_auc(p[:, c], t[:, c]) for c in range(t.shape[1])])
        for name, value in figures.items():
            if value is not None:
                samples.setdefault(name, []).append(value)
    for name, values in samples.items():
        result[f"{name}_ci95"] = [float(edge) for edge in np.percentile(values, (2.5, 97.5))]
    if targets.shape[1] == 2 and not multi_label and aucs[1] is not None:
        result["auc_ci95"] = delong_interval(probabilities[:, 1], targets[:, 1])
    return result


def _decisions(
    probabilities: Floats,
    targets: NDArray[np.integer[Any]],
    positive: int | None,
    cuts: Floats,
    multi_label: bool,
    ordinal: bool,
) -> dict[str, float | None]:
    if multi_label:
        said = probabilities >= cuts
        recalls = [_rate(said[:, c] == side, targets[:, c] == side) for c in range(targets.shape[1]) for side in (0, 1)]
        return {"accuracy": float((said == targets).mean()), "balanced_accuracy": _mean(recalls)}
    said, true = probabilities.argmax(axis=1), targets.argmax(axis=1)
    recalls = [_rate(said == c, true == c) for c in range(targets.shape[1])]
    figures: dict[str, float | None] = {
        "accuracy": float((said == true).mean()),
        "balanced_accuracy": _mean(recalls),
    }
    if positive is not None:
        found = probabilities[:, positive] >= cuts[:, 0]
        figures["sensitivity"] = _rate(found, true == positive)
        figures["specificity"] = _rate(~found, true != positive)
    if ordinal:
        figures["kappa"] = quadratic_kappa(said, true, targets.shape[1])
    return figures


def _rate(said: NDArray[np.bool_], where: NDArray[np.bool_]) -> float | None:
    return float(said[where].mean()) if where.any() else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _auc(scores: Floats, truth: NDArray[np.integer[Any]]) -> float | None:
    if truth.min() == truth.max():
        return None
    value = compute_roc_auc(torch.from_numpy(np.ascontiguousarray(scores)), torch.from_numpy(truth.astype(np.int64)))
    assert isinstance(value, float)
    return value


def delong_interval(scores: Floats, truth: NDArray[np.integer[Any]]) -> list[float]:
    """The 95 % interval of an AUC (DeLong et al. 1988, by the ranks of Sun & Xu 2014), on the logit scale, where it
    stays within 0 and 1."""
    positive, negative = scores[truth == 1], scores[truth == 0]
    m, n = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]))
    v10 = (ranks[:m] - rankdata(positive)) / n  # each positive case's share of negatives below it
    v01 = 1 - (ranks[m:] - rankdata(negative)) / m
    auc = float(v10.mean())
    if not 0 < auc < 1 or min(m, n) < 2:
        return [auc, auc]
    spread = float(np.sqrt(v10.var(ddof=1) / m + v01.var(ddof=1) / n)) / (auc * (1 - auc))
    logits = np.log(auc / (1 - auc)) + norm.ppf((0.025, 0.975)) * spread
    return [float(edge) for edge in 1 / (1 + np.exp(-logits))]


def calibration_error(confidence: Floats, right: Floats) -> float:
    """The expected calibration error: |share right - mean confidence| over 15 bins of equal width (Guo et al. 2017)."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(float((right - confidence)[bins == b].sum())) for b in range(BINS)]
    return sum(gaps) / len(confidence)


def quadratic_kappa(said: NDArray[np.integer[Any]], true: NDArray[np.integer[Any]], classes: int) -> float | None:
    """Cohen's kappa of grades with quadratic weights; None where all cases and answers have one grade."""
    grades = np.arange(classes)
    weights = (grades[:, None] - grades) ** 2
    observed = np.zeros((classes, classes))
    np.add.at(observed, (true, said), 1)
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / len(true)
    chance = (weights * expected).sum()
    return float(1 - (weights * observed).sum() / chance) if chance else None
