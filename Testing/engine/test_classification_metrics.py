"""The measures of classifiers, judged by torchmetrics where it has them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_calibration_error,
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_calibration_error,
    multiclass_cohen_kappa,
    multilabel_accuracy,
    multilabel_auroc,
)

from llmboost.metrics.classification import calibration_error, classification_scores, delong_interval, quadratic_kappa


def answers(count, classes, seed=0, skill=1.0, ties=False):
    """Probabilities (N, classes) and one-hot targets, every class among them."""
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, count - classes)])
    logits = random.normal(size=(count, classes)) + skill * np.eye(classes)[labels]
    if ties:
        logits = logits.round()
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return chances, np.eye(classes, dtype=int)[labels]


def tensors(chances, targets):
    return torch.from_numpy(chances), torch.from_numpy(targets.argmax(axis=1))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_one_class_a_case(classes, ties):
    chances, targets = answers(120, classes, ties=ties)
    found = classification_scores(chances, targets, ordinal=True, resamples=0)
    p, t = tensors(chances, targets)
    options = {"num_classes": classes}
    assert found["auc"] == pytest.approx(multiclass_auroc(p, t, **options, average="macro").item(), abs=1e-6)
    per_class = multiclass_auroc(p, t, **options, average="none").tolist()
    assert found["auc_per_class"] == pytest.approx(per_class, abs=1e-6)
    if not ties:  # who wins a tie is nobody's truth
        assert found["accuracy"] == pytest.approx(multiclass_accuracy(p, t, **options, average="micro").item())
        assert found["balanced_accuracy"] == pytest.approx(multiclass_accuracy(p, t, **options, average="macro").item())
        kappa = multiclass_cohen_kappa(p, t, **options, weights="quadratic").item()
        assert found["kappa"] == pytest.approx(kappa, abs=1e-5)
        error = multiclass_calibration_error(p, t, **options, n_bins=15, norm="l1").item()
        assert found["calibration_error"] == pytest.approx(error, abs=1e-5)
    assert found["brier"] == pytest.approx(((p - torch.from_numpy(targets)) ** 2).sum(dim=1).mean().item())
    assert found["n"] == 120
    assert not any(name.endswith("ci95") for name in found)


def test_two_classes_have_one_auc():
    chances, targets = answers(80, 2)
    found = classification_scores(chances, targets, resamples=0)
    expected = binary_auroc(torch.from_numpy(chances[:, 1]), torch.from_numpy(targets[:, 1])).item()
    assert found["auc_per_class"] == pytest.approx([expected, expected], abs=1e-6)
    assert found["auc"] == pytest.approx(expected, abs=1e-6)


def test_several_labels_a_case():
    random = np.random.default_rng(0)
    targets = random.integers(0, 2, (90, 4))
    chances = 1 / (1 + np.exp(-random.normal(size=(90, 4)) - targets))
    found = classification_scores(chances, targets, multi_label=True, resamples=0)
    p, t = torch.from_numpy(chances), torch.from_numpy(targets)
    assert found["auc"] == pytest.approx(multilabel_auroc(p, t, num_labels=4, average="macro").item(), abs=1e-6)
    assert found["accuracy"] == pytest.approx(multilabel_accuracy(p, t, num_labels=4, average="micro").item())
    error = binary_calibration_error(p.flatten(), t.flatten(), n_bins=15, norm="l1").item()
    assert found["calibration_error"] == pytest.approx(error, abs=1e-5)
    sides = [(chances[:, c] >= 0.5)[targets[:, c] == side] == side for c in range(4) for side in (0, 1)]
    assert found["balanced_accuracy"] == pytest.approx(np.mean([side.mean() for side in sides]))
    # thresholds, one a label
    cuts = (0.3, 0.5, 0.6, 0.9)
    told = classification_scores(chances, targets, multi_label=True, thresholds=cuts, resamples=0)
    assert told["accuracy"] == pytest.approx(((chances >= cuts) == targets).mean())
    assert told["auc"] == found["auc"]


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 1.0])
def test_sensitivity_and_specificity_at_a_threshold(positive, threshold):
    chances, targets = answers(60, 2)
    found = classification_scores(chances, targets, positive=positive, thresholds=(threshold,), resamples=0)
    said, true = chances[:, positive] >= threshold, targets[:, positive] == 1
    assert found["sensitivity"] == pytest.approx((said & true).sum() / true.sum())
    assert found["specificity"] == pytest.approx((~said & ~true).sum() / (~true).sum())


def test_perfect_and_opposite_answers():
    targets = np.eye(3, dtype=int)[np.arange(30) % 3]
    right = classification_scores(targets.astype(float), targets, ordinal=True, resamples=50)
    assert right["auc"] == right["accuracy"] == right["balanced_accuracy"] == right["kappa"] == 1
    assert right["brier"] == right["calibration_error"] == 0
    assert right["auc_ci95"] == right["accuracy_ci95"] == [1, 1]
    wrong = classification_scores(np.roll(targets, 1, axis=1).astype(float), targets, resamples=0)
    assert wrong["accuracy"] == 0
    assert wrong["brier"] == 2
    assert wrong["calibration_error"] == 1


# -- what cannot be told -----------------------------------------------------------------------------------------------


def test_a_class_that_does_not_occur_is_left_out():
    chances, targets = answers(60, 2)
    wide = np.c_[0.8 * chances, np.full(60, 0.2)]
    found = classification_scores(wide, np.c_[targets, np.zeros(60, int)], ordinal=True, resamples=30)
    assert found["auc_per_class"][2] is None
    assert found["auc"] == pytest.approx(np.mean(found["auc_per_class"][:2]))
    two = classification_scores(chances, targets, resamples=0)
    assert found["balanced_accuracy"] == pytest.approx(two["balanced_accuracy"])
    assert found["auc_ci95"][0] < found["auc"] < found["auc_ci95"][1]


@pytest.mark.parametrize("count", [1, 5])
def test_cases_of_one_class_alone(count):
    chances, targets = np.tile([0.3, 0.7], (count, 1)), np.tile([0, 1], (count, 1))
    found = classification_scores(chances, targets, positive=1, thresholds=(0.5,), ordinal=True, resamples=20)
    assert found["auc"] is None
    assert found["auc_per_class"] == [None, None]
    assert found["sensitivity"] == 1
    assert found["specificity"] is None
    assert found["kappa"] is None
    assert found["accuracy"] == 1
    assert found["calibration_error"] == pytest.approx(0.3)
    assert "auc_ci95" not in found
    assert "specificity_ci95" not in found
    assert found["accuracy_ci95"] == [1, 1]


def test_kappa_of_chance_and_of_near_misses():
    true = np.repeat(np.arange(5), 20)
    assert quadratic_kappa(np.tile(np.arange(5), 20), true, 5) == pytest.approx(0, abs=1e-9)
    near, far = np.minimum(true + 1, 4), np.where(true == 0, 4, true)
    assert quadratic_kappa(near, true, 5) > quadratic_kappa(far, true, 5)
    assert quadratic_kappa(np.zeros(5, int), np.zeros(5, int), 5) is None


def test_the_calibration_of_known_chances():
    """Of what is said to be so with 80 %, 80 % is so: no error; half of it: 0.3."""
    confidence = np.full(100, 0.8)
    assert calibration_error(confidence, (np.arange(100) < 80).astype(float)) == pytest.approx(0, abs=1e-9)
    assert calibration_error(confidence, (np.arange(100) < 50).astype(float)) == pytest.approx(0.3)
    assert calibration_error(np.ones(4), np.ones(4)) == 0


# -- intervals ---------------------------------------------------------------------------------------------------------


def scores_of(count, seed, shift=1.0, share=0.5):
    random = np.random.default_rng(seed)
    truth = (np.arange(count) < share * count).astype(int)
    return random.normal(size=count) + shift * truth, truth


@pytest.mark.parametrize(("count", "share"), [(150, 0.5), (300, 0.2)])
def test_delongs_interval_is_about_the_bootstraps(count, share):
    scores, truth = scores_of(count, 0, share=share)
    random = np.random.default_rng(1)
    groups = [np.flatnonzero(truth == side) for side in (0, 1)]
    aucs = []
    for _ in range(2000):
        negative, positive = (scores[random.choice(group, len(group))] for group in groups)
        aucs.append(np.searchsorted(np.sort(negative), positive).mean() / len(negative))
    np.testing.assert_allclose(delong_interval(scores, truth), np.percentile(aucs, (2.5, 97.5)), atol=0.015)


def test_delongs_interval_covers_the_truth():
    expected = norm.cdf(1.2 / np.sqrt(2))
    covered = []
    for seed in range(400):
        low, high = delong_interval(*scores_of(80, seed, shift=1.2))
        covered.append(low <= expected <= high)
    assert 0.92 <= np.mean(covered) <= 0.98


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(4, 30), ties=st.booleans())
def test_delongs_interval_holds_the_auc_and_stays_in_range(seed, count, ties):
    scores, truth = scores_of(count, seed, shift=2.0)
    if ties:
        scores = scores.round()
    auc = classification_scores(np.c_[-scores, scores], np.c_[1 - truth, truth], resamples=0)["auc"]
    low, high = delong_interval(scores, truth)
    assert 0 <= low <= auc + 1e-9
    assert auc - 1e-9 <= high <= 1
    flipped = delong_interval(-scores, truth)
    assert flipped == pytest.approx([1 - high, 1 - low])


def test_the_bootstraps_intervals():
    chances, targets = answers(150, 3)
    found = classification_scores(chances, targets, positive=2, thresholds=(0.4,), ordinal=True, resamples=150)
    for name in ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "kappa"):
        low, high = found[f"{name}_ci95"]
        assert low < found[name] < high
        assert high - low < 0.35
    spread = np.sqrt(found["accuracy"] * (1 - found["accuracy"]) / 150)
    assert np.subtract(*found["accuracy_ci95"][::-1]) == pytest.approx(2 * 1.96 * spread, rel=0.25)
    again = classification_scores(chances, targets, positive=2, thresholds=(0.4,), ordinal=True, resamples=150)
    assert again == found, "the same draws"
    other = classification_scores(chances, targets, ordinal=True, resamples=150, seed=1)
    assert other["auc_ci95"] != found["auc_ci95"]


def test_two_classes_get_delongs_interval():
    chances, targets = answers(60, 2)
    found = classification_scores(chances, targets, resamples=10)
    assert found["auc_ci95"] == delong_interval(chances[:, 1], targets[:, 1])


def test_thresholds_of_each_case():
    """As where cases were judged by several networks."""
    chances = np.array([[0.2, 0.8], [0.7, 0.3], [0.4, 0.6], [0.9, 0.1]])
    targets = np.eye(2, dtype=int)[[1, 1, 0, 0]]
    cuts = np.array([[0.9], [0.2], [0.7], [0.05]])
    found = classification_scores(chances, targets, positive=1, thresholds=cuts, resamples=0)
    assert (found["sensitivity"], found["specificity"]) == (0.5, 0.5)
