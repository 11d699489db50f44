"""Running a recipe row by row: a row that is finished is never lost, and never run twice."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ..errors import LLMBoostError
from ..learn.train import made_with
from ..machine import processor
from .kinds import Context, load_kind
from .recipe import BenchRecipe, BenchRow, Cell

ROWS = "rows.jsonl"

Record = dict[str, Any]


def run(
    recipe: BenchRecipe,
    output: Path,
    data: Path,
    device: torch.device,
    *,
    threads: int = 1,
    only: str | None = None,
    report: Callable[[Record], None] = lambda event: None,
) -> list[Record]:
    """Run the rows that are not finished, and append each to rows.jsonl in ``output`` as it ends.

    Args:
        data: the folder that the recipe's data lie in.
        threads: of the CPU; numbers repeat exactly with the same ones.
        only: the id of the one row to run, whether finished or not.
        report: called with {"event": "row", "row", "number", "of"} before a row, {"event": "done", "record",
            "before"} after it, and what the kind reports between.

    Returns:
        all records of ``output``: a row that failed for a reason to be told has "error" in place of "figures".

    Raises:
        LLMBoostError: no such row, or one was run with other settings.
    """
    kind = load_kind(recipe.kind)
    output.mkdir(parents=True, exist_ok=True)
    records = {record["row"]: record for record in read_rows(output)}
    check_settings(recipe, records, output)
    torch.set_num_threads(threads)
    commit = program_commit()
    for number, row in enumerate(_rows(recipe, records, only)):
        before = records.get(row.id)
        if only is None and before is not None and "error" not in before:
            continue
        report({"event": "row", "row": row.id, "number": number + 1, "of": row_count(recipe) if only is None else 1})
        folder = output / "runs" / row.id.replace("/", "_")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        started = time.monotonic()
        try:
            entry = {"id": row.id, **dataclasses.asdict(row)}
            outcome: Record = {"figures": kind.run(entry, Context(data, folder, device, report))}
        except LLMBoostError as error:
            outcome = {"error": str(error)}
        record = {
            "row": row.id,
            "recipe": recipe.name,
            "arm": row.arm,
            "factors": row.factors,
            "tuned": row.tuned,
            "seed": row.seed,
            "settings": row.settings,
            "device": device.type,
            "threads": threads,
            "machine": processor(),
            **({"commit": commit} if commit else {}),
            **made_with(),
            "seconds": round(time.monotonic() - started, 1),
            **outcome,
        }
        records[row.id] = _append(output / ROWS, record)
        report({"event": "done", "record": record, "before": before})
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


def _rows(recipe: BenchRecipe, records: dict[str, Record], only: str | None) -> Iterator[BenchRow]:
    """In the order to run them: seed by seed, so that what is stopped is balanced."""
    if only is not None:
        found = [row for seed in recipe.seeds for row in recipe.rows(seed) if row.id == only]
        if not found:
            first = recipe.rows(recipe.seeds[0])[0].id
            raise LLMBoostError(f"row '{only}': recipe '{recipe.name}' has none of that name; such as '{first}'")
        yield from found
        return
    for seed in recipe.seeds:
        for row in recipe.rows(seed):
            # asked late: the first seed's rows are finished by then
            if seed == recipe.seeds[0] or row.tuned == chosen(recipe, records)[row.cell]:
                yield row


def program_commit() -> str:
    """The commit of this program, with "-dirty" where files were changed; empty where it runs from no checkout."""
    for command in (
        "ls-files --error-unmatch " + Path(__file__).name,
        "describe --always --dirty --abbrev=8 --exclude=*",
    ):
        try:
            asked = subprocess.run(
                ["git", *command.split()], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return ""
    return asked.stdout.strip()


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
