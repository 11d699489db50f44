"""Fills the tables of docs/evidence.md from Testing/bench: `.venv/bin/python scripts/evidence.py [--check]`.

A block lies between two comments and `<!-- end -->`: `<!-- rows: RECIPE | COLUMN, ... -->`, `<!-- booster -->`, which
summarize_booster.py fills, or `<!-- classifiers: TABLE -->`, which summarize_classifiers.py does. Columns are names of
the kind's measures (the first one has intervals and differences to the recipe's reference), of what is tuned, of
numbers in the rows, and `p` (of the first measure, after Holm), `way` and `by seed`. With `--check`, nothing is
written, and a page that is not what the rows give is an error. Where rows do not tell the commit that made them, git is
asked for the one that brought them; it is not checked.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import summarize_classifiers
from llmboost.bench.kinds import Measure, load_kind
from llmboost.bench.recipe import BenchRecipe, read_recipe
from llmboost.bench.report import ArmResult, compare, markdown, probability, shown
from llmboost.bench.runner import ROWS as FILE
from llmboost.bench.runner import read_rows
from summarize_booster import ROWS, effects, recipes, table, verdict

PAGE = Path(__file__).parents[1] / "docs" / "evidence.md"
NAME = r"booster|classifiers: (?P<table>[\w ]+)|rows: (?P<recipe>\w+) \| (?P<columns>[^>]+)"
BLOCK = re.compile(rf"(?<=<!-- )({NAME}) -->\n.*?(?=<!-- end -->)", re.DOTALL)
PROVENANCE = re.compile(r"llmboost bench (\w+) .*; rows of commit (\w+)")

CommitOf = Callable[[str], str]
Columns = list[tuple[str, Callable[[ArmResult], str]]]


def main() -> None:
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    before = PAGE.read_text(encoding="utf-8")
    if not sys.argv[1:]:
        PAGE.write_text(filled(before, of_git), encoding="utf-8")
    elif stale := blocks_that_differ(before):
        sys.exit(f"{PAGE}: not what the rows give: {', '.join(stale)}; run scripts/evidence.py")


def blocks_that_differ(text: str) -> list[str]:
    """The headings of a page's blocks that are not what the rows give."""
    commits = dict(PROVENANCE.findall(text))
    old, new = (BLOCK.finditer(page) for page in (text, filled(text, lambda recipe: commits.get(recipe, ""))))
    return [one[1] for one, other in zip(old, new, strict=True) if one[0] != other[0]]


def filled(text: str, commit_of: CommitOf) -> str:
    """The page with all blocks made anew."""

    def block(found: re.Match[str]) -> str:
        if found["recipe"]:
            made = _of_recipe(found["recipe"], found["columns"].split(", "), commit_of)
        elif found["table"]:
            made = _classifiers(found["table"])
        else:
            made = "\n\n".join(_booster(commit_of))
        return f"{found[1]} -->\n\n{made}\n\n"

    return BLOCK.sub(block, text)


def of_git(recipe: str) -> str:
    """The last commit that changed a recipe's rows."""
    command = ["git", "log", "-1", "--format=%h", "--abbrev=8", "--", str(ROWS / recipe / FILE)]
    return subprocess.run(command, cwd=ROWS, check=True, capture_output=True, text=True).stdout.strip()


def _booster(commit_of: CommitOf) -> Iterator[str]:
    found = list(effects())
    yield verdict(found)
    yield table(found)
    lines = [_provenance(recipe, commit_of) for recipe in recipes() if recipe.name != "booster_factors"]
    yield "\n".join(f"- {line}" for line in lines)


def _classifiers(name: str) -> str:
    """A table of the shipped classifiers; below the first one, what made the rows of all."""
    table, first = summarize_classifiers.TABLES[name](), next(iter(summarize_classifiers.TABLES))
    if name != first:
        return table
    command = "`scripts/measure_classifiers.py --data DATA`"
    return f"{table}\n\n{_made(command, read_rows(summarize_classifiers.FOLDER), '')}"


def _of_recipe(name: str, columns: Sequence[str], commit_of: CommitOf) -> str:
    recipe = read_recipe(name)
    known = {measure.name: measure for measure in load_kind(recipe.kind).MEASURES}
    measures = [known[column] for column in columns if column in known]
    records = {record["row"]: record for record in read_rows(ROWS / name)}
    results = compare(recipe, records, measures)
    cells: Columns = [("setting", lambda result: result.condition)] if recipe.factors else []
    cells += [("arm", lambda result: result.arm), ("seeds", lambda result: str(len(result.seeds)))]
    for column in columns:
        cells += _column(column, recipe, known, measures[0])
    rows = [[cell(result) for _, cell in cells] for result in results]
    return f"{markdown([title for title, _ in cells], rows)}\n\n{_provenance(recipe, commit_of)}"


def _column(column: str, recipe: BenchRecipe, known: dict[str, Measure], first: Measure) -> Columns:
    """The columns of that name, and how each is filled; the first measure gives two."""
    if column == first.name:
        return [
            (f"{first.title} (95 %)", lambda result: shown(result.figures[column], digits=3)),
            (
                f"difference to {recipe.reference} (95 %)",
                lambda result: shown(result.differences[column], "+", 3) if result.differences else "",
            ),
        ]
    if column in known:
        return [(known[column].title, lambda result: f"{result.figures[column].value:.3g}")]
    if column in recipe.tune:
        return [(column, lambda result: f"{result.tuned[column]}")]
    if column == "p":
        return [
            ("p (Holm)", lambda result: probability(result.differences[first.name].p) if result.differences else "")
        ]
    if column == "by seed":
        return [(column, lambda result: ", ".join(f"{value:.3f}" for value in result.figures[first.name].seeds))]
    if column == "way" and recipe.way:
        title = f"share of the way from {recipe.way[0]} to {recipe.way[1]}"
        return [(title, lambda result: "" if result.way is None else shown(result.way, digits=2))]
    return [(column, lambda result: f"{result.numbers[column]:.3g}" if column in result.numbers else "")]


def _provenance(recipe: BenchRecipe, commit_of: CommitOf) -> str:
    """Command, dates, machine and commit of a recipe's rows."""
    done = [record for record in read_rows(ROWS / recipe.name) if "figures" in record]
    return _made(f"`llmboost bench {recipe.name} --output DIR --data DATA`", done, commit_of(recipe.name))


def _made(command: str, done: Sequence[dict[str, Any]], commit_of_rows: str) -> str:
    """The same of a command's rows; where they do not tell the program's commit, ``commit_of_rows`` brought them."""
    dates = sorted({record["date"] for record in done})
    days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    made = "; ".join(sorted({_machine(record) for record in done}))
    hours = sum(record["seconds"] for record in done) / 3600
    commits = ", ".join(sorted({record["commit"] for record in done if "commit" in record}))
    commit = f"run at commit {commits}" if commits else f"rows of commit {commit_of_rows}"
    return f"{command}: {len(done)} rows of {days}, {hours:.1f} hours; {made}; {commit}."


def _machine(record: dict[str, object]) -> str:
    threads = f"{record['threads']} thread" + ("" if record["threads"] == 1 else "s")
    return (
        f"llmboost {record['llmboost']}, torch {record['torch']}, {record.get('machine', record['device'])}, {threads}"
    )


if __name__ == "__main__":
    main()
