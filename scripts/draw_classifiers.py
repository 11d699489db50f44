"""Pictures of the rows of measure_classifiers.py: `.venv/bin/python scripts/draw_classifiers.py`.

Into Resources/: classifiers.png, calibration and decision curves; refusal.png, own images told from foreign ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from classifier_measures import advantage, net_benefit, share
from summarize_classifiers import CUTS, MODELS, Answers, answers, foreign, told_apart

FOLDER = Path(__file__).parents[1] / "Resources"
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")


def main() -> None:
    if sys.argv[1:]:
        sys.exit(__doc__)
    answers_picture(FOLDER / "classifiers.png")
    refusal_picture(FOLDER / "refusal.png")


def answers_picture(path: Path) -> None:
    """A column a model: calibration above, decision curves below."""
    axes, save = _canvas(2, len(MODELS), (12, 6))
    for a, above, below in zip(map(answers, MODELS), *axes, strict=True):
        _draw_calibration(above, a)
        _draw_decisions(below, a)
        above.set_title(f"{a.name}: {a.positive}")
    axes[0][0].set_ylabel("observed frequency")
    axes[1][0].set_ylabel("net benefit a case")
    for first in (axes[0][0], axes[1][0]):
        first.legend(fontsize=8, frameon=False)
    save(path)


def _draw_calibration(axes: Any, a: Answers) -> None:
    """How often it was so against what was predicted, in eighths of the cases, with 95 % intervals."""
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for probabilities, style, color, label in (
        (a.uncalibrated, "x--", COLORS[1], "uncalibrated"),
        (a.probabilities, "o-", COLORS[0], "calibrated"),
    ):
        chance = a.chance_by(probabilities)
        parts = np.array_split(np.argsort(chance, kind="stable"), 8)
        predicted = [chance[part].mean() for part in parts]
        observed = [share(int(a.truth[part].sum()), len(part)) for part in parts]
        axes.plot(predicted, [one.value for one in observed], style, color=color, label=label, markersize=4)
        if probabilities is a.probabilities:
            axes.vlines(predicted, [one.low for one in observed], [one.high for one in observed], color, linewidth=1)
    axes.set(xlabel="predicted probability", xlim=(0, 1), ylim=(0, 1))


def _draw_decisions(axes: Any, a: Answers) -> None:
    """Net benefit against the threshold, with the 95 % interval of what it is above the better of all and none."""
    everyone = net_benefit(np.ones_like(a.chance), a.truth, CUTS)
    more, low, high = advantage(a.chance, a.truth, CUTS)
    best = everyone.clip(0)
    axes.fill_between(CUTS, best + low, best + high, color=COLORS[0], alpha=0.2, linewidth=0)
    axes.plot(CUTS, best + more, color=COLORS[0], label="by the model")
    axes.plot(CUTS, everyone, color="0.4", linestyle="--", linewidth=1, label="all")
    axes.axhline(0, color="0.4", linestyle=":", linewidth=1, label="none")
    if a.threshold:
        axes.axvline(a.threshold, color=COLORS[1], linewidth=1, label="card's threshold")
    axes.set(xlabel="threshold", xlim=(0, 1), ylim=(-0.1, 1.1 * a.truth.mean()))


def refusal_picture(path: Path) -> None:
    """ROC curves of the distance: own test images refused against foreign ones; a dot where the card's limit lies."""
    axes, save = _canvas(1, 2, (9, 4))
    for name, color in zip(MODELS, COLORS, strict=True):
        a, others = answers(name), np.concatenate(list(foreign(name).values()))
        cuts = np.sort(np.concatenate([[-np.inf], a.distance, others, [np.inf]]))
        own = 1 - np.searchsorted(np.sort(a.distance), cuts, side="right") / len(a.distance)
        away = 1 - np.searchsorted(np.sort(others), cuts, side="right") / len(others)
        dot = ((a.distance > a.limit).mean(), (others > a.limit).mean())
        for one in axes[0]:
            one.plot(own, away, color=color, label=f"{name} {told_apart(a.distance, others).value:.3f}")
            one.plot(*dot, "o", color=color)
    axes[0][0].set(xlabel="own test images refused", ylabel="foreign images refused", xlim=(0, 1), ylim=(0, 1.01))
    axes[0][0].legend(title="AUC", frameon=False, loc="lower right")
    axes[0][1].set(xlabel="the same, enlarged", xlim=(0, 0.1), ylim=(0.8, 1.005))
    save(path)


def _canvas(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Callable[[Path], None]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    canvas = FigureCanvasAgg(figure)

    def save(path: Path) -> None:
        canvas.draw()
        drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        drawn.quantize(64, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)

    return figure.subplots(rows, columns, squeeze=False), save


if __name__ == "__main__":
    main()
