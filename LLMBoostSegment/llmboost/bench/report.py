"""What an experiment shows: tables (Markdown), plots (PNG) and one page, made from its rows alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LLMBoostError
from ..files import write_whole
from .kinds import Measure, load_kind
from .recipe import BenchRecipe
from .rows import Record
from .runner import ROWS, read_rows, selected
from .statistics import Estimate, estimate, holm, share

TABLE, PAGE = "table.md", "report.md"


@dataclass(frozen=True)
class ArmResult:
    """An arm under one condition: figures and differences to the reference by the measures' names.

    ``differences`` is empty for the reference, and where the two have no seed in common. ``way`` is the share of the
    recipe's way that the arm has gone by the first measure, over the seeds that all three have; None without one.
    """

    arm: str
    condition: str
    tuned: dict[str, Any]
    seeds: tuple[int, ...]
    figures: dict[str, Estimate]
    differences: dict[str, Estimate]
    numbers: dict[str, float]
    way: Estimate | None = None


def write_report(recipe: BenchRecipe, output: Path) -> Path:
    """Write table.md, the plots and report.md from rows.jsonl in ``output``; returns the page's path.

    Raises:
        LLMBoostError: no row is finished.
    """
    records = {record["row"]: record for record in read_rows(output)}
    measures = load_kind(recipe.kind).MEASURES
    results = compare(recipe, records, measures)
    if not results:
        raise LLMBoostError(f"{output / ROWS}: no finished row of '{recipe.name}' to report on; run the recipe first")
    # what no arm was measured for, such as old images where there are none, is no column
    shown = [m for m in measures if not all(np.isnan(result.figures[m.name].value) for result in results)]
    table = tables(recipe, results, shown or measures)
    write_whole(output / TABLE, table.encode())
    plots = [_plot_figures(results, measures[0], output / "figures.png")]
    if any(result.differences for result in results):
        plots.append(_plot_differences(recipe, results, measures[0], output / "differences.png"))
    write_whole(output / PAGE, _page(recipe, records, results, table, plots).encode())
    return output / PAGE


def compare(recipe: BenchRecipe, records: Mapping[str, Record], measures: Sequence[Measure]) -> list[ArmResult]:
    """Each arm under each condition, with differences to the reference over the seeds that both have run.

    p values of the first measure are corrected for the number of comparisons in the recipe.
    """
    cells: dict[tuple[str, str], dict[int, Record]] = {}
    for row, record in selected(recipe, dict(records)):
        cells.setdefault((row.condition, row.arm), {})[row.seed] = record
    results = []
    for (condition, arm), by_seed in cells.items():
        other = {} if arm == recipe.reference else cells.get((condition, recipe.reference), {})
        both = [seed for seed in by_seed if seed in other]
        numbers = [record["figures"].get("numbers", {}) for record in by_seed.values()]
        results.append(
            ArmResult(
                arm,
                condition,
                next(iter(by_seed.values()))["tuned"],
                tuple(by_seed),
                {m.name: estimate([_cases(record) for record in by_seed.values()], m) for m in measures},
                {
                    m.name: estimate([_cases(by_seed[s]) for s in both], m, [_cases(other[s]) for s in both])
                    for m in measures
                    if both
                },
                {name: float(np.mean([one[name] for one in numbers])) for name in numbers[0]},
                _way(recipe, cells, condition, arm, measures[0]),
            )
        )
    first = measures[0].name
    corrected = holm([result.differences[first].p if result.differences else None for result in results])
    for place, (result, p) in enumerate(zip(results, corrected, strict=True)):
        if result.differences:
            difference = replace(result.differences[first], p=p)
            results[place] = replace(result, differences={**result.differences, first: difference})
    conditions = list(dict.fromkeys(result.condition for result in results))
    arms = list(recipe.arms)
    return sorted(results, key=lambda result: (conditions.index(result.condition), arms.index(result.arm)))


def _way(
    recipe: BenchRecipe,
    cells: Mapping[tuple[str, str], Mapping[int, Record]],
    condition: str,
    arm: str,
    measure: Measure,
) -> Estimate | None:
    """The share of the recipe's way that an arm has gone; of the way's own ends, none is told."""
    if recipe.way is None or arm in recipe.way:
        return None
    three = [cells.get((condition, name), {}) for name in (arm, *recipe.way)]
    seeds = [seed for seed in three[0] if all(seed in one for one in three)]
    gone, start, end = ([_cases(one[seed]) for seed in seeds] for one in three)
    return share(gone, start, end, measure) if seeds else None


def _cases(record: Record) -> list[dict[str, Any]]:
    return sorted(record["figures"]["cases"], key=lambda case: str(case["id"]))


def tables(recipe: BenchRecipe, results: Sequence[ArmResult], measures: Sequence[Measure]) -> str:
    """Markdown: a table of figures for each condition, and one of differences to the reference."""
    parts = []
    for condition in dict.fromkeys(result.condition for result in results):
        here = [result for result in results if result.condition == condition]
        tuned, numbers = list(here[0].tuned), list(here[0].numbers)
        way = [f"share of the way from {recipe.way[0]} to {recipe.way[1]}"] if recipe.way else []
        header = ["arm", "seeds", *(m.title for m in measures), *way, *tuned, *numbers]
        rows = [
            [
                result.arm,
                str(len(result.seeds)),
                *(shown(result.figures[m.name]) for m in measures),
                *("" if result.way is None else shown(result.way) for _ in way),
                *(f"{result.tuned[name]}" for name in tuned),
                *(f"{result.numbers[name]:.3g}" if name in result.numbers else "" for name in numbers),
            ]
            for result in here
        ]
        parts += [f"### {condition}", ""] if condition else []
        parts += [markdown(header, rows), ""]
        compared = [result for result in here if result.differences]
        if compared:
            header = ["arm", *(f"{m.title}, difference" for m in measures), f"p ({measures[0].title}, Holm)"]
            rows = [
                [
                    f"{result.arm} − {recipe.reference}",
                    *(shown(result.differences[m.name], sign="+") for m in measures),
                    probability(result.differences[measures[0].name].p),
                ]
                for result in compared
            ]
            parts += [markdown(header, rows), ""]
    return "\n".join(parts)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(figure: Estimate, sign: str = "", digits: int = 4) -> str:
    """The value and, in brackets, its interval; ``sign``: "+" for differences."""
    value, *ends = (f"{number:{sign}.{digits}f}" for number in (figure.value, *(figure.interval or ())))
    return f"{value} ({ends[0]} to {ends[1]})" if ends else value


def probability(p: float | None) -> str:
    """A p value as text; empty where there is none."""
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _page(
    recipe: BenchRecipe, records: Mapping[str, Record], results: Sequence[ArmResult], table: str, plots: Sequence[Path]
) -> str:
    done = [record for record in records.values() if "figures" in record]
    failed = {record["row"]: record["error"] for record in records.values() if "error" in record}
    hours = sum(record["seconds"] for record in done) / 3600
    made = sorted(
        {f"llmboost {r['llmboost']}, torch {r['torch']}, {r['device']}, {r['threads']} thread(s)" for r in done}
    )
    lines = [f"# {recipe.title}", "", recipe.description, ""]
    lines += [
        f"{len(done)} rows in {hours:.2f} hours ({'; '.join(made)}). In brackets: 95 % intervals of a bootstrap over"
        f" seeds and subjects. Differences to '{recipe.reference}' are paired by seed and case; p values are corrected"
        " after Holm for all comparisons of this page.",
        "",
    ]
    if any(len(result.seeds) < 3 for result in results):
        lines += ["With fewer than three seeds, an interval says little of what other seeds would give.", ""]
    lines += [table, *(f"![{plot.stem}]({plot.name})" for plot in plots), ""]
    if recipe.tune:
        names = ", ".join(recipe.tune)
        lines += [f"Tuned for each arm on val with seed {recipe.seeds[0]}: {names}.", ""]
    if failed:
        lines += ["Failed rows:", "", *(f"- `{row}`: {error}" for row, error in failed.items()), ""]
    example = done[0]["row"]
    lines += [
        "A row again, and what changed:",
        "",
        f"    llmboost bench {recipe.name} --output DIR --only {example}",
        "",
        "| row | val | seconds |",
        "| --- | --- | --- |",
        *(f"| {r['row']} | {r['figures']['val']:.4f} | {r['seconds']:.0f} |" for r in done),
        "",
    ]
    return "\n".join(lines)


def _plot_figures(results: Sequence[ArmResult], measure: Measure, path: Path) -> Path:
    """Each arm's figure with its interval, and a dot a seed."""
    axes, save = _canvas(len(results))
    for place, result in enumerate(results):
        figure = result.figures[measure.name]
        _draw_interval(axes, place, figure)
        axes.plot(figure.seeds, [place] * len(figure.seeds), "o", color="white", markeredgecolor="0.2", markersize=4)
    axes.set(xlabel=f"{measure.title} (dots: seeds; lines: 95 % intervals)")
    _name_rows(axes, [name_of(result) for result in results])
    return save(path)


def _plot_differences(recipe: BenchRecipe, results: Sequence[ArmResult], measure: Measure, path: Path) -> Path:
    """Each arm's paired difference to the reference."""
    rows = [(name_of(result), result.differences[measure.name]) for result in results if result.differences]
    better = "right" if measure.better == "higher" else "left"
    title = f"{measure.title}, difference to '{recipe.reference}' (95 % interval; {better} is better)"
    return draw_differences(rows, title, path)


def draw_differences(rows: Sequence[tuple[str, Estimate]], title: str, path: Path) -> Path:
    """A PNG of differences, each with its name and interval, around a line at zero."""
    axes, save = _canvas(len(rows))
    axes.axvline(0, color="0.4", linewidth=1)
    for place, (_, difference) in enumerate(rows):
        _draw_interval(axes, place, difference)
    axes.set(xlabel=title)
    _name_rows(axes, [name for name, _ in rows])
    return save(path)


def _canvas(rows: int) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.32 * rows), layout="constrained")
    FigureCanvasAgg(figure)

    def save(path: Path) -> Path:
        figure.savefig(path, dpi=110)
        return path

    return figure.subplots(), save


def _draw_interval(axes: Any, place: int, figure: Estimate) -> None:
    low, high = figure.interval or (figure.value, figure.value)
    axes.plot([low, high], [place, place], color="#0072b2", linewidth=2)
    axes.plot(figure.value, place, "D", color="#0072b2", markersize=5)


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)


def name_of(result: ArmResult) -> str:
    """The arm and its condition, in words."""
    return f"{result.arm} ({result.condition})" if result.condition else result.arm
