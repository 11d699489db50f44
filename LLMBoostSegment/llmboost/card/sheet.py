"""A card in full as people read it: what is told of a model (:mod:`.told`), and all that stands behind that.

Lines for a terminal, a page in Markdown for the documents. Standard library alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .card import Card
from .fields import CLASSIFICATION, Code, Label, Normalization
from .told import told

# how figures begin -> the cases that they are of; and what the rest of their names says
_CASES = {"test": "test cases", "val": "validation cases", "out_of_fold": "cross-validated cases"}
_FIGURES = {
    "mean_dice": "Dice",
    "dice": "Dice",
    "mean_hd95_mm": "HD95 (mm)",
    "mean_nsd_1mm": "NSD at 1 mm",
    "dice_in_random_contrasts": "Dice in random contrasts",
    "dice_in_6_mm_slices": "Dice in slices of 6 mm",
    "auc": "AUC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "kappa": "kappa, quadratic",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}
_INTENSITIES = {
    "zscore": "clipped to the case's percentiles 0.5 and 99.5, its mean subtracted, divided by its standard deviation",
    "window": "clipped to {low:g} to {high:g}, {mean:.4g} subtracted, divided by {std:.4g}",
    "scale": "{mean:.4g} subtracted, divided by {std:.4g}",
}


def sheet(card: Card, *, time: str = "") -> dict[str, str]:
    """What is told of a model, and more, by what it is called; a line without text has nothing to tell.

    Args:
        time: what using it costs, in words.
    """
    return {
        **told(card, time=time),
        "Figures": "; ".join(f"{name} {value} on {cases}" for name, cases, value in figures(card)),
        "Trained on": _training(card),
        "Preparation": _preparation(card),
        "Looks first": _cascade(card),
        "Refuses": _refuses(card),
        "Expected quality": _quality(card),
        "Booster": _booster(card),
    }


def figures(card: Card) -> list[tuple[str, str, str]]:
    """Each figure of all labels together: its name, the cases that it is of, and its value with the 95 % interval."""
    found = []
    for key, value in card.figures.items():
        cases = next((cases for cases in _CASES if key.startswith(f"{cases}_")), "")
        name = _FIGURES.get(key.removeprefix(f"{cases}_"))
        if name and type(value) in (int, float):
            found.append((name, _CASES[cases], f"{value:.3f}{_interval(card.figures, key)}"))
    return found


def page(card: Card, megabytes: float, limits: Sequence[str] = (), pictures: Mapping[str, str] | None = None) -> str:
    """The card as a page in Markdown.

    Args:
        limits: what it cannot, beyond what the card says.
        pictures: paths from the page by what is written under them.
    """
    rows = [f"| {name} | {_cell(text)} |" for name, text in sheet(card).items() if text and name != "Figures"]
    values = [f"| {name} | {cases} | {value} |" for name, cases, value in figures(card)]
    parts = [
        f"# {card.title}",
        f"Model `{card.name}`, version {card.version}, {megabytes:.1f} MB. **For research use only.**",
        card.description,
        *(f"![{words}]({path})\n\n*{words}*" for words, path in (pictures or {}).items()),
        "\n".join(["## The model", "", "| | |", "|---|---|", *rows]),
        "\n".join(["## Figures", "", "| figure | of | value (95 % interval) |", "|---|---|---|", *values]),
        "\n".join(_labels(card)),
        *(["\n".join(["## Limits", "", *(f"- {limit}" for limit in limits)])] if limits else []),
        f"The whole card, for programs: `llmboost models show {card.name} --json`.",
    ]
    return "\n\n".join(parts) + "\n"


def _labels(card: Card) -> Iterator[str]:
    """A table of segments or classes, with codes and the best figure that there is of each."""
    if card.task == CLASSIFICATION:
        positive = card.classification.positive if card.classification else ""
        yield from ("## Classes", "")
        yield from (f"- {label.name}" + (" (looked for)" if label.name == positive else "") for label in card.labels)
        return
    name, scores = next(
        ((cases, of) for cases in _CASES if isinstance(of := card.figures.get(f"{cases}_dice_per_label"), dict)),
        ("", {}),
    )
    measured = f"Dice, {_CASES[name]}" if name else "Dice"
    yield from ("## Segments", "", f"| value | segment | code | {measured} |", "|---|---|---|---|")
    for label in card.labels:
        score = scores.get(str(label.value))
        yield f"| {label.value} | {label.name} | {_code(label)} | {'' if score is None else f'{score:.3f}'} |"


def _code(label: Label) -> str:
    codes: list[Code] = [code for code in (label.type, label.modifier, label.region) if code]
    return "; ".join(f"{code.meaning} ({code.scheme} {code.value})" for code in codes)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _interval(found: Mapping[str, Any], key: str) -> str:
    ends = found.get(f"{key}_ci95")
    return f" ({ends[0]:.3f} to {ends[1]:.3f})" if isinstance(ends, list) and len(ends) == 2 else ""


def _training(card: Card) -> str:
    """Data, their license, how many cases, how long."""
    training = card.training
    said = [str(training[key]) for key in ("data", "data_license") if training.get(key)]
    for key, words in (("train_cases", "cases"), ("val_cases", "cases to choose by"), ("teachers", "teachers")):
        if training.get(key):
            said.append(f"{training[key]} {words}")
    if training.get("minutes"):
        said.append(f"{training.get('steps', '?')} steps in {training['minutes']} minutes, {training.get('date', '')}")
    if training.get("start"):
        said.append("after earlier stages (`start` in the card)")
    return "; ".join(said)


def _preparation(card: Card) -> str:
    """What happens to an image before the network sees it."""
    spacing = " x ".join(f"{mm:g}" for mm in card.preprocessing.spacing)
    size = " x ".join(str(n) for n in card.preprocessing.patch_size)
    lies = "axes as stored" if card.preprocessing.orientation == "stored" else "turned to the patient's axes"
    if card.task == CLASSIFICATION and card.preprocessing.slice_axis is not None:
        place = f"brought to {size} pixels"
    else:
        place = f"{lies}, resampled to {spacing} mm, {size} voxels at once"
    steps = [_intensity(one) for one in card.preprocessing.normalization]
    colors = dict(zip(("red", "green", "blue"), steps, strict=False)) if card.preprocessing.color else {}
    values = "; ".join(f"{color} {step}" for color, step in colors.items()) or "; ".join(dict.fromkeys(steps))
    return f"{place}; intensities {values}"


def _intensity(step: Normalization) -> str:
    words = _INTENSITIES.get(step.kind, f"by rule `{step.kind}` of the card")
    return words.format(low=step.low, high=step.high, mean=step.mean, std=step.std)


def _cascade(card: Card) -> str:
    if card.cascade is None:
        return ""
    return f"`{card.cascade.localizer}` finds where to look in a {card.cascade.subject}"


def _refuses(card: Card) -> str:
    if card.subject is not None:
        return f"what does not look like a {card.subject.name}: by where and how large the structures are in it"
    if card.cascade is not None:
        return f"larger images in which `{card.cascade.localizer}` finds no {card.cascade.subject}"
    if card.classification is not None and card.classification.looks is not None:
        return "images of another kind than those of the training (99 % of which are taken), by measures of the image"
    return ""


def _quality(card: Card) -> str:
    """What the model tells of how good a result is, and how far that can be trusted."""
    if card.quality is None:
        return ""
    told = f"predicts a case's Dice from its own uncertainty, and warns below {card.quality.limit:g}"
    if card.cascade is not None and card.cascade.quality is not None:
        told += f" ({card.cascade.quality.limit:g} in a {card.cascade.subject})"
    of = card.quality.figures.get("test") or {}
    if {"mae", "correlation", "cases"} <= of.keys():
        told += f"; mean error {of['mae']:.3f}, r = {of['correlation']:.2f}, {of['cases']:.0f} images of test cases"
    return told


def _booster(card: Card) -> str:
    booster = card.booster
    if not booster:
        return "none"
    layers = ", ".join(map(str, booster.get("layers", ())))
    return (
        f"{booster.get('description', booster.get('source', ''))}; layer {layers}, {booster.get('state')},"
        f" {booster.get('residual')} residual, at the {booster.get('place')} of the encoder"
    )
