"""Measures of the shipped classifiers' rows, judged by answers that are known, and the rows themselves."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_auroc

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import classifier_measures as measures  # noqa: E402
import summarize_classifiers as summary  # noqa: E402
from llmboost.metrics.classification import classification_scores  # noqa: E402


def logit(p):
    return math.log(p / (1 - p))


def groups(*told_and_hits):
    """Chances and truths of cases in groups, each of what is told, how many, and how often it was so."""
    chance = np.concatenate([np.full(n, told) for told, n, _ in told_and_hits])
    truth = np.concatenate([np.arange(n) < hits for _, n, hits in told_and_hits])
    return chance, truth


def test_temperature_divides_logits():
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 9.0]], dtype=torch.float64)
    found = measures.tempered(logits.softmax(dim=1).numpy(), 0.7)
    assert found == pytest.approx((logits / 0.7).softmax(dim=1).numpy(), abs=1e-9)


def test_area_is_that_of_torchmetrics_and_of_ties():
    random = np.random.default_rng(0)
    scores, truth = random.integers(0, 9, 80) / 9, random.random(80) < 0.4
    expected = binary_auroc(torch.from_numpy(scores), torch.from_numpy(truth.astype(int))).item()
    found = measures.area(scores, truth)
    assert found.value == pytest.approx(expected, abs=1e-6)
    assert found.low < found.value < found.high
    beyond = np.where(truth, np.inf, scores)  # what could not be read
    assert measures.area(beyond, truth).value == 1


def test_calibration_line_of_two_groups_goes_through_both():
    chance, truth = groups((0.2, 50, 15), (0.8, 50, 30))
    slope, _ = measures.calibration_line(chance, truth)
    assert slope.value == pytest.approx((logit(0.6) - logit(0.3)) / (logit(0.8) - logit(0.2)), abs=1e-6)
    error = math.sqrt(1 / (50 * 0.3 * 0.7) + 1 / (50 * 0.6 * 0.4)) / (logit(0.8) - logit(0.2))
    assert slope.high - slope.value == pytest.approx(1.959964 * error, rel=1e-5)


def test_calibration_line_of_what_is_right():
    chance, truth = groups((0.1, 100, 10), (0.6, 50, 30), (0.9, 40, 36))
    slope, intercept = measures.calibration_line(chance, truth)
    assert (slope.value, intercept.value) == pytest.approx((1, 0), abs=1e-6)


def test_intercept_tells_what_is_told_too_low():
    chance, truth = groups((0.2, 80, 40), (0.4, 50, 30))
    _, intercept = measures.calibration_line(chance, truth)
    shifted = 1 / (1 + np.exp(-np.log(chance / (1 - chance)) - intercept.value))
    assert intercept.low > 0
    assert shifted.sum() == pytest.approx(70)


def test_error_by_chance_of_one_bin_is_that_of_a_mean():
    mean, most = measures.error_by_chance(np.full(400, 0.7))
    spread = math.sqrt(0.7 * 0.3 / 400)
    assert mean == pytest.approx(math.sqrt(2 / math.pi) * spread, rel=0.05)
    assert most == pytest.approx(1.96 * spread, rel=0.08)


def test_net_benefit_by_hand():
    chance, truth = groups((0.9, 3, 2), (0.3, 4, 1), (0.05, 3, 0))
    found = measures.net_benefit(chance, truth, np.array([0.01, 0.2, 0.5]))
    assert found == pytest.approx([(3 - 7 / 99) / 10, (3 - 4 / 4) / 10, (2 - 1) / 10])
    assert measures.net_benefit(chance, truth, np.array([0.2]), np.ones((2, 10))) == pytest.approx(np.full((2, 1), 0.2))


def test_advantage_is_over_the_better_of_all_and_none():
    chance, truth = groups((0.99, 30, 30), (0.01, 70, 0))
    more, low, high = measures.advantage(chance, truth, np.array([0.1, 0.5]))
    assert more == pytest.approx([0.3 - (0.3 - 0.7 / 9), 0.3])
    assert (low > 0).all()
    assert ((low <= more) & (more <= high)).all()
    same, _, _ = measures.advantage(np.full(100, 0.3), truth, np.array([0.1, 0.5]))
    assert same == pytest.approx([0, 0])


def test_runs_of_thresholds():
    assert measures.runs(np.array([0.1, 0.2, 0.3, 0.4]), np.array([True, True, False, True])) == [
        (0.1, 0.2),
        (0.4, 0.4),
    ]
    assert measures.runs(np.array([0.1]), np.array([False])) == []


@pytest.mark.parametrize("name", summary.MODELS)
@pytest.mark.parametrize("split", ["val", "test"])
def test_kept_figures_are_those_of_the_kept_probabilities(name, split):
    a = summary.answers(name, split)
    targets = np.eye(a.probabilities.shape[1], dtype=int)[a.classes]
    positive = a.looked_for[0] if len(a.looked_for) == 1 else None
    cuts = (a.threshold,) if a.threshold else ()
    again = classification_scores(a.probabilities, targets, positive=positive, thresholds=cuts, resamples=0)
    for key in ("n", "auc", "accuracy", "sensitivity", "specificity"):
        assert again.get(key) == pytest.approx(a.figures.get(key), abs=1e-4), key
    assert a.brier(a.probabilities) == pytest.approx(a.figures["brier"], abs=1e-4)
    assert a.error(a.probabilities) == pytest.approx(a.figures["calibration_error"], abs=5e-3)


@pytest.mark.parametrize("name", summary.MODELS)
def test_rows_are_of_the_models_that_are_shipped(name):
    from llmboost.card import read_card
    from llmboost.library import find

    rows = {record["row"]: record for record in summary.read_rows(summary.FOLDER)}
    digests = {rows[f"{name}/{part}"]["model"]["digest"] for part in ("val", "test", "foreign")}
    assert digests == {read_card(find(name)).digest}, "run scripts/measure_classifiers.py"
