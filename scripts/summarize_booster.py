"""What the booster does in every setting: `.venv/bin/python scripts/summarize_booster.py [PICTURE]`.

Prints the verdict and a Markdown table of the differences to the same network without a booster, from the rows in
`Testing/bench`, and draws all of them into PICTURE. Intervals (95 %) come from a bootstrap over seeds and subjects;
with one seed they tell nothing of what another would give.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmboost.bench.kinds import load_kind
from llmboost.bench.recipe import BenchRecipe, read_recipe
from llmboost.bench.report import compare, draw_differences, markdown, shown
from llmboost.bench.runner import read_rows
from llmboost.bench.statistics import Estimate

ROWS = Path(__file__).parents[1] / "Testing" / "bench"
CONTROLS = {"random": "random weights", "mlp": "MLP"}  # arms in the block's place, without a language model


@dataclass(frozen=True)
class Effect:
    """An arm with a booster under one condition of a recipe: its difference to the same network without one."""

    recipe: BenchRecipe
    arm: str
    condition: str
    figure: str
    without: float
    difference: Estimate

    @property
    def name(self) -> str:
        """Recipe, arm and condition."""
        return f"{self.recipe.name}: {self.arm}" + (f" ({self.condition})" if self.condition else "")


def main() -> None:
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    found = list(effects())
    print(verdict(found), table(found), sep="\n\n")
    if len(sys.argv) == 2:
        drawn = [(effect.name, effect.difference) for effect in found]
        draw_differences(drawn, "difference to no booster, Dice or AUC (95 %; right is better)", Path(sys.argv[1]))


def effects() -> Iterator[Effect]:
    """Each arm with a booster, by its recipe's first measure, over the seeds that it shares with the arm without."""
    for recipe in recipes():
        measure = load_kind(recipe.kind).MEASURES[0]
        records = {record["row"]: record for record in read_rows(ROWS / recipe.name)}
        results = compare(recipe, records, (measure,))
        without = {result.condition: result.figures[measure.name].value for result in results if not result.differences}
        for one in results:
            if one.differences:
                difference = one.differences[measure.name]
                yield Effect(recipe, one.arm, one.condition, measure.title, without[one.condition], difference)


def recipes() -> Iterator[BenchRecipe]:
    """Those that compare with the same network without a booster."""
    for name in ("headline", "headline_retina", "medmnist", "fewshot", "minutes", "factors"):
        yield read_recipe(f"booster_{name}")
    peers = read_recipe("peers")
    yield dataclasses.replace(peers, reference="host", arms={name: peers.arms[name] for name in ("host", "boosted")})
    for name in ("segmenters", "classifiers"):
        yield read_recipe(f"published_{name}")


def settings(found: Sequence[Effect]) -> dict[tuple[str, str], dict[str, Effect]]:
    """By recipe and what is named beside it, the language model's block ("") and the controls; of the recipe of single
    factors only its headline."""
    lines: dict[tuple[str, str], dict[str, Effect]] = {}
    for effect in found:
        if effect.recipe.name == "booster_factors":
            continue
        control = effect.arm in CONTROLS
        own = effect.arm if effect.recipe.name.startswith("published_") else ""
        words = ", ".join(word for word in (own, effect.condition) if word)
        lines.setdefault((effect.recipe.name, words), {})[effect.arm if control else ""] = effect
    return lines


def verdict(found: Sequence[Effect]) -> str:
    """The papers' question, answered in one sentence."""
    blocks = [line[""] for line in settings(found).values()]
    ends = [block.difference.interval or (0.0, 0.0) for block in blocks]
    above, below = sum(low > 0 for low, _ in ends), sum(high < 0 for _, high in ends)
    most = max(len(block.difference.seeds) for block in blocks)
    firm = [line for line in settings(found).values() if len(line[""].difference.seeds) == most]
    told = " and ".join(f"{shown(line[''].difference, '+', 3)} {line[''].figure}" for line in firm)
    control = " and ".join(shown(line["random"].difference, "+", 3) for line in firm if "random" in line)
    answer = f"in {above} settings a frozen block of SmolLM2-135M helps" if above else "no setting shows that it helps"
    return (
        "**Does a frozen block of a language model (SmolLM2-135M) make a network for medical images better? By these"
        f" rows, {answer}:** of {len(blocks)} comparisons with the same network without it, {above} have their 95 %"
        f" interval above zero and {below} below; those of {most} seeds differ by {told}, and by {control} with random"
        " weights of the same spectrum in the block's place."
    )


def table(found: Sequence[Effect]) -> str:
    """Markdown: a line a setting, with the differences of the language model's block and of the controls."""
    header = ["setting", "figure", "seeds", "without", "the language model's block", *CONTROLS.values()]
    rows = []
    for (recipe, words), line in settings(found).items():
        block = line[""]
        rows.append(
            [
                f"`{recipe}`" + (f", {words}" if words else ""),
                f"{block.figure}, {block.recipe.settings.get('split', 'test')}",
                str(len(block.difference.seeds)),
                f"{block.without:.3f}",
                *(shown(line[arm].difference, "+", 3) if arm in line else "" for arm in ("", *CONTROLS)),
            ]
        )
    return markdown(header, rows)


if __name__ == "__main__":
    main()
