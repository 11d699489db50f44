"""`llmboost bench`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from .terminal import (
    ClusterOption,
    DeviceOption,
    Place,
    SchedulerFileOption,
    WorkersOption,
    console,
    progress_bar,
    tell,
)


def _list_recipes(wanted: bool) -> None:
    if not wanted:
        return
    from ..bench.recipe import read_recipe, shipped
    from ..bench.runner import row_count

    table = Table("recipe", "asks", "rows", "minutes a row")
    for name in shipped():
        recipe = read_recipe(name)
        table.add_row(
            name, recipe.title, str(row_count(recipe)), "" if recipe.minutes is None else f"{recipe.minutes:g}"
        )
    console.print(table)
    console.print("minutes are about those of one core of a server that did other work, too")
    raise typer.Exit


def bench(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a .toml file.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for rows, table, plots and report.")],
    data: Annotated[
        Path, typer.Option("--data", envvar="LLMBOOST_DATA", help="The folder that the recipe's data lie in.")
    ] = Path(),
    only: Annotated[str | None, typer.Option("--only", help="Run this row, even if it is finished.")] = None,
    report_only: Annotated[
        bool, typer.Option("--report", help="Run nothing: report on the rows that are finished.")
    ] = False,
    booster: Annotated[
        str | None,
        typer.Option("--booster", help="Another language model in place of SmolLM2: a Hugging Face folder."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", help="Of the CPU; the same ones give the same numbers.")] = 1,
    device: DeviceOption = "auto",
    _list: Annotated[
        bool,
        typer.Option("--list", is_eager=True, callback=_list_recipes, help="List the shipped recipes, and stop."),
    ] = False,
    workers: WorkersOption = 0,
    cluster: ClusterOption = "",
    scheduler_file: SchedulerFileOption = None,
) -> None:
    """Run an experiment row by row, or as many at once as there are workers, and report on it. A stopped one continues
    where it was."""
    from ..bench.recipe import read_recipe
    from ..bench.report import TABLE, write_report
    from ..bench.rows import Here, Workers
    from ..bench.runner import run
    from ..booster.sources import load_blocks
    from ..inference.device import choose_device
    from ..jobs.workers import workers as open_workers

    plan = read_recipe(recipe)
    if booster is not None:
        plan = plan.boosted_by(booster)
        load_blocks(booster, ())  # before hours of rows without it, tell that it cannot be read
    place = Place(workers, cluster, scheduler_file)
    place.check()
    failed = False
    if not report_only:
        with progress_bar() as progress:
            task = progress.add_task(plan.name, total=1.0)
            show = partial(_show, progress, task)
            engine = (
                Here(choose_device(device), show)
                if place.here
                else Workers(lambda jobs: open_workers(workers, cluster, scheduler_file, jobs, tell), device)
            )
            records = run(plan, output, data, engine, threads=threads, only=only, report=show)
        failed = any("error" in record for record in records)
    page = write_report(plan, output)
    console.print((output / TABLE).read_text(encoding="utf-8"))
    console.print(f"report in {page}")
    if failed:
        raise typer.Exit(1)


def _show(progress: Progress, task: Any, event: dict[str, Any]) -> None:
    match event["event"]:
        case "row":
            progress.update(task, description=event["row"], completed=0)
        case "step":
            progress.update(task, completed=event["fraction"])
        case "done":
            record = event["record"]
            done = f"row {event['number']} of {event['of']}: {record['row']}"
            console.print(f"{done}: {_outcome(record)} ({record['seconds']:.0f} s)")
            if event["before"]:
                console.print(f"  before: {_outcome(event['before'])}")


def _outcome(record: dict[str, Any]) -> str:
    return f"failed: {record['error']}" if "error" in record else f"val {record['figures']['val']:.6f}"
