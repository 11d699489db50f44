"""What the booster does in every setting: `.venv/bin/python scripts/summarize_booster.py [PICTURE]`.

Prints a Markdown table of the differences to the same network without a booster, from the rows in `Testing/bench`, and
draws them into PICTURE. Intervals (95 %) come from a bootstrap over seeds and subjects; with one seed they tell nothing
of what another would give.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from llmboost.bench.kinds import load_kind
from llmboost.bench.recipe import read_recipe
from llmboost.bench.report import compare
from llmboost.bench.runner import read_rows
from llmboost.bench.statistics import Estimate

ROWS = Path(__file__).parents[1] / "Testing" / "bench"
# of a recipe the arm without a booster, and those with one
SETTINGS = {
    "booster_headline": ("none", ("frozen", "random")),
    "booster_headline_retina": ("none", ("frozen", "random")),
    "booster_medmnist": ("none", ("frozen", "random", "mlp")),
    "booster_fewshot": ("none", ("frozen", "random")),
    "booster_factors": ("none", None),
    "peers": ("host", ("boosted",)),
    "published_segmenters": ("vit", None),
    "published_classifiers": ("host", None),
}


def main() -> None:
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    found = list(effects())
    print("| recipe | condition | arm | seeds | figure | without | difference (95 %) |")
    print("|---|---|---|---|---|---|---|")
    for effect in found:
        seeds = len(effect.difference.seeds)
        print(
            f"| `{effect.recipe}` | {effect.condition} | {effect.arm} | {seeds} | {effect.figure} |"
            f" {effect.without:.3f} | {shown(effect.difference)} |"
        )
    if len(sys.argv) == 2:
        draw(found, Path(sys.argv[1]))


@dataclass(frozen=True)
class Effect:
    """``difference`` of an arm to the arm without a booster, whose ``figure`` is ``without``."""

    recipe: str
    condition: str
    arm: str
    figure: str
    without: float
    difference: Estimate


def effects() -> Iterator[Effect]:
    for name, (without, arms) in SETTINGS.items():
        recipe = dataclasses.replace(read_recipe(name), reference=without)
        measure = load_kind(recipe.kind).MEASURES[0]
        records = {record["row"]: record for record in read_rows(ROWS / name)}
        results = compare(recipe, records, (measure,))
        reference = {
            result.condition: result.figures[measure.name].value for result in results if result.arm == without
        }
        for result in results:
            if result.differences and (arms is None or result.arm in arms):
                difference = result.differences[measure.name]
                yield Effect(name, result.condition, result.arm, measure.title, reference[result.condition], difference)


def shown(figure: Estimate) -> str:
    low, high = figure.interval or (figure.value, figure.value)
    return f"{figure.value:+.3f} ({low:+.3f} to {high:+.3f})"


def draw(rows: list[Effect], path: Path) -> None:
    """Each difference with its interval, a row each."""
    figure = Figure(figsize=(8, 1 + 0.22 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.axvline(0, color="0.4", linewidth=1)
    for place, row in enumerate(rows):
        value, interval = row.difference.value, row.difference.interval
        axes.plot(interval or (value, value), [place, place], color="#0072b2", linewidth=2)
        axes.plot(value, place, "D", color="#0072b2", markersize=4)
    names = [" ".join(filter(None, (f"{row.recipe}:", row.condition, row.arm))) for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("difference to no booster, Dice or AUC (95 %; right is better)")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
