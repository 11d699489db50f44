"""What the booster does in every setting: `.venv/bin/python scripts/summarize_booster.py [PICTURE]`.

Prints a Markdown table of the differences to the same network without a booster, from the rows in `Testing/bench`, and
draws them into PICTURE. Intervals (95 %) come from a bootstrap over seeds and subjects; with one seed they tell nothing
of what another would give.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

from llmboost.bench.kinds import Measure, load_kind
from llmboost.bench.recipe import BenchRecipe, read_recipe
from llmboost.bench.report import ArmResult, compare, draw_differences, name_of, shown
from llmboost.bench.runner import read_rows

ROWS = Path(__file__).parents[1] / "Testing" / "bench"


def main() -> None:
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    print("| recipe | arm | seeds | figure | without | difference (95 %) |")
    print("|---|---|---|---|---|---|")
    drawn = []
    for recipe, measure, without, result in effects():
        difference = result.differences[measure.name]
        print(
            f"| `{recipe.name}` | {name_of(result)} | {len(difference.seeds)} | {measure.title} | {without:.3f} |"
            f" {shown(difference, sign='+')} |"
        )
        drawn.append((f"{recipe.name}: {name_of(result)}", difference))
    if len(sys.argv) == 2:
        draw_differences(drawn, "difference to no booster, Dice or AUC (95 %; right is better)", Path(sys.argv[1]))


def effects() -> Iterator[tuple[BenchRecipe, Measure, float, ArmResult]]:
    """Each arm with a booster, with its recipe's first measure and that of the arm without."""
    for recipe in recipes():
        measure = load_kind(recipe.kind).MEASURES[0]
        records = {record["row"]: record for record in read_rows(ROWS / recipe.name)}
        results = compare(recipe, records, (measure,))
        without = {result.condition: result.figures[measure.name].value for result in results if not result.differences}
        for result in results:
            if result.differences:
                yield recipe, measure, without[result.condition], result


def recipes() -> Iterator[BenchRecipe]:
    """Those that compare with the same network without a booster."""
    for name in ("headline", "headline_retina", "medmnist", "fewshot", "factors"):
        yield read_recipe(f"booster_{name}")
    peers = read_recipe("peers")
    yield dataclasses.replace(peers, reference="host", arms={name: peers.arms[name] for name in ("host", "boosted")})
    for name in ("segmenters", "classifiers"):
        yield read_recipe(f"published_{name}")


if __name__ == "__main__":
    main()
