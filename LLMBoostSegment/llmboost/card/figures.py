"""What a card's figures say: how good its model is, measured on what, and whether it has learned anything at all.

This module needs the standard library alone, as :mod:`.card` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import Card

LEARNED = 0.1  # Dice, of all labels or of one, below which that was not learned
# the best evidence first: names of the figures, and the cases that they are of
_DICE = (
    ("test_mean_dice", "test_dice_per_label", "test cases"),
    ("out_of_fold_dice", "out_of_fold_dice_per_label", "cross-validated cases"),
    ("val_dice", "val_dice_per_label", "validation cases"),
    ("after", "after_per_label", "held-out cases"),
)
_AUC = (
    ("test_auc", "test", "test cases"),
    ("out_of_fold_auc", "out_of_fold", "cross-validated cases"),
    ("val_auc", "val", "validation cases"),
    ("after", "after", "held-out cases"),
)
CURVES, WORST = 8, 3  # labels that have curves of their own; of more labels, only so many
ADVICE = "give it more minutes or more cases, and look whether the labels are right"
NOT_TAUGHT = "not_taught"  # names of labels that no training case has


def measured(card: Card) -> str:
    """The figure that tells most, such as "Dice 0.89 on test cases"."""
    measure, names = ("AUC", _AUC) if card.classification else ("Dice", _DICE)
    for name, _, cases in names:
        if (value := _number(card.figures.get(name))) is not None:
            return f"{measure} {value:.2f} on {cases}"
    return "not measured"


def drawn(figures: Mapping[str, float | None]) -> list[str]:
    """Whose curves are drawn beside the mean's, by the figures at the end: all, or of many labels the worst ones."""
    if len(figures) <= CURVES:
        return list(figures)
    known = sorted((figure, name) for name, figure in figures.items() if figure is not None)
    return [name for _figure, name in known[:WORST]]


def worst_first(figures: Mapping[str, float | None], most: int) -> list[str]:
    """Labels with their figures by name, such as "Larynx 0.12": the worst ones, at most so many; then those of which
    nothing could be measured."""
    order = sorted(((figure, name) for name, figure in figures.items() if figure is not None), key=lambda one: one[0])
    texts = [f"{name} {figure:.2f}" for figure, name in order]
    texts += [f"{name} not measured" for name, figure in figures.items() if figure is None]
    more = len(texts) - most
    return texts if more <= 0 else [*texts[:most], f"{more} more"]


def at_worst(name: str, label: str, cases: Mapping[str, Mapping[str, float | None]]) -> str:
    """A label's Dice over cases by their names, such as "Larynx 0.81 (at worst 0.62, case_3)".

    Args:
        label: the value, by which ``cases`` have it.
    """
    known = [(dice, case) for case, scores in cases.items() if (dice := scores.get(label)) is not None]
    if not known:
        return f"{name} not measured"
    worst, case = min(known)
    return f"{name} {sum(dice for dice, _ in known) / len(known):.2f} (at worst {worst:.2f}, {case})"


def doubts(card: Card) -> str:
    """Why the model is hardly of use, such as "has learned nothing (Dice 0.03 on validation cases)"; empty if there is
    no sign of that."""
    found = _doubts_of_classes(card) if card.classification else _doubts_of_segments(card)
    untaught = card.figures.get(NOT_TAUGHT)
    if isinstance(untaught, list) and untaught:
        found.append(f"had no training case with {', '.join(map(str, untaught))}")
    return "; ".join(found)


def _doubts_of_segments(card: Card) -> list[str]:
    for name, per_label, cases in _DICE:
        if (dice := _number(card.figures.get(name))) is None:
            continue
        if dice < LEARNED:
            return [f"has learned nothing (Dice {dice:.2f} on {cases})"]
        scores = card.figures.get(per_label)
        scores = scores if isinstance(scores, dict) else {}
        failed = [
            f"{label.name} (Dice {score:.2f} on {cases})"
            for label in card.labels
            if (score := _number(scores.get(str(label.value)))) is not None and score < LEARNED
        ]
        return [f"has not learned {', '.join(failed)}"] if failed else []
    return []


def _doubts_of_classes(card: Card) -> list[str]:
    for name, prefix, cases in _AUC:
        if (auc := _number(card.figures.get(name))) is None:
            continue
        interval = card.figures.get(f"{prefix}_auc_ci95")
        low, high = interval if isinstance(interval, list) and len(interval) == 2 else (auc, auc)
        if not low > 0.5:
            around = f", 95 % interval {low:.2f} to {high:.2f}" if high > low else ""
            return [f"has learned nothing (AUC {auc:.2f} on {cases}{around}: no better than guessing)"]
        if _answers_alike(card, prefix):
            return [f"gives all {cases} the same class"]
        return []
    return []


def _answers_alike(card: Card, prefix: str) -> bool:
    decided = [_number(card.figures.get(f"{prefix}_{name}")) for name in ("sensitivity", "specificity")]
    if None not in decided:  # by the threshold
        return 0 in decided
    balanced = _number(card.figures.get(f"{prefix}_balanced_accuracy"))
    return balanced is not None and balanced <= 1 / len(card.labels) + 1e-9


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) else None
