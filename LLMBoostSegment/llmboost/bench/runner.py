"""Running a recipe row by row: a row that is finished is never lost, and never run twice."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import LLMBoostError
from .kinds import load_kind
from .recipe import BenchRecipe, BenchRow, Cell
from .rows import Common, Here, Record, Workers, program_commit

ROWS = "rows.jsonl"


def run(
    recipe: BenchRecipe,
    output: Path,
    data: Path,
    engine: Here | Workers,
    *,
    threads: int = 1,
    only: str | None = None,
    report: Callable[[Record], None] = lambda event: None,
) -> list[Record]:
    """Run the rows that are not finished, and append each to rows.jsonl in ``output`` as it ends.

    Args:
        data: the folder that the recipe's data lie in.
        engine: by what rows are run.
        threads: of the CPU, a row; numbers repeat exactly with the same ones.
        only: the id of the one row to run, whether finished or not.
        report: called with {"event": "done", "record", "before", "number", "of"} after each row.

    Returns:
        all records of ``output``: a row that failed for a reason to be told has "error" in place of "figures".

    Raises:
        LLMBoostError: no such row, or one was run with other settings; or there is nothing that could run them.
    """
    load_kind(recipe.kind)
    output.mkdir(parents=True, exist_ok=True)
    records = {record["row"]: record for record in read_rows(output)}
    check_settings(recipe, records, output)
    of, number = row_count(recipe) if only is None else 1, 0
    with engine.opened(Common(recipe.name, recipe.kind, output, data, threads, program_commit())) as run_rows:
        for rows in _rounds(recipe, records, only):
            due = [row for row in rows if only is not None or "figures" not in records.get(row.id, {})]
            number += len(rows) - len(due)
            for record in run_rows(due):
                number += 1
                before = records.get(record["row"])
                records[record["row"]] = _append(output / ROWS, record)
                report({"event": "done", "record": record, "before": before, "number": number, "of": of})
    return list(records.values())


def read_rows(folder: Path) -> list[Record]:
    """The records of rows.jsonl in ``folder``, of each row the last one."""
    path = folder / ROWS
    records: dict[str, Record] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with suppress(ValueError, RecursionError):  # a line that a killed run left unfinished
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("row"), str) and "settings" in record:
                records[record["row"]] = record
    return list(records.values())


def chosen(recipe: BenchRecipe, records: dict[str, Record]) -> dict[Cell, dict[str, Any]]:
    """What tuning found for each cell: the first seed's candidate that did best on val; of equals the first."""
    best: dict[Cell, tuple[float, dict[str, Any]]] = {}
    for row in recipe.rows(recipe.seeds[0]):
        record = records.get(row.id, {})
        val = float(record["figures"]["val"]) if "figures" in record else float("-inf")
        if row.cell not in best or val > best[row.cell][0]:
            best[row.cell] = val, row.tuned
    return {cell: tuned for cell, (_, tuned) in best.items()}


def selected(recipe: BenchRecipe, records: dict[str, Record]) -> Iterator[tuple[BenchRow, Record]]:
    """The finished rows that are compared: with tuning, those with each cell's choice."""
    choice = chosen(recipe, records)
    for seed in recipe.seeds:
        for row in recipe.rows(seed):
            if row.tuned == choice[row.cell] and "figures" in records.get(row.id, {}):
                yield row, records[row.id]


def _rounds(recipe: BenchRecipe, records: dict[str, Record], only: str | None) -> Iterator[list[BenchRow]]:
    """Rows that can be run at once, seed by seed, so that what is stopped is balanced: with tuning, those of the other
    seeds are known when the first one's have ended."""
    if only is not None:
        found = [row for seed in recipe.seeds for row in recipe.rows(seed) if row.id == only]
        if not found:
            example = recipe.rows(recipe.seeds[0])[0].id
            raise LLMBoostError(f"row '{only}': recipe '{recipe.name}' has none of that name; such as '{example}'")
        yield found
        return
    first, *others = recipe.seeds
    yield recipe.rows(first)
    choice = chosen(recipe, records)
    yield [row for seed in others for row in recipe.rows(seed) if row.tuned == choice[row.cell]]


def row_count(recipe: BenchRecipe) -> int:
    """The number of rows in all."""
    candidates = recipe.rows(recipe.seeds[0])
    return len(candidates) + (len(recipe.seeds) - 1) * len({row.cell for row in candidates})


def check_settings(recipe: BenchRecipe, records: dict[str, Record], output: Path) -> None:
    """Refuse rows in ``output`` that were run with other settings than the recipe's.

    Raises:
        LLMBoostError: naming the first of them.
    """
    for seed in recipe.seeds:
        for row in recipe.rows(seed):
            record = records.get(row.id)
            if record is not None and record["settings"] != json.loads(json.dumps(row.settings)):
                raise LLMBoostError(
                    f"{output / ROWS}: row '{row.id}' was run with other settings than the recipe's;"
                    " choose another --output, or remove that line"
                )


def _append(path: Path, record: Record) -> Record:
    """One write of one line, on the disk when this returns."""
    line = json.dumps(record) + "\n"
    with path.open("ab+") as file:
        if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
            line = "\n" + line  # a killed run left half a line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())
    return json.loads(line)
