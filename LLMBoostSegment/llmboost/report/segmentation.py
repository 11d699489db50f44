"""The report on a segmenter, from what was measured and what was seen meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..card import Card, Label
from .observed import Observed
from .page import Cell, hint, picture, section, table, text
from .pictures import draw_view
from .sections import MOST_CASES, Training, curve, figure, named, share, summary, write

COLUMNS = (("Dice", "dice", 3), ("HD95 (mm)", "hd95_mm", 2), ("NSD (1 mm)", "nsd_1mm", 3))


def write_report(
    path: Path, card: Card, result: Mapping[str, Any], observed: Observed, training: Training | None = None
) -> None:
    """Write a report, whole or not at all.

    Args:
        result: what :func:`..evaluation.evaluate_segmenter` gave, or of that form; ``of`` tells of how many cases only
            some were measured.

    Raises:
        LLMBoostError: it cannot be written.
    """
    labels = [label for label in card.labels if str(label.value) in result["dice"]]
    sections = [
        _summary(card, result),
        curve(training.curve) if training else "",
        _labels(labels, result),
        _folds(result),
        _pictures(labels, observed, {str(case["id"]): case for case in result["cases"]}),
        _confusion(labels, observed),
        _cases(labels, result),
    ]
    write(path, card, result, "cases", sections, training)


def _summary(card: Card, result: Mapping[str, Any]) -> str:
    measures = [(name, result[f"mean_{key}"], result[f"mean_{key}_ci95"], digits) for name, key, digits in COLUMNS]
    tiles = [(f"mean {name}", *rest) for name, *rest in measures]
    of = f"of {result['of']}; `evaluate --report` takes all" if "of" in result else f"of {result['n_groups']} subjects"
    return summary(card, tiles, (result["n_cases"], "cases measured", of), result.get("warnings", ()), "subjects")


def _labels(labels: Sequence[Label], result: Mapping[str, Any]) -> str:
    rows = []
    for label in labels:
        row: list[object] = [named(label)]
        for _, key, digits in COLUMNS:
            found = result[key][str(label.value)]
            interval = found["ci95"]
            around = f" ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})" if interval else ""
            row.append(figure(found["mean"], digits) + around)
        dice = result["dice"][str(label.value)]
        missing = result["hd95_mm"][str(label.value)]["undefined"] - dice["undefined"]
        rows.append([*row, dice["n"], missing])
    head = ["label", *(name for name, *_ in COLUMNS), "cases", "found or drawn alone"]
    words = "Mean and 95 % interval. Found or drawn alone: where only one of model and expert has it, there is no HD95."
    return section("Labels", table(head, rows), hint(words))


def _folds(result: Mapping[str, Any]) -> str:
    numbers = sorted({case["fold"] for case in result["cases"] if "fold" in case})
    if not numbers:
        return ""
    rows = []
    for number in numbers:
        dice = [_mean(case) for case in result["cases"] if case["fold"] == number]
        known = [one for one in dice if one is not None]
        spread = f"{min(known):.3f} to {max(known):.3f}" if known else "-"
        rows.append([f"fold {number}", len(dice), figure(float(np.mean(known)) if known else None, 3), spread])
    words = "Each case is measured by the network that did not see it."
    return section("Folds", table(["", "cases", "mean Dice", "cases from, to"], rows), hint(words))


def _pictures(labels: list[Label], observed: Observed, cases: Mapping[str, Mapping[str, Any]]) -> str:
    if not observed.worst:
        return ""
    figures = []
    for view in observed.worst:
        found = cases[view.id]["dice"] if view.id in cases else {}
        scores = [(found.get(str(label.value)), label.name) for label in labels]
        low = sorted((dice, name) for dice, name in scores if dice is not None)[:3]
        told = ", ".join(f"{name} {dice:.2f}" for dice, name in low)
        caption = f"{view.id}, {view.named}: mean Dice {view.dice:.2f} ({told})"
        drawn = picture(draw_view(view, labels), f"{view.id}: expert and model")
        figures.append(f"<figure>{drawn}<figcaption>{text(caption)}</figcaption></figure>")
    legend = " &nbsp; ".join(named(label).html for label in labels)
    words = "The slice in which most is wrong: at the left what the expert drew, at the right what the model drew."
    return section("Worst cases", hint(words), f"<p>{legend}</p>", f'<div class="pictures">{"".join(figures)}</div>')


def _confusion(labels: Sequence[Label], observed: Observed) -> str:
    places = [0, *(list(observed.labels).index(label.value) + 1 for label in labels)]
    counts = observed.confusion[np.ix_(places, places)]
    totals = counts.sum(axis=1)
    if not totals[1:].any():
        return ""
    names = [Cell("background"), *map(named, labels)]
    rows = [
        [name, *(share(n, total, here == there) for there, n in enumerate(row)), f"{total:,}"]
        for here, (name, row, total) in enumerate(zip(names, counts, totals, strict=True))
    ]
    head = ["drawn by the expert", "background", *(label.name for label in labels), "voxels"]
    words = "Of the voxels of a row, the share that the model calls so, over all cases."
    return section("Confusion", table(head, rows), hint(words))


def _cases(labels: Sequence[Label], result: Mapping[str, Any]) -> str:
    ordered = sorted(result["cases"], key=lambda case: (_mean(case) is None, _mean(case) or 0.0))
    rows = [
        [case["id"], figure(_mean(case), 3), *(figure(case["dice"].get(str(label.value)), 3) for label in labels)]
        for case in ordered[:MOST_CASES]
    ]
    more = f" {len(ordered) - MOST_CASES} better ones are left out." if len(ordered) > MOST_CASES else ""
    words = f"Dice, the worst case first.{more}"
    return section("Cases", hint(words), table(["case", "mean", *(label.name for label in labels)], rows))


def _mean(case: Mapping[str, Any]) -> float | None:
    known = [dice for dice in case["dice"].values() if dice is not None]
    return float(np.mean(known)) if known else None
